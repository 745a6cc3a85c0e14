"""`shelfwise finetune --quick` from the command line: its options, and when it makes its release the champion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import keras
import pytest
from click.testing import CliRunner, Result

from jobs.cli.main import main_group
from jobs.dataset.parts import part_of
from jobs.errors import UsageError
from jobs.storage.places import Places
from models.networks import heads
from models.networks.registry import ARCHITECTURES, INPUT_PX, architecture
from models.networks.weights import save_weights
from models.release import load_release
from models.spec import Head
from tests import tiny_network
from tests.labelled import BLUE, DAY, GREEN, LEAVES, RED, write_labelled

WEIGHTS = "tiny_imagenet_notop.weights.h5"
PRODUCTS = [(f"product-{number:03d}", LEAVES[number % 3], [number % 3]) for number in range(90)]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a home, and the tiny network known."""
    monkeypatch.setenv("SHELFWISE_HOME", str(tmp_path / "home"))
    ARCHITECTURES[tiny_network.NAME], INPUT_PX[tiny_network.NAME] = "tests.tiny_network", (16, 16)
    keras.utils.set_random_seed(0)
    save_weights(architecture(tiny_network.NAME).backbone(input_px=16), tmp_path / WEIGHTS)
    yield tmp_path / "home"
    del ARCHITECTURES[tiny_network.NAME], INPUT_PX[tiny_network.NAME]


def quick(home: Path, *options: str, release_id: str = "shop-1", network: str = "tiny") -> Result:
    """Call the command."""
    start = str(home.parent / WEIGHTS)
    command = ["finetune", "--quick", "--release-id", release_id, "--network", network, "--start-from", start]
    return CliRunner().invoke(main_group, [*command, *options], catch_exceptions=False)


def champion(home: Path) -> Any:
    done = CliRunner().invoke(main_group, ["release", "list", "--json"], catch_exceptions=False)
    [name] = [row["release_id"] for row in json.loads(done.stdout)["releases"] if row["alias"] == "champion"] or [None]
    return name


def test_the_release_becomes_the_champion(home: Path) -> None:
    write_labelled(Places(home), PRODUCTS)
    done = json.loads(quick(home, "--promote", "--target-precision", "0.6", "--seed", "3", "--json").stdout)
    assert (done["release_id"], done["promoted"], done["below_promise"]) == ("shop-1", True, None)
    assert champion(home) == "shop-1"
    told = load_release(home / "releases" / "shop-1").training
    assert (told["seed"], told["target_precision"]) == (3, 0.6)


def test_the_promise_is_of_all_that_is_published_if_that_was_asked_for(home: Path) -> None:
    """The option was accepted, and then each category or pool was given a promise of its own."""
    write_labelled(Places(home), PRODUCTS)
    quick(home, "--promise", "catalog")
    assert load_release(home / "releases" / "shop-1").training["promise"] == "catalog"


def test_without_promote_the_release_is_made_alone(home: Path) -> None:
    write_labelled(Places(home), PRODUCTS)
    done = json.loads(quick(home, "--json").stdout)
    assert "promoted" not in done
    assert champion(home) is None


def test_a_release_that_the_part_test_contradicts_is_made_and_not_promoted(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = {RED: GREEN, GREEN: BLUE, BLUE: RED}
    mixed = [(name, wrong[label] if part_of(name) == "test" else label, image) for name, label, image in PRODUCTS]
    write_labelled(Places(home), mixed)
    done = json.loads(quick(home, "--promote", "--target-precision", "0.6", "--json").stdout)
    assert done["promoted"] is False
    assert "release shop-1 was made and is not to be promoted" in done["below_promise"]
    assert done["below_promise"] in caplog.text
    assert champion(home) is None
    assert (home / "releases" / "shop-1").is_dir()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--epochs", "3"], r"--quick trains no layer but the last, and takes no --epochs; leave out either"),
        (["--head-epochs", "1", "--unfreeze-from", "block2a"], "takes no --head-epochs and --unfreeze-from; leave out"),
        (["--mixed-precision"], "takes no --mixed-precision"),
        (["--start-from", "nothing"], "tiny with random weights sees nothing; give imagenet, a .weights.h5 file or"),
        (["--start-from", "shop-9"], "shop-9"),
        (["--network", "tiny"], "a network is named twice"),
        (["--input-px", "8"], "tiny takes inputs of at least 16 px, received 8"),
    ],
)
def test_options_that_do_not_belong_to_it_are_refused_before_anything_begins(
    options: list[str], sentence: str, home: Path
) -> None:
    with pytest.raises(UsageError, match=sentence):
        quick(home, *options)
    assert not home.exists()


def test_a_command_that_was_killed_before_it_promoted_is_finished_by_the_same_command(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_labelled(Places(home), PRODUCTS)
    promoted = ("--promote", "--target-precision", "0.6", "--json")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("jobs.releases.aliases.promote", killed)
        assert quick(home, *promoted).exit_code == 1
    assert champion(home) is None
    manifest = (home / "releases" / "shop-1" / "release.json").read_bytes()
    assert json.loads(quick(home, *promoted).stdout)["promoted"] is True
    assert champion(home) == "shop-1"
    assert (home / "releases" / "shop-1" / "release.json").read_bytes() == manifest


def test_a_start_from_a_release_takes_its_networks_and_their_inputs(home: Path) -> None:
    """The usual two networks were taken instead, which it did not have, or its network with another input."""
    write_labelled(Places(home), PRODUCTS)
    quick(home, "--input-px", "20")
    before = sorted((home / "features").rglob("*.parquet"))
    start = ["finetune", "--quick", "--start-from", "shop-1", "--release-id"]
    CliRunner().invoke(main_group, [*start, "shop-2"], catch_exceptions=False)
    networks = load_release(home / "releases" / "shop-2").networks
    assert [(network.architecture, network.input_px) for network in networks] == [("tiny", 20)]
    assert sorted((home / "features").rglob("*.parquet")) == before


def test_given_networks_and_inputs_go_before_those_of_the_release(home: Path) -> None:
    write_labelled(Places(home), PRODUCTS)
    quick(home, "--input-px", "20")
    start = ["finetune", "--quick", "--start-from", "shop-1", "--release-id", "shop-2"]
    with pytest.raises(UsageError, match="release shop-1 has no xception; it has tiny, so name what it has"):
        CliRunner().invoke(main_group, [*start, "--network", "xception"], catch_exceptions=False)
    CliRunner().invoke(main_group, [*start, "--input-px", "tiny=24"], catch_exceptions=False)
    assert load_release(home / "releases" / "shop-2").networks[0].input_px == 24


def test_a_start_that_may_have_seen_the_products_is_promoted_if_a_person_vouches_for_it(home: Path) -> None:
    write_labelled(Places(home), PRODUCTS)
    (home.parent / WEIGHTS).rename(home.parent / "theirs.weights.h5")
    theirs = (
        "--start-from",
        str(home.parent / "theirs.weights.h5"),
        "--promote",
        "--target-precision",
        "0.6",
        "--json",
    )
    done = json.loads(quick(home, *theirs).stdout)
    assert done["promoted"] is False
    assert "make it with --start-unseen if the backbone saw none of them" in done["below_promise"]
    assert champion(home) is None
    done = json.loads(quick(home, *theirs, "--start-unseen", release_id="shop-2").stdout)
    assert (done["promoted"], done["below_promise"]) == (True, None)
    assert champion(home) == "shop-2"


def calibrate(home: Path, *options: str, release_id: str = "shop-2") -> Result:
    """Call `release calibrate` for the release shop-1."""
    command = ["release", "calibrate", "shop-1", "--release-id", release_id]
    return CliRunner().invoke(main_group, [*command, *options], catch_exceptions=False)


def features_in(home: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (home / "features").rglob("*.parquet")}


def test_a_quick_release_is_calibrated_again_as_it_was_made(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It was refused: another promise took the whole command of the training."""
    write_labelled(Places(home), PRODUCTS)
    quick(home, "--target-precision", "0.6", "--seed", "3")
    before = features_in(home)
    done = json.loads(calibrate(home, "--target-precision", "0.7", "--promise", "catalog", "--json").stdout)
    quick(home, "--target-precision", "0.7", "--promise", "catalog", "--seed", "3", release_id="shop-3")
    first, again, anew = (load_release(home / "releases" / f"shop-{number}") for number in (1, 2, 3))
    assert again.networks == first.networks
    assert (again.thresholds, again.promises, again.temperature) == (anew.thresholds, anew.promises, anew.temperature)
    assert again.known == anew.known
    assert again.metrics == anew.metrics
    assert again.categories == first.categories
    assert again.taxonomy_version == first.taxonomy_version
    assert features_in(home) == before, "nothing is computed"
    told = again.training
    assert {name: told[name] for name in ("calibrated_from", "target_precision", "promise", "seed")} == {
        "calibrated_from": "shop-1",
        "target_precision": 0.7,
        "promise": "catalog",
        "seed": 3,
    }
    for name in ("command", "made_at_utc", "tiny_starts_from", "data_sha256"):
        assert told[name] == first.training[name]
    assert done["below_promise"] is None
    assert "its heads are fitted anew" not in caplog.text
    assert calibrate(home, "--target-precision", "0.7", "--promise", "catalog").exit_code == 0, "as after a kill"


@pytest.mark.parametrize("joined", [False, True])
def test_a_head_joins_as_many_middles_when_its_release_is_calibrated_again(
    home: Path, joined: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release that was made when its architecture named none, or some, keeps its network to the byte."""
    write_labelled(Places(home), PRODUCTS)
    earlier = {tiny_network.NAME: ("block2a_conv",)}
    monkeypatch.setattr(heads, "EARLIER_MAPS", earlier if joined else {})
    quick(home)
    monkeypatch.setattr(heads, "EARLIER_MAPS", earlier)
    calibrate(home)
    first, again = (load_release(home / "releases" / f"shop-{number}") for number in (1, 2))
    assert [network.head for network in first.networks] == [Head(middles=1) if joined else None]
    assert again.networks == first.networks


def test_a_quick_release_is_calibrated_on_the_products_of_today(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_labelled(Places(home), PRODUCTS)
    quick(home, "--target-precision", "0.6")
    write_labelled(Places(home), [(f"new-{number}", RED, [0]) for number in range(5)], day=DAY + timedelta(days=1))
    calibrate(home)
    assert "not those from which release shop-1 learned, so its heads are fitted anew" in caplog.text
    again = load_release(home / "releases" / "shop-2").training
    first = load_release(home / "releases" / "shop-1").training
    images = [sum(told[f"{part}_images"] for part in ("train", "validation", "test")) for told in (first, again)]
    assert images == [90, 95]
    assert again["data_sha256"] != first["data_sha256"]
    assert again["calibrated_on_products"] > first["calibrated_on_products"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--part", "train"], "learned from the parts train and validation, .*; leave --part out"),
        (["--part", "validation"], "learned from the parts train and validation, .*; leave --part out"),
        ([], "labelled 'cold.white', which release shop-1 does not know; .* give --known-only, or --leave-out"),
        (["--leave-out", "cold"], "no product is labelled 'cold.blue' any longer, which release shop-1 knows; label"),
    ],
)
def test_what_a_quick_release_cannot_be_calibrated_on_is_refused(options: list[str], sentence: str, home: Path) -> None:
    write_labelled(Places(home), PRODUCTS)
    quick(home)
    white = [(f"white-{number}", "cold.white", [0]) for number in range(20)]
    write_labelled(Places(home), white, day=DAY + timedelta(days=1))
    with pytest.raises(UsageError, match=sentence):
        calibrate(home, *options)
    assert not (home / "releases" / "shop-2").exists()


def test_products_of_other_categories_are_left_out_when_a_quick_release_is_calibrated(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_labelled(Places(home), PRODUCTS)
    quick(home)
    white = [(f"white-{number}", "cold.white", [0]) for number in range(20)]
    write_labelled(Places(home), white, day=DAY + timedelta(days=1))
    caplog.set_level("INFO")
    calibrate(home, "--known-only")
    first, again = (load_release(home / "releases" / f"shop-{number}") for number in (1, 2))
    assert "labels: 20 products of categories that the release does not know are left out" in caplog.text
    assert (again.networks, again.thresholds) == (first.networks, first.thresholds)


def test_what_is_known_of_a_start_stays_known_when_its_release_is_calibrated_again(home: Path) -> None:
    write_labelled(Places(home), PRODUCTS)
    (home.parent / WEIGHTS).rename(home.parent / "theirs.weights.h5")
    start = ("--start-from", str(home.parent / "theirs.weights.h5"))
    quick(home, *start)
    assert "nobody knows" in json.loads(calibrate(home, "--json").stdout)["below_promise"]
    quick(home, *start, "--start-unseen", release_id="shop-3")
    again = ["release", "calibrate", "shop-3", "--release-id", "shop-4", "--json"]
    done = CliRunner().invoke(main_group, again, catch_exceptions=False)
    assert json.loads(done.stdout)["below_promise"] is None
    assert load_release(home / "releases" / "shop-4").training["backbones_vouched_for"] == "tiny"


def test_vouching_belongs_to_quick(home: Path) -> None:
    with pytest.raises(UsageError, match="--start-unseen belongs to --quick"):
        CliRunner().invoke(main_group, ["finetune", "--release-id", "s", "--start-unseen"], catch_exceptions=False)
    assert not home.exists()


def test_promote_belongs_to_quick(home: Path) -> None:
    with pytest.raises(UsageError, match="--promote belongs to --quick; use `shelfwise release promote`"):
        CliRunner().invoke(main_group, ["finetune", "--release-id", "shop-1", "--promote"], catch_exceptions=False)
    assert not home.exists()

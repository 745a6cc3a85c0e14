"""From a labelled dataset to a release, without Spark: what is made, what is refused, and what a kill leaves."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from upath import UPath

from jobs.cli.main import main_group
from jobs.dataset.parts import part_of
from jobs.errors import UsageError
from jobs.evaluation.config import EvaluateConfig
from jobs.evaluation.evaluate import load_predictor
from jobs.releases.calibrate import Calibration, Promise, recalibrate
from jobs.releases.stored import stored_releases
from jobs.storage.faults import StoreError
from jobs.storage.places import Places
from jobs.training import finetune
from jobs.training.finetune import FinetuneConfig, NetworkPlan
from jobs.training.selection import Selection
from models.answers.promises import CATALOG, CURVE_TARGETS, curve_of
from models.answers.taxonomy import ancestors
from models.card import NAME, known_or_not
from models.known.gate import load_gate
from models.networks.pixels import PIXELS, STATISTICS
from models.networks.registry import ARCHITECTURES, INPUT_PX, architecture
from models.release import ReleaseError, load_release, save_release, sha256_of
from models.spec import NetworkSpec
from models.training.recipe import NOTHING, Recipe
from models.training.starts import load_start_weights
from tests import tiny_network
from tests.labelled import BLUE, GREEN, LEAVES, RED, jpeg_of, write_labelled

RECIPE = Recipe(head_epochs=0, epochs=4, learning_rate=0.02, train_norms=True, patience=9, dropout=0.0)
PRODUCTS = [(f"product-{number:03d}", LEAVES[number % 3], [number % 3]) for number in range(90)]


@pytest.fixture(scope="module", autouse=True)
def tiny_architecture() -> Iterator[None]:
    """Make the tiny network known."""
    ARCHITECTURES[tiny_network.NAME] = "tests.tiny_network"
    INPUT_PX[tiny_network.NAME] = (16, 16)
    yield
    del ARCHITECTURES[tiny_network.NAME], INPUT_PX[tiny_network.NAME]


def config(home: Path, **changes: Any) -> FinetuneConfig:
    plans = (NetworkPlan(tiny_network.NAME, 16, NOTHING, RECIPE),)
    selected = {name: changes.pop(name) for name in ("places", "taxonomy", "last", "leave_out") if name in changes}
    selection = replace(Selection(Places(home)), **selected)
    return replace(FinetuneConfig("colours-2", selection, plans, batch_size=8, command="shelfwise ..."), **changes)


def silent(name: str) -> None:
    """Watch nothing."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A home with a release that was fine-tuned on colours."""
    home = tmp_path_factory.mktemp("home")
    write_labelled(Places(home), PRODUCTS)
    return home, finetune.run(config(home, promise=Promise(0.9, 0.1)), watch=silent)


def test_the_release_classifies_its_training_colours(made: Any) -> None:
    assert made[1]["below_promise"] is None
    home, summary = made
    predictor, release, _ = load_predictor(home / "releases" / "colours-2")
    assert [category.category_id for category in release.categories] == sorted(LEAVES)
    squares = np.stack([np.asarray(architecture_square(channel)) for channel in (0, 1, 2)])
    answers = predictor.predict(squares).confidences.argmax(axis=1)
    assert [release.categories[answer].category_id for answer in answers] == [RED, GREEN, BLUE]
    assert summary["ensemble_test_accuracy"] == release.metrics["ensemble_test_accuracy"] == 1.0
    assert summary["known_images"] == known_or_not(release)
    assert summary["test_products"] == sum(part_of(product) == "test" for product, _, _ in PRODUCTS)


def architecture_square(channel: int, side_px: int = 16) -> Any:
    from models.networks.inputs import decode_square

    return decode_square(jpeg_of(channel), side_px)


def test_the_release_records_how_it_was_trained(made: Any) -> None:
    home, _ = made
    place = home / "releases" / "colours-2"
    release = load_release(place)
    card = (place / NAME).read_text(encoding="utf-8")
    assert release.training["command"] == "shelfwise ..."
    assert release.training["data_sha256"] in card
    assert f"| tiny | {len(release.training['tiny_history'])} |" in card, "every epoch's figures"
    parts = Counter(part_of(product) for product, _, _ in PRODUCTS)
    told = {name: release.training[f"{name}_images"] for name in ("train", "validation", "test")}
    assert told == parts, "each product has one image"
    assert release.training["calibrated_on_products"] == parts["validation"] != parts["test"]
    assert (release.training["target_precision"], release.floor) == (0.9, 0.1)
    assert release.metrics["test_products"] == parts["test"]
    assert "| ensemble test accuracy | 1.0000 |" in card
    assert (place / "tiny-curves.png").read_bytes().startswith(b"\x89PNG")
    nodes = {node for leaf in LEAVES for node in ancestors(leaf)}
    assert set(release.thresholds) == {*LEAVES, "cold"} <= {*LEAVES, *nodes}, "warm has one leaf"
    assert all(gate is None for gate in release.thresholds.values()), "a dozen products open no gate"
    assert release.metrics["automatic_categories"] == 0
    assert release.training["promise"] == "category"
    assert {name: promise.kind for name, promise in release.promises.items()} == dict.fromkeys(LEAVES, "closed")
    assert {row["target_precision"] for row in curve_of(release.training)} == {*CURVE_TARGETS}
    assert "| 0.9 | 0.0000 | 0.0000 |" in card
    assert sorted(path.name for path in home.iterdir()) == ["images", "releases", "training"]
    assert list((home / "training").iterdir()) == [], "the checkpoints have done their work"


def test_the_summary_says_if_the_part_test_contradicts_the_promise(made: Any, tmp_path: Path) -> None:
    """With as few products as here no gate opens, so that the figures of the part test are made up."""
    release = load_release(made[0] / "releases" / "colours-2")
    wrong = replace(release, metrics={**release.metrics, "automatic_share": 1.0, "automatic_precision": 0.0})
    assert (
        "release colours-2 was made and is not to be promoted"
        in finetune._summary(config(tmp_path), wrong)["below_promise"]
    )


def test_an_existing_release_is_not_trained_again(made: Any) -> None:
    home, _ = made
    with pytest.raises(UsageError, match="never changed; choose another --release-id"):
        finetune.run(config(home), watch=silent)


def test_a_release_can_be_calibrated_again_for_another_precision(made: Any, tmp_path: Path) -> None:
    """An imported one: the same weights; shares, temperature and thresholds of the labelled products."""
    home, _ = made
    source, target = tmp_path / "imported", tmp_path / "releases" / "colours-3"
    tuned = load_release(home / "releases" / "colours-2")
    weights = {one.architecture: home / "releases" / "colours-2" / one.weights_file for one in tuned.networks}
    save_release(replace(tuned, training={"imported_from": "theirs.keras"}), source, weights=weights)
    promise = Promise(target_precision=0.6, floor=0.05)
    told = Calibration(source, target, "train", EvaluateConfig(Places(home)), promise, "shelfwise release calibrate")
    done = recalibrate(told)
    before, after = load_release(source), load_release(target)
    assert (done["release_id"], done["ensemble_test_accuracy"]) == ("colours-3", 1.0)
    assert [one.weights_sha256 for one in before.networks] == [one.weights_sha256 for one in after.networks]
    assert after.floor == 0.05
    assert all(after.thresholds[leaf] is not None for leaf in LEAVES), "seventy products open gates at 0.6"
    assert {name: (each.kind, each.pool) for name, each in after.promises.items()} == {
        **dict.fromkeys((GREEN, BLUE), ("pool", "cold")),
        RED: ("own", ""),
    }, "two siblings lack the 30 answers for a threshold of their own, and red has nobody to share with"
    assert after.training["calibrated_from"] == "colours-2"
    assert after.training["calibrated_on_products"] == sum(part_of(product) == "train" for product, _, _ in PRODUCTS)
    assert "| calibrated by | shelfwise release calibrate |" in (target / NAME).read_text(encoding="utf-8")
    assert [path.name for path in target.parent.iterdir()] == ["colours-3"], "no scratch is left"
    with pytest.raises(UsageError, match="never changed; choose another --release-id"):
        recalibrate(told)


def test_calibrating_adds_a_description_of_the_known_images_to_an_older_release(
    made: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home, _ = made
    source, target = tmp_path / "imported", tmp_path / "releases" / "colours-3"
    tuned = load_release(home / "releases" / "colours-2")
    assert tuned.known is None, "a dozen validation products describe nothing"
    weights = {one.architecture: home / "releases" / "colours-2" / one.weights_file for one in tuned.networks}
    save_release(replace(tuned, training={"imported_from": "theirs.keras"}), source, weights=weights)
    reading = EvaluateConfig(Places(home))
    done = recalibrate(Calibration(source, target, "train", reading, Promise(0.6)))
    after = load_release(target)
    assert f"calibrated on {after.known and after.known.calibrated_on} images" in done["known_images"]
    assert after.known is not None
    learned = sum(part_of(product) == "train" for product, _, _ in PRODUCTS)
    assert (after.known.file, after.known.references, after.known.calibrated_on) == ("known.h5", learned, learned)
    assert after.files["known.h5"] == sha256_of(target / "known.h5")
    gate = load_gate(after, target)
    foreign = {"tiny": np.full((1, 6), -9, np.float32), PIXELS: np.ones((1, STATISTICS), np.float32)}
    assert gate.judge(foreign, 1)[0].untrusted == "foreign_image"
    again = tmp_path / "releases" / "colours-4"
    recalibrate(Calibration(target, again, "train", reading, Promise(0.6)))
    assert load_release(again).known == after.known, "the same networks and images"
    caplog.clear()
    few = tmp_path / "releases" / "colours-5"
    done = recalibrate(Calibration(target, few, "validation", reading, Promise(0.6)))
    assert done["known_images"].endswith("so it takes every image for one that it knows.")
    assert load_release(few).known is None
    assert not (few / "known.h5").exists()
    assert "release colours-5 gets no description of the images that it knows" in caplog.text


def test_a_release_can_be_calibrated_for_the_precision_of_all_that_is_published(made: Any, tmp_path: Path) -> None:
    home, _ = made
    source, target = tmp_path / "imported", tmp_path / "releases" / "colours-3"
    tuned = load_release(home / "releases" / "colours-2")
    weights = {one.architecture: home / "releases" / "colours-2" / one.weights_file for one in tuned.networks}
    save_release(replace(tuned, training={"imported_from": "theirs.keras"}), source, weights=weights)
    recalibrate(Calibration(source, target, "train", EvaluateConfig(Places(home)), Promise(0.9, by=CATALOG)))
    after = load_release(target)
    assert after.training["promise"] == "catalog"
    assert {(each.kind, each.pool) for each in after.promises.values()} == {("pool", "")}
    assert len({after.thresholds[leaf] for leaf in LEAVES} - {None}) == 1, "one threshold for all"
    assert "0.9 on average over these 3 categories, in the shares" in (target / NAME).read_text(encoding="utf-8")


def test_calibration_needs_unknown_categories_to_be_left_out(
    made: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home, _ = made
    source, target, shop = home / "releases" / "colours-2", tmp_path / "releases" / "colours-3", tmp_path / "shop"
    shutil.copytree(home / "images", shop / "images")
    strangers = [(f"hat-{number}", "hats", [0]) for number in range(40)]
    write_labelled(Places(shop), strangers, version=1)
    told = Calibration(source, target, "validation", EvaluateConfig(Places(shop)))
    with pytest.raises(UsageError, match=r"labelled 'hats', .* give --known-only, or --leave-out 'hats'"):
        recalibrate(told)
    caplog.set_level("INFO")
    done = recalibrate(replace(told, reading=replace(told.reading, known_only=True)))
    assert done["test_products"] == sum(part_of(product) == "test" for product, _, _ in PRODUCTS)
    hats = sum(part_of(product) == "validation" for product, _, _ in strangers)
    assert hats
    left = json.loads(load_release(target).training["left_out_products"])
    assert left == {"validation": hats, "test": sum(part_of(product) == "test" for product, _, _ in strangers)}
    assert f"of the part validation, {hats} products are left out, of 1 categories that the release" in caplog.text


def test_a_finetuned_release_is_measured_on_products_that_it_was_not_trained_on(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _ = made
    monkeypatch.setenv("SHELFWISE_HOME", str(home))
    command = ["evaluate", "--release", "colours-2", "--output", str(home / "out")]

    def told(*more: str) -> dict[str, Any]:
        done = CliRunner().invoke(main_group, [*command, "--json", *more], catch_exceptions=False)
        return dict(json.loads(done.stdout))

    found = told()
    assert (found["part"], found["products"]) == ("test", sum(part_of(product) == "test" for product, _, _ in PRODUCTS))
    assert "colours-2 may have been fitted" in found["part_reason"]
    leaf = json.loads((home / "out" / "evaluation.json").read_text(encoding="utf-8"))["levels"][0]
    told_by_card = load_release(home / "releases" / "colours-2").metrics
    assert leaf["top1"] == pytest.approx(told_by_card["ensemble_test_accuracy"], abs=1e-4)
    assert leaf["calibration"]["after"] == pytest.approx(told_by_card["ensemble_test_calibration_error"], abs=1e-4)
    assert "part test (colours-2 may have" in (home / "out" / "evaluation.html").read_text(encoding="utf-8")
    found = told("--part", "all")
    assert (found["part"], found["products"], found["part_reason"]) == ("all", len(PRODUCTS), "")
    shutil.rmtree(home / "out")


def test_a_release_is_not_calibrated_on_its_training_products(made: Any, tmp_path: Path) -> None:
    """A network is surer of what it has learned: its thresholds would open too early. Nor do its descendants forget."""
    home, _ = made
    target, again = tmp_path / "releases" / "colours-3", tmp_path / "releases" / "colours-4"
    told = Calibration(home / "releases" / "colours-2", target, "train", EvaluateConfig(Places(home)))
    with pytest.raises(UsageError, match=r"release colours-2 learned from .* 'train', .* --part validation"):
        recalibrate(told)
    assert not target.parent.exists()
    recalibrate(replace(told, part="validation"))
    with pytest.raises(UsageError, match=r"release colours-3 learned from .* 'train'"):
        recalibrate(replace(told, source=target, target=again))


def test_a_training_can_start_from_a_release(made: Any) -> None:
    home, _ = made
    place = home / "releases" / "colours-2"
    network = NetworkSpec(tiny_network.NAME, 16, "w", "", 1.0)
    model = architecture(tiny_network.NAME).build(input_px=16, categories=3)
    version = load_release(place).taxonomy_version
    load_start_weights(model, network, str(place), category_ids=sorted(LEAVES), taxonomy_version=version)
    trained = architecture(tiny_network.NAME).build(input_px=16, categories=3)
    trained.load_weights(place / "tiny.weights.h5")
    for one, other in zip(model.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ReleaseError, match=r"under taxonomy labels-.* labelled under shop-9"):
        load_start_weights(model, network, str(place), category_ids=sorted(LEAVES), taxonomy_version="shop-9")


def test_a_network_keeps_the_value_range_of_its_start(made: Any, tmp_path: Path) -> None:
    source = made[0] / "releases" / "colours-2"
    release = load_release(source)
    theirs = replace(
        release, release_id="theirs", networks=tuple(replace(one, preprocessing="0-1") for one in release.networks)
    )
    save_release(theirs, tmp_path / "theirs", weights={"tiny": source / "tiny.weights.h5"})
    write_labelled(Places(tmp_path), PRODUCTS)
    plan = NetworkPlan(tiny_network.NAME, 16, str(tmp_path / "theirs"), replace(RECIPE, epochs=1))
    done = finetune.run(config(tmp_path, networks=(plan,)), watch=silent)
    assert [one.preprocessing for one in load_release(Path(done["release_dir"])).networks] == ["0-1"]
    model = architecture(tiny_network.NAME).build(input_px=16, categories=3)
    network, version = NetworkSpec(tiny_network.NAME, 16, "w", "", 1.0), release.taxonomy_version
    with pytest.raises(ReleaseError, match="trained on values in the range '0-1' and this one takes 'own'"):
        load_start_weights(
            model, network, str(tmp_path / "theirs"), category_ids=sorted(LEAVES), taxonomy_version=version
        )


def test_the_same_command_uploads_a_release_that_did_not_reach_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(UPath(f"memory://{tmp_path.name}"), tmp_path / "local")
    write_labelled(places, PRODUCTS)

    def away(*_: Any) -> None:
        raise StoreError("the store is away")

    with monkeypatch.context() as broken, pytest.raises(StoreError):
        broken.setattr(finetune, "share", away)
        finetune.run(config(tmp_path, places=places), watch=silent)
    trained: list[str] = []
    done = finetune.run(config(tmp_path, places=places), watch=lambda name: lambda *_: trained.append(name))
    assert (done["release_id"], trained) == ("colours-2", [])
    assert [found.name for found in stored_releases(places)] == ["colours-2"]
    with pytest.raises(UsageError, match=r"never changed; choose another --release-id$"):
        finetune.run(config(tmp_path, places=places), watch=silent)

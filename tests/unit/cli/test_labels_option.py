"""`--labels` of every command that reads labels or a catalog: what is refused, kept and recorded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.cli.main import main_group
from jobs.cli.options import label_map_of
from jobs.cli.resume import resumable
from jobs.errors import UsageError
from jobs.evaluation import evaluate
from jobs.ingest.config import IngestConfig
from jobs.runs import night
from jobs.runs.config import RunConfig
from jobs.settings import Settings
from jobs.storage.places import Places
from models.release import Release, save_release, sha256_of
from models.spec import Category
from tests.labelled import COLOURS, GREEN, RED, ColourPredictor, write_labelled

NIGHT = ("--run-date", "2026-11-01")
COMMANDS = {
    "ingest": ("ingest", "--catalog", "shop.csv", *NIGHT),
    "nightly": ("nightly", "--catalog", "shop.csv", *NIGHT),
    "finetune": ("finetune", "--release-id", "shop-1"),
    "evaluate": ("evaluate",),
    "calibrate": ("release", "calibrate", "fashion-mnist-6", "--release-id", "shop-2"),
    "export-arrays": ("export-arrays", "--output", "shop.npz", "--side-px", "16"),
}
GOOD = "category,category_id\nTops,apparel.tops\n"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "label map map.csv cannot be read (No such file or directory)"),
        ("product_id\np1\n", "map.csv is no label map"),
        ("category,category_id\nTops,a.b\ntops,a.c\n", "names the text 'tops' twice"),
        ("category,category_id\nTops,a.b\nAll,a\n", "has a category that is the parent of others: 'a'"),
        ("category,category_id\nTops,a..b\n", "has in line 2 the category_id 'a..b'"),
    ],
)
def test_a_map_that_cannot_be_used_is_refused_and_nothing_is_written(
    command: str, content: str | None, words: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("map.csv").write_text(content)
    Path("shop.csv").write_text("product_id,image_uri\np1,1.jpg\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError) as refused:
        CliRunner().invoke(
            main_group, [*COMMANDS[command], "--labels", "map.csv"], catch_exceptions=False, standalone_mode=False
        )
    assert words in str(refused.value)
    assert sorted(tmp_path.rglob("*")) == before
    assert not home.exists()


def test_a_command_uses_its_own_map_else_the_kept_one_else_the_rule(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "jobs.cli.options")
    assert label_map_of(Settings(), None) is None
    home.mkdir()
    (home / "label_map.csv").write_text(GOOD)
    (tmp_path / "own.csv").write_text(GOOD.replace("apparel", "clothes"))
    own, kept = label_map_of(Settings(), str(tmp_path / "own.csv")), label_map_of(Settings(), None)
    assert own
    assert kept
    assert (own.paths, kept.paths) == ({"clothes.tops": ""}, {"apparel.tops": ""})
    assert caplog.messages == [f"labels: by {home / 'label_map.csv'}, which ingest has kept; --labels uses another one"]


@pytest.mark.parametrize("command", ["finetune", "export-arrays"])
def test_a_map_reaches_the_training(command: str, home: Path, tmp_path: Path) -> None:
    write_labelled(Places(home), [(f"p{number}", ("Tops", "Hats")[number % 2], [0]) for number in range(40)])
    (tmp_path / "map.csv").write_text(GOOD)
    with pytest.raises(UsageError, match=r"all labelled products are 'apparel.tops'"):
        CliRunner().invoke(
            main_group,
            [*COMMANDS[command], "--labels", str(tmp_path / "map.csv")],
            catch_exceptions=False,
            standalone_mode=False,
        )


def test_a_map_reaches_the_calibration(home: Path, tmp_path: Path) -> None:
    write_labelled(Places(home), [(f"p{number}", "Tops", [0]) for number in range(40)])
    (tmp_path / "map.csv").write_text(GOOD)
    call = [*COMMANDS["calibrate"], "--labels", str(tmp_path / "map.csv")]
    with pytest.raises(UsageError, match=r"images are labelled 'apparel.tops', which is not a leaf of release fashion"):
        CliRunner().invoke(main_group, call, catch_exceptions=False, standalone_mode=False)


def test_a_map_reaches_the_measurement(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks are replaced by one that sees colours."""
    monkeypatch.setattr(evaluate, "load_predictor", lambda _directory: (ColourPredictor(), COLOURS, None))
    write_labelled(Places(home), [("p1", "Rot", [0]), ("p2", "Grün/Hell", [1]), ("p3", "Rest", [2])])
    (tmp_path / "map.csv").write_text(f"category,category_id\nROT,{RED}\nGrün > hell,{GREEN}\n", encoding="utf-8")
    call = ["evaluate", "--part", "all", "--labels", str(tmp_path / "map.csv"), "--json"]
    done = CliRunner().invoke(main_group, call, catch_exceptions=False, standalone_mode=False)
    document = json.loads(done.stdout)
    assert (document["products"], document["levels"][0]["top1"]) == (2, 1.0)
    assert document["labels"] == str(tmp_path / "map.csv")


@pytest.fixture
def old_release(home: Path, tmp_path: Path) -> Release:
    """A release whose category_ids are texts, as earlier versions made it; its networks cannot be loaded."""
    weights = tmp_path / "weights"
    weights.write_bytes(b"none")
    names = ("Rot", "Grün Hell", "Blau")
    release = replace(
        COLOURS,
        release_id="old-1",
        categories=tuple(Category(name, name) for name in names),
        networks=tuple(
            replace(network, weights_file=f"{network.architecture}.h5", weights_sha256=sha256_of(weights))
            for network in COLOURS.networks
        ),
    )
    save_release(release, home / "releases" / "old-1", weights=dict.fromkeys(("efficientnetb0", "xception"), weights))
    return release


def test_an_old_release_is_measured_by_its_own_category_ids(
    old_release: Release, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "load_predictor", lambda _directory: (ColourPredictor(), old_release, None))
    write_labelled(Places(home), [("p1", "ROT", [0]), ("p2", "Grün Hell", [1]), ("p3", "Blau", [2])])
    call = ["evaluate", "--release", "old-1", "--part", "all", "--json"]
    done = CliRunner().invoke(main_group, call, catch_exceptions=False, standalone_mode=False)
    assert (json.loads(done.stdout)["products"], json.loads(done.stdout)["levels"][0]["top1"]) == (3, 1.0)


def test_an_old_release_is_calibrated_by_its_own_category_ids(old_release: Release, home: Path) -> None:
    texts = ("rot", "Grün  Hell", "Blau", "Hut")
    write_labelled(Places(home), [(f"p{number}", texts[number % 4], [0]) for number in range(80)])
    call = ["release", "calibrate", "old-1", "--release-id", "old-2", "--part", "train"]
    with pytest.raises(UsageError, match=r"images are labelled 'hut', which release old-1 .* does not know"):
        CliRunner().invoke(main_group, call, catch_exceptions=False, standalone_mode=False)


def test_a_night_is_resumed_with_the_absolute_path_of_its_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("map.csv").write_text(GOOD)
    context: Any = type("Context", (), {"release_name": "shop-1", "release_dir": tmp_path})()
    command = main_group.commands["nightly"].make_context(
        "nightly", ["--catalog", "shop.csv", "--run-date", "2026-11-01", "--labels", "map.csv"]
    )
    run = RunConfig(run_id="nightly-1", kind="nightly", run_date=command.params["run_date"])
    with command:
        call = list(resumable(run, context).call)
    assert call[call.index("--labels") + 1] == str(tmp_path / "map.csv")


def test_a_map_reaches_the_ingest(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "map.csv").write_text(GOOD)
    given: list[IngestConfig] = []

    def ingest_step(_spark: object, config: IngestConfig) -> tuple[dict[str, int], None]:
        given.append(config)
        return {}, None

    monkeypatch.setattr(night, "ingest_step", ingest_step)
    for options in ([], ["--labels", str(tmp_path / "map.csv")]):
        call = [*COMMANDS["ingest"], *options]
        CliRunner().invoke(main_group, call, catch_exceptions=False, standalone_mode=False)
    assert [config.labels and config.labels.paths for config in given] == [None, {"apparel.tops": ""}]

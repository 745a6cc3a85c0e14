"""The demo, smaller, and the release that it shows."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.demo.nights import NIGHTS, RUN_IDS, clear, demo_home, main
from jobs.storage.places import Places
from models import fashion_mnist
from models.answers.calibration import calibration_error
from models.card import NAME
from models.networks.inputs import to_square
from models.release import SHIPPED, load_release
from models.serving.predictor import EnsemblePredictor
from sql.aliases import aliases, set_alias
from sql.records import ReleaseRecord, RunRecord
from sql.store import open_database
from tests.end_to_end.conftest import Shelfwise, ask
from tests.programs import exit_code

ROOT = Path(__file__).parents[2]
BROKEN = {
    "broken-missing": "missing",
    "broken-empty": "empty",
    "broken-html": "not_an_image",
    "broken-truncated": "truncated",
    "broken-one-pixel": "too_small",
}


def test_the_demo_tells_what_two_nights_did(
    shelfwise: Shelfwise, home: Path, articles: fashion_mnist.Articles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "load", lambda part, cache_dir: articles)
    done = shelfwise("demo", "--products", "200", "--json")
    assert done.code == 0, done.err
    first, second = done.json["nights"]
    assert (first["ingest"]["images_stored"], first["ingest"]["images_rejected"]) == (200, 0)
    assert second["ingest"]["images_unchanged"] == 180
    assert (second["ingest"]["images_stored"], second["predict"]["images"]) == (70, 70)
    assert second["publish"]["products_changed"] == 70
    for night in (first, second):
        assert (night["gates"]["state"], night["gates"]["foreign_nights"]) == ("computed", [])
        assert night["gates"]["foreign_groups"] == [], "the release knows its own articles"
    rejected = ask(home, "SELECT product_id, reason FROM rejected_images")
    assert dict(rejected) == BROKEN
    assert done.json["accuracy"]["tagged"] == 250
    accuracy = done.json["accuracy"]
    assert 0.9 < accuracy["accuracy"] + accuracy["right_group"] <= 1
    assert accuracy["accuracy"] > 0.8
    assert len(done.json["answers"][1]) == 10

    written = {path.name for path in home.iterdir()}
    assert {"images", "seen", "catalog_rows", "predictions", "scratch", "demo"} <= written
    assert shelfwise("demo", "--clear").code == 0
    files = {path.relative_to(home).parts[0] for path in home.rglob("*") if path.is_file()}
    left = {name for name in files if not name.endswith(".lock")}
    assert left <= {"downloads", "engines", "java", "precision.json", "tuning.json"}, (
        "what the demo wrote, so that the next one reads it"
    )


def test_the_demo_clears_every_directory_that_runs_fill(tmp_path: Path) -> None:
    """It forgot two, so that the table of products held articles of an earlier demo that were not there."""
    places = Places(tmp_path)
    rows = [places.partition(root, NIGHTS[0]) for root in (places.images, places.seen, places.catalog_rows)]
    of_run = (places.predictions(RUN_IDS[0]), places.selections(RUN_IDS[0]), places.thumbnails(RUN_IDS[0]))
    for directory in (*rows, *of_run):
        directory.mkdir(parents=True)
        (directory / "part-1.parquet").touch()
    (tmp_path / "releases" / "mine").mkdir(parents=True)
    (tmp_path / "releases" / "mine" / "release.json").touch()
    assert demo_home(places) == tmp_path
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["release.json"]


@pytest.mark.parametrize("name", [name for name, it in vars(Places).items() if isinstance(it, property)])
def test_a_new_directory_of_the_home_is_not_forgotten(name: str, tmp_path: Path) -> None:
    places = Places(tmp_path)
    kept = {tmp_path, places.releases, places.scratch}  # the last is cleared too, and is nobody's state
    kept |= {places.features, places.label_map}  # a cache by content, and a file whose ingest has left a date too
    assert name == "of_runs" or getattr(places, name) in {*places.of_runs, *kept}


@pytest.mark.parametrize("make", [Places.partition, Places.predictions, Places.selections, Places.thumbnails])
def test_what_a_run_writes_is_in_a_directory_that_runs_fill(make: Any, tmp_path: Path) -> None:
    places = Places(tmp_path)
    roots = [places.images, places.seen, places.catalog_rows] if make is Places.partition else [None]
    for root in roots:
        assert (make(places, root, NIGHTS[0]) if root else make(places, "r")).parent in places.of_runs


OF_DATES = ("images", "seen", "catalog_rows")


@pytest.mark.parametrize("used", [*OF_DATES, "predictions", "selections", "thumbnails"])
def test_the_demo_leaves_a_home_alone_that_holds_another_date_or_run(used: str, tmp_path: Path) -> None:
    other = tmp_path / used / ("ingest_date=2026-11-01" if used in OF_DATES else "run_id=mine")
    other.mkdir(parents=True)
    demo = tmp_path / "demo" / "home" / "images"
    demo.mkdir(parents=True)
    clear(Places(tmp_path))
    assert (other.exists(), demo.exists()) == (True, False)
    assert demo_home(Places(tmp_path)) == tmp_path / "demo" / "home"


def test_make_clean_removes_what_the_demo_wrote_in_the_usual_home(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    places = Places(tmp_path / ".shelfwise")
    places.partition(places.images, NIGHTS[0]).mkdir(parents=True)
    (places.releases / "mine").mkdir(parents=True)
    open_database(f"sqlite:///{tmp_path}/.shelfwise/shelfwise.db").upgrade()
    done = subprocess.run(["make", "clean"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / ".shelfwise").iterdir()) == ["releases"]


def test_the_demo_leaves_other_peoples_state_alone(tmp_path: Path) -> None:
    places = Places(tmp_path)
    assert demo_home(places) == tmp_path
    database = open_database(f"sqlite:///{tmp_path}/shelfwise.db")
    database.upgrade()
    assert demo_home(places) == tmp_path, "a database without a run is nobody's"
    database.upgrade()
    record = RunRecord("nightly-2026-11-01", "nightly", date(2026, 11, 1), None, datetime.now(UTC))
    database.record_failure(record, "no images", database.claim(record))
    assert demo_home(places) == tmp_path / "demo" / "home"
    assert (tmp_path / "shelfwise.db").exists()


def test_the_demo_does_not_forget_who_is_champion(tmp_path: Path) -> None:
    """A release can be promoted before any night has run."""
    database = open_database(f"sqlite:///{tmp_path}/shelfwise.db")
    database.upgrade()
    set_alias(database, "champion", ReleaseRecord("shop-1", "shop"), changed_by="ada", at_utc=datetime.now(UTC))
    assert demo_home(Places(tmp_path)) == tmp_path / "demo" / "home"
    assert aliases(database) == {"champion": "shop-1"}


def test_the_demo_leaves_other_peoples_images_alone(tmp_path: Path) -> None:
    places = Places(tmp_path)
    own = places.partition(places.images, date(2026, 11, 1))
    own.mkdir(parents=True)
    assert demo_home(places) == tmp_path / "demo" / "home"
    assert own.exists()


def test_the_test_articles_become_a_catalog(
    articles: fashion_mnist.Articles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = replace(articles, images=articles.images[:30], labels=articles.labels[:30])
    monkeypatch.setattr(fashion_mnist, "load", lambda part, cache_dir: few)
    assert exit_code(main, [str(tmp_path / "articles")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'articles' / 'catalog.csv'}: 30 products\n"
    rows = list(csv.DictReader((tmp_path / "articles" / "catalog.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["category"] for row in rows] == [fashion_mnist.CATEGORIES[label].category_id for label in few.labels]
    assert all((tmp_path / "articles" / row["image_uri"]).is_file() for row in rows)
    assert exit_code(main, [str(tmp_path / "articles")]) == 1
    assert "articles" in capsys.readouterr().err


def test_the_shipped_release_holds_what_its_manifest_says(articles: fashion_mnist.Articles) -> None:
    release = load_release(SHIPPED)
    for name, least in (("efficientnetb0", 0.94), ("xception", 0.94), ("ensemble", 0.95)):
        assert release.metrics[f"{name}_test_accuracy"] >= least, name
    assert release.metrics["ensemble_test_calibration_error"] <= 0.01
    assert release.metrics["automatic_share"] >= 0.85
    assert release.metrics["automatic_precision"] >= 0.97
    assert [network.architecture for network in release.networks] == ["efficientnetb0", "xception"]
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 60e6
    training = json.loads((SHIPPED / "release.json").read_text(encoding="utf-8"))["training"]
    assert training["data_pixels_sha256"] == fashion_mnist.PIXELS_SHA256["train"]
    card = (SHIPPED / NAME).read_text(encoding="utf-8")
    for name in ("command", "seed", "data_pixels_sha256", "made_at_utc"):
        assert f"| {name.replace('_', ' ')} | {training[name]} |" in card
    for name, value in release.metrics.items():
        assert f"| {name.replace('_', ' ')} | {value:.4f} |" in card
    predictor = EnsemblePredictor(release, SHIPPED)
    grey = articles.images[-1000:]
    colour = np.repeat(grey[..., None], 3, axis=3)
    squares = np.stack([to_square(image, predictor.decode_px) for image in colour])
    parts = [predictor.predict(squares[start : start + 100]).confidences for start in range(0, len(squares), 100)]
    confidences = np.concatenate(parts)
    hits = confidences.argmax(axis=1) == articles.labels[-1000:]
    assert abs(hits.mean() - release.metrics["ensemble_test_accuracy"]) < 0.03
    assert calibration_error(confidences.max(axis=1), hits) < 0.05

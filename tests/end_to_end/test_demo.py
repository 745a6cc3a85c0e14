"""The demo, smaller, and the release that it shows."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from jobs.config import Places
from jobs.demo import demo_home, main
from models import fashion_mnist
from models.calibration import calibration_error
from models.card import NAME
from models.inputs import to_square
from models.predictor import EnsemblePredictor
from models.release import SHIPPED, load_release
from sql.records import RunRecord
from sql.store import open_database
from tests.end_to_end.conftest import Shelfwise, ask

DOWNLOADS = Path(__file__).parents[2] / ".shelfwise" / "downloads"
BROKEN = {
    "broken-missing": "missing",
    "broken-empty": "empty",
    "broken-html": "not_an_image",
    "broken-truncated": "truncated",
    "broken-one-pixel": "too_small",
}


@pytest.fixture(scope="session")
def articles() -> fashion_mnist.Articles:
    """The official test articles, kept in the clone's own state between runs."""
    return fashion_mnist.load("t10k", cache_dir=DOWNLOADS)


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
    rejected = ask(home, "SELECT product_id, reason FROM rejected_images")
    assert dict(rejected) == BROKEN
    assert done.json["accuracy"]["tagged"] == 250
    accuracy = done.json["accuracy"]
    assert 0.9 < accuracy["accuracy"] + accuracy["right_group"] <= 1
    assert accuracy["accuracy"] > 0.8
    assert len(done.json["answers"][1]) == 10


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
    assert main([str(tmp_path / "articles")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'articles' / 'catalog.csv'}: 30 products\n"
    rows = list(csv.DictReader((tmp_path / "articles" / "catalog.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["category"] for row in rows] == [fashion_mnist.CATEGORIES[label].category_id for label in few.labels]
    assert all((tmp_path / "articles" / row["image_uri"]).is_file() for row in rows)
    assert main([str(tmp_path / "articles")]) == 1
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

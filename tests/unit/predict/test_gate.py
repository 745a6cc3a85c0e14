"""What predict notes of images that the release does not know: in each row, and counted in the report."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.dataset.reading import read_shard
from jobs.dataset.shards import shards
from jobs.predict import networks
from jobs.predict.config import PredictConfig
from jobs.predict.inference import BusyClock, Inference, answers
from jobs.predict.job import predict_shard, prediction_file
from jobs.predict.networks import LoadedNetworks, distribute, loaded_networks, unload_networks
from jobs.predict.reports import ShardReport, read_report
from jobs.storage.places import Places
from models.known.gate import ImageGate, Judgement
from models.release import Release
from models.serving.tuning import Tuning
from models.spec import Features, Images, Predictions
from tests.played_gate import KNOWN, PlayedGate, knowing
from tests.unit.predict.test_predict_loop import DAY, RELEASE, ColourPredictor, write_images

RED, GREEN, BLUE = range(3)
"""Feature of each colour. Of the numbered images of a test every third is red, the next green, the next blue."""


@pytest.fixture
def config(tmp_path: Path) -> PredictConfig:
    return PredictConfig("run-1", (DAY,), Places(tmp_path), tmp_path / "release", batch_size=32)


def predicted(
    config: PredictConfig,
    release: Release,
    gate: ImageGate | None,
    *,
    predictor: ColourPredictor | None = None,
    **images: Any,
) -> tuple[ShardReport, list[dict[str, Any]]]:
    """Predict nine images, or the given number; return the report in the file and the rows."""
    shard = write_images(config.places, **{"count": 9, **images})
    predict_shard(shard, predictor or ColourPredictor(), release, config, gate=gate)
    report = read_report(prediction_file(config, shard))
    assert report is not None
    return report, pq.read_table(prediction_file(config, shard)).to_pylist()


def test_an_image_beyond_the_limit_is_never_published(config: PredictConfig) -> None:
    _, rows = predicted(config, knowing(RELEASE), PlayedGate(BLUE))
    for row in rows:
        colour = row["category_id"].removeprefix("colour.")
        status, reason = {
            "red": ("auto", None),
            "green": ("review", "below_threshold"),
            "blue": ("review", "foreign_image"),
        }[colour]
        assert (row["status"], row["review_reason"], row["confidence"]) == (status, reason, 0.9), colour
        assert row["foreign_score"] == round(row["foreign_score"], 6)
        assert (row["foreign_score"] > 2) if colour == "blue" else (row["foreign_score"] < 0.1)
    assert len(rows) == 9


def test_a_foreign_image_below_the_floor_stays_unknown_and_is_counted_in_its_best_category(
    config: PredictConfig,
) -> None:
    unsure = replace(knowing(RELEASE), floor=0.95, thresholds=dict.fromkeys(RELEASE.thresholds, 0.97))
    report, rows = predicted(config, unsure, PlayedGate(GREEN))
    assert {(row["category_id"], row["status"]) for row in rows if row["foreign_score"] > 1} == {(None, "unknown")}
    assert {row["review_reason"] for row in rows if row["foreign_score"] > 1} == {"foreign_image"}
    assert report.by_leaf["colour.green"] == [3, 3]


@pytest.mark.parametrize("gate", [PlayedGate(RED), None])
def test_images_without_a_score_are_not_published_and_stop_nothing(
    config: PredictConfig, gate: PlayedGate | None
) -> None:
    """Their features are not finite; or nobody has loaded the gate of a release that has one."""

    class Overflowing(ColourPredictor):
        def predict(self, images: Images) -> Predictions:
            found = super().predict(images)
            found.features["efficientnetb0"][:] = np.inf
            return found

    report, rows = predicted(config, knowing(RELEASE), gate, predictor=Overflowing())
    found = {(row["status"], row["review_reason"], row["foreign_score"], row["reason"]) for row in rows}
    assert found == {("review", "gate_closed", None, None)}
    assert (report.gate, report.by_leaf, report.not_computed) == ("computed", {}, 9)


def test_a_release_without_a_description_takes_every_image(config: PredictConfig) -> None:
    shared = ("product_id", "category_id", "confidence", "top_k", "by_network", "reason", "detail", "image_sha256")
    _, knowing_rows = predicted(config, knowing(RELEASE), PlayedGate(BLUE), broken=frozenset({4}))
    shutil.rmtree(str(config.places.home / "images"))
    report, rows = predicted(config, RELEASE, None, broken=frozenset({4}))
    assert (report.gate, report.by_leaf, report.not_computed) == ("open", {}, 0)
    assert {row["foreign_score"] for row in rows} == {None}
    assert {(row["status"], row["review_reason"]) for row in rows} == {
        ("auto", None),
        ("review", "below_threshold"),
        (None, None),
    }
    assert [[row[name] for name in shared] for row in rows] == [[row[name] for name in shared] for row in knowing_rows]


def test_an_image_that_failed_counts_nowhere(config: PredictConfig) -> None:
    class Picky(ColourPredictor):
        """Has no answer for what is blue."""

        def predict(self, images: Images) -> Predictions:
            found = super().predict(images)
            found.confidences[found.features["efficientnetb0"][:, BLUE] > 1] = np.nan
            return found

    report, rows = predicted(config, knowing(RELEASE), PlayedGate(RED), predictor=Picky(), broken=frozenset({0, 1}))
    assert report.by_leaf == {"colour.green": [2, 0], "colour.red": [2, 2]}
    assert (report.images, report.failed, report.not_computed) == (9, 5, 0)
    failed = [row for row in rows if row["reason"]]
    assert {(row["review_reason"], row["foreign_score"], row["status"]) for row in failed} == {(None, None, None)}


def test_the_gate_is_asked_once_for_each_batch(config: PredictConfig) -> None:
    gate, predictor = PlayedGate(BLUE), ColourPredictor()
    report, _ = predicted(config, knowing(RELEASE), gate, predictor=predictor, count=150)
    assert sorted(gate.calls) == sorted(predictor.batches)
    assert sum(gate.calls) == 150
    assert report.by_leaf == {"colour.blue": [50, 50], "colour.green": [50, 0], "colour.red": [50, 0]}


def test_images_are_judged_beside_the_loop_and_their_features_are_not_kept(config: PredictConfig) -> None:
    """As many gates are asked at once as calls are in flight: with fewer at once they would wait for ever."""
    together, threads = threading.Barrier(2), set[str]()

    class Slow(PlayedGate):
        def judge(self, features: Mapping[str, Features], count: int) -> list[Judgement]:
            threads.add(threading.current_thread().name)
            together.wait(30)
            return super().judge(features, count)

    shard = write_images(config.places, 128)
    batches = read_shard(shard, side_px=32, batch_size=32, workers=1)
    found = answers(batches, Inference(ColourPredictor()), in_flight=2, clock=BusyClock(), gate=Slow(BLUE))
    for batch, answer in found:
        assert answer.predictions is not None
        assert answer.predictions.features == {}
        foreign = answer.predictions.confidences.argmax(axis=1) == BLUE
        assert [judgement.untrusted == "foreign_image" for judgement in answer.judgements] == foreign.tolist()
        assert len(batch) == 32
    assert len(threads) == 2
    assert threading.current_thread().name not in threads


def test_the_files_of_a_release_are_all_sent_to_executors(tmp_path: Path) -> None:
    class Context:
        master = "spark://somewhere:7077"

        def __init__(self) -> None:
            self.sent: list[str] = []

        def addFile(self, path: str) -> None:
            self.sent.append(Path(path).name)

    class Session:
        sparkContext = Context()

    release = knowing(RELEASE)
    assert distribute(Session(), tmp_path, release) == release  # type: ignore[arg-type]
    assert Session.sparkContext.sent == ["release.json", "w", KNOWN.file]


def test_a_process_loads_the_gate_once_with_its_networks(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What it warns of is not hidden with what backends write when they start."""
    loaded: list[tuple[Release, Path]] = []

    def load_gate(release: Release, directory: Path) -> ImageGate:
        loaded.append((release, directory))
        os.write(2, b"none of its answers is published")
        return PlayedGate()

    def built(*_: object) -> LoadedNetworks:
        return LoadedNetworks(RELEASE, Inference(ColourPredictor()), "CPU", False, Tuning(32, "float32"), (), 0.0)

    monkeypatch.setattr(networks, "load_gate", load_gate)
    monkeypatch.setattr(networks, "load_release", lambda _: RELEASE)
    monkeypatch.setattr(networks, "_build_on_device", built)
    write_images(config.places, 1)
    shard = Path(str(shards(config.places.images, [DAY])[0]))
    try:
        first, second = (loaded_networks(config, shard, None) for _ in range(2))
        assert isinstance(first.gate, PlayedGate)
        assert first.gate is second.gate
        assert loaded == [(RELEASE, config.release_dir)]
        assert capfd.readouterr().err == "none of its answers is published"
    finally:
        unload_networks(may_end=False)

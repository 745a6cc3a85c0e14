"""What predict keeps of the images whose answers wait for a person: a thumbnail of each, and where its picture lies."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.dataset import thumbnails as dataset_thumbnails
from jobs.dataset.schema import IMAGE_KEY, THUMBNAILS
from jobs.dataset.stored_images import cells
from jobs.dataset.thumbnails import parse_picture_at, thumbnail_file
from jobs.errors import RunFailed
from jobs.predict import prediction_files
from jobs.predict import thumbnails as predict_thumbnails
from jobs.predict.config import PredictConfig
from jobs.predict.job import predict_in_quarantine, predict_shard, prediction_file
from jobs.predict.quarantine import Quarantine
from jobs.predict.quarantine_helper import HelperSetup
from jobs.predict.reports import read_report
from jobs.predict.selection import of_shard
from jobs.storage.places import Places
from models.known.gate import Judgement
from models.spec import Features, Images, Predictions
from tests.deadly import helper, write_deadly
from tests.played_gate import PlayedGate, knowing
from tests.unit.predict.test_predict_loop import DAY, RELEASE, ColourPredictor, write_images

GREEN = 1


@pytest.fixture
def config(tmp_path: Path) -> PredictConfig:
    return PredictConfig("run-1", (DAY,), Places(tmp_path), tmp_path / "release", batch_size=32)


def kept_file(config: PredictConfig, shard: Path) -> Path:
    return Path(str(thumbnail_file(config.places, config.run_id, DAY, shard.name)))


def predictions(config: PredictConfig, shard: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(prediction_file(config, shard)).to_pylist()
    return rows


def kept(config: PredictConfig, shard: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(kept_file(config, shard), partitioning=None).to_pylist()
    return rows


def colour(row: dict[str, Any]) -> int:
    """Return which channel of a kept thumbnail is brightest; of product number n it is n modulo 3."""
    pixels = np.asarray(cv2.imdecode(np.frombuffer(row["thumbnail"], np.uint8), cv2.IMREAD_COLOR))
    assert pixels.shape == (20, 30, 3)
    return 2 - int(pixels[10, 15].argmax())


def check_places(config: PredictConfig, shard: Path) -> int:
    """Compare where each picture and thumbnail is said to lie with what lies there; return how many thumbnails."""
    small, count = kept(config, shard), 0
    with pq.ParquetFile(shard) as file:
        for row in predictions(config, shard):
            assert (row["picture_at"] is None) == (row["reason"] is not None)
            if row["picture_at"] is None:
                continue
            at, key = parse_picture_at(row["picture_at"]), {name: row[name] for name in IMAGE_KEY}
            assert at.shard == shard.name
            assert file.read_row_group(at.group, columns=list(IMAGE_KEY)).to_pylist()[at.row] == key
            if at.thumbnail_row is None:
                continue
            assert {name: small[at.thumbnail_row][name] for name in IMAGE_KEY} == key
            count += 1
    assert count == len(small)
    return count


class Unsure(ColourPredictor):
    """Is the less sure the higher the number of the batch's image, and of blue ones has no answer at all."""

    def predict(self, images: Images) -> Predictions:
        found = super().predict(images)
        green = found.confidences.argmax(axis=1) == 1
        found.confidences[green, 1] -= np.linspace(0, 0.2, len(images), dtype=np.float32)[green]
        found.confidences[found.confidences.argmax(axis=1) == 2] = 1 / 3
        return found


def test_each_answer_says_where_its_picture_lies_and_has_a_thumbnail_if_it_waits(config: PredictConfig) -> None:
    shard = write_images(config.places, 150, broken=frozenset({1, 3}))  # 1 would be green
    report = predict_shard(shard, ColourPredictor(), RELEASE, config)
    rows = predictions(config, shard)
    assert {(row["status"], (row["picture_at"] or "").count("#")) for row in rows} == {
        ("auto", 2),
        ("review", 3),
        (None, 0),
    }
    assert check_places(config, shard) == report.thumbnails == 49
    for row in kept(config, shard):
        assert colour(row) == GREEN
    stored = read_report(prediction_file(config, shard))
    assert stored is not None
    assert (stored.thumbnails, stored.thumbnails_seconds > 0) == (49, True)
    assert report.writing_seconds >= stored.thumbnails_seconds


def test_what_a_page_shows_together_lies_together(config: PredictConfig) -> None:
    """Unknown answers first, then each category in order of confidence: the same content at each try."""
    release = replace(RELEASE, floor=0.5, thresholds=dict.fromkeys(("colour.red", "colour.green"), 0.95))
    shard = write_images(config.places, 150)
    predict_shard(shard, Unsure(), release, config)
    rows = {row["product_id"]: row for row in predictions(config, shard)}
    order = [
        (rows[row["product_id"]]["category_id"] or "", -(rows[row["product_id"]]["confidence"] or 0))
        for row in kept(config, shard)
    ]
    assert order == sorted(order)
    assert {category for category, _ in order} == {"", "colour.green", "colour.red"}
    assert {rows[row["product_id"]]["status"] for row in kept(config, shard)} == {"unknown", "review"}
    assert check_places(config, shard) == 150
    assert [colour(row) for row in kept(config, shard)] == [
        int(row["product_id"][1:]) % 3 for row in kept(config, shard)
    ]
    content = kept_file(config, shard).read_bytes()
    predict_shard(shard, Unsure(), release, config)
    assert kept_file(config, shard).read_bytes() == content


def test_a_shard_without_a_waiting_answer_keeps_no_thumbnail(config: PredictConfig) -> None:
    shard = write_images(config.places, 150)
    sure = replace(RELEASE, thresholds={"colour.green": 0.1})
    report = predict_shard(shard, ColourPredictor(), sure, config)
    assert {row["status"] for row in predictions(config, shard)} == {"auto"}
    assert report.thumbnails == 0
    with pq.ParquetFile(shard) as file:
        for row in predictions(config, shard):
            at = parse_picture_at(row["picture_at"])
            assert at.thumbnail_place is None
            [stored] = file.read_row_group(at.group, columns=["product_id"]).slice(at.row, 1).to_pylist()
            assert stored == {"product_id": row["product_id"]}
    assert not config.places.thumbnails(config.run_id).exists()


def test_what_the_networks_saw_is_kept_in_eight_bits(config: PredictConfig) -> None:
    class Describing(PlayedGate):
        def judge(self, features: dict[str, Features], count: int) -> list[Judgement]:  # type: ignore[override]
            judged = super().judge(features, count)
            described = np.rint(next(iter(features.values())) * 10).astype(np.int8)
            return [replace(one, descriptor=row.tobytes()) for one, row in zip(judged, described, strict=True)]

    shard = write_images(config.places, 9)
    predict_shard(shard, ColourPredictor(), knowing(RELEASE), config, gate=Describing(2))
    found = {row["product_id"]: np.frombuffer(row["descriptor"], np.int8).tolist() for row in kept(config, shard)}
    assert {name: vector.index(max(vector)) for name, vector in found.items()} == {
        f"p{number:04d}": number % 3 for number in (1, 2, 4, 5, 7, 8)
    }, "red is published without a person, blue is foreign"
    assert "descriptor" not in predictions(config, shard)[0]
    predict_shard(shard, ColourPredictor(), RELEASE, replace(config, run_id="open"))
    assert {row["descriptor"] for row in kept(replace(config, run_id="open"), shard)} == {None}


def test_thumbnails_are_in_place_before_the_predictions(config: PredictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = write_images(config.places, 150)

    def full(*_: object, **__: object) -> None:
        raise RunFailed("no space is left")

    with monkeypatch.context() as patch:
        patch.setattr(predict_thumbnails, "write_thumbnails", full)
        with pytest.raises(RunFailed, match="no space"):
            predict_shard(shard, ColourPredictor(), RELEASE, config)
        assert not prediction_file(config, shard).exists()
    with monkeypatch.context() as patch:
        patch.setattr(prediction_files, "whole_file", full)
        with pytest.raises(RunFailed, match="no space"):
            predict_shard(shard, ColourPredictor(), RELEASE, config)
    assert len(kept(config, shard)) == 50
    assert not prediction_file(config, shard).exists()


def test_images_that_cannot_be_read_again_cost_no_prediction(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def damaged(file: pq.ParquetFile, group: int, *more: Any) -> list[tuple[Any, ...]]:
        if group == 1:
            raise OSError("Input/output error")
        return cells(file, group, *more)

    shard = write_images(config.places, 150)
    monkeypatch.setattr(predict_thumbnails, "cells", damaged)
    report = predict_shard(shard, ColourPredictor(), RELEASE, config)
    assert (report.images, report.thumbnails) == (150, 21)
    assert check_places(config, shard) == 21
    assert [record.levelno for record in caplog.records if "Input/output" in record.getMessage()] == [logging.WARNING]


def test_a_thumbnail_that_cannot_be_made_is_missing(config: PredictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def sometimes(jpeg: bytes, *, longest_px: int) -> bytes | None:
        calls.append(longest_px)
        return jpeg if len(calls) % 2 else None

    monkeypatch.setattr(predict_thumbnails, "make_thumbnail", sometimes)
    shard = write_images(config.places, 150)
    predict_shard(shard, ColourPredictor(), RELEASE, replace(config, decode_workers=1))
    assert check_places(config, shard) == 25
    assert set(calls) == {30}


def test_in_quarantine_images_are_decoded_as_the_helper_did(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image may end a process that decodes only a part of it: the first attempt ends, and this one must not."""
    flags: set[int] = set()
    decode = cv2.imdecode

    def watched(content: np.ndarray, flag: int) -> Any:
        flags.add(flag)
        return decode(content, flag)

    monkeypatch.setattr(cv2, "imdecode", watched)
    monkeypatch.setattr(dataset_thumbnails, "LONGEST_PX", 10)
    shard = write_deadly(config.places, 100, to_decoder=(4,), to_networks=(64,))
    with Quarantine(HelperSetup(config, config.release_dir, RELEASE), helper()) as ward:
        report = predict_in_quarantine(of_shard(config, shard), ward, RELEASE, config, shard)
    assert check_places(config, shard) == report.thumbnails == 33 - 2
    assert flags == {cv2.IMREAD_COLOR}
    predict_shard(write_images(config.places, 9), ColourPredictor(), RELEASE, replace(config, run_id="usual"))
    assert flags == {cv2.IMREAD_COLOR, cv2.IMREAD_REDUCED_COLOR_2}


def test_the_columns_of_thumbnails_are_as_written(config: PredictConfig) -> None:
    shard = write_images(config.places, 9)
    predict_shard(shard, ColourPredictor(), RELEASE, config)
    assert pq.read_schema(kept_file(config, shard)).equals(THUMBNAILS)

"""What one task does with its shards, by the number of its attempt; no Spark and no real networks."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import pytest

from jobs.dataset.batches import ImageBatch, batch_of
from jobs.dataset.schema import IMAGES
from jobs.dataset.shards import ShardWriter, shards
from jobs.predict import job as predict
from jobs.predict import networks
from jobs.predict.config import Computing, PredictConfig
from jobs.predict.inference import Answer, Inference
from jobs.predict.job import predict_in_turn, predict_shard, run
from jobs.predict.networks import ComputeReport, LoadedNetworks, unload_networks
from jobs.predict.quarantine_helper import HelperReady, HelperSetup
from jobs.predict.reports import PredictSummary, ShardReport
from jobs.predict.selection import Selected
from jobs.storage.places import Place, Places
from models.serving.faults import DeviceLost
from models.serving.tuning import Tuning
from tests.dataset_rows import image_row
from tests.played_gate import PlayedGate, knowing
from tests.unit.predict.test_predict_loop import DAY, RELEASE, ColourPredictor, colour_jpeg

LOADED: list[weakref.ref[Inference]] = []
"""The networks that `load` has left in this process, as long as something holds them."""


def fake_networks(*, accelerator: bool = False) -> LoadedNetworks:
    inference = Inference(ColourPredictor())
    return LoadedNetworks(RELEASE, inference, "A device", accelerator, Tuning(32, "float32"), (), 0.0, tried=True)


class Ward:
    """Stands for the helper processes, which have tests of their own."""

    ready = HelperReady("A device", "float32", 0.0)
    decoding_seconds = predicting_seconds = loading_seconds = 0.0

    setups: ClassVar[list[HelperSetup]] = []

    def __init__(self, setup: HelperSetup) -> None:
        self.setups[:] = [setup]
        assert not any(held() for held in LOADED), "networks hold the device beside the helper's"

    def __enter__(self) -> Ward:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def answers(self, _shard: Place, path: Path, _wanted: object) -> Iterator[tuple[ImageBatch, Answer]]:
        with pq.ParquetFile(path) as file:
            batch = batch_of(file, 0, tuple(range(file.metadata.num_rows)), 32)
        yield batch, Inference(ColourPredictor()).answer(batch.images)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PredictConfig]:
    """Three shards of two images."""
    places = Places(tmp_path / "home")
    for shard in range(3):
        writer = ShardWriter(places.partition(places.images, DAY), IMAGES, shard_bytes=10**9)
        for number in range(2):
            writer.add(image_row(f"p{shard}{number}", jpeg=colour_jpeg(number)))
        writer.flush()
    monkeypatch.setattr(predict, "Quarantine", Ward)
    monkeypatch.setattr(predict, "clean_worker", nullcontext)
    monkeypatch.setattr(predict, "loaded_networks", lambda *_: fake_networks())
    monkeypatch.setattr(predict, "load_gate", lambda *_: None)
    LOADED.clear()
    yield PredictConfig("run-1", (DAY,), places, tmp_path / "release")
    unload_networks(may_end=False)


def load(config: PredictConfig, monkeypatch: pytest.MonkeyPatch, *, accelerator: bool = False) -> None:
    """Leave networks in this process, as a task before does."""

    def load_networks(*_: object, **_cores: object) -> LoadedNetworks:
        found = fake_networks(accelerator=accelerator)
        LOADED[:] = [weakref.ref(found.inference)]
        return found

    with monkeypatch.context() as patch:
        patch.setattr(networks, "load_networks", load_networks)
        networks.loaded_networks(config, Path(), None)
    assert LOADED[0]() is not None


def attempt(number: int, config: PredictConfig, monkeypatch: pytest.MonkeyPatch, *, quarantine_attempt: int = 1) -> str:
    """Do the task; return how each shard was done: (n)ormally, by (h)elpers, or (e)arlier."""
    for module in (predict, networks):
        monkeypatch.setattr(module, "task_attempt", lambda: number)
    mine = dict.fromkeys(shards(config.places.images, [DAY]), 2)
    reports = list(predict_in_turn(mine, config, RELEASE, None, quarantine_attempt=quarantine_attempt))
    assert [report.images for report in reports] == [2, 2, 2]
    return "".join("e" if one.attempt != number else "n" if one.batch_size else "h" for one in reports)


@pytest.mark.parametrize(
    ("number", "quarantine_attempt", "ways"),
    [(0, 1, "nnn"), (1, 1, "hnn"), (2, 1, "hhh"), (3, 1, "hhh"), (1, 2, "nnn"), (2, 2, "hnn"), (3, 2, "hhh")],
)
def test_later_attempts_are_the_more_careful(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch, number: int, quarantine_attempt: int, ways: str
) -> None:
    assert attempt(number, config, monkeypatch, quarantine_attempt=quarantine_attempt) == ways


def test_what_is_finished_is_not_suspected(config: PredictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    predict_shard(shards(config.places.images, [DAY])[0], ColourPredictor(), RELEASE, config)
    assert attempt(1, config, monkeypatch) == "ehn"


def test_the_helper_of_a_task_computes_with_the_cores_of_the_task(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no Spark task, and would otherwise take all cores of a machine on which other tasks compute."""
    monkeypatch.setattr(predict, "task_cores", lambda: 3)
    attempt(2, config, monkeypatch)
    assert [setup.cores for setup in Ward.setups] == [3]


def test_a_shard_that_was_in_place_before_its_worker_ended_is_not_done_again(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    [first, *_] = shards(config.places.images, [DAY])
    done = predict_shard(first, ColourPredictor(), RELEASE, config)
    monkeypatch.setattr(predict, "task_attempt", lambda: 1)
    [report] = predict_in_turn({first: 2}, config, RELEASE, None, quarantine_attempt=1)
    assert (report.attempt, report.batch_size) == (0, done.batch_size)


def test_the_networks_of_a_process_make_room_for_its_helper(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(config, monkeypatch)
    assert attempt(1, config, monkeypatch) == "hnn"


def test_a_process_that_holds_an_accelerators_memory_ends_once_for_its_helper(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(config, monkeypatch, accelerator=True)
    with pytest.raises(DeviceLost, match="would take the memory"):
        attempt(1, config, monkeypatch)
    assert attempt(2, config, monkeypatch) == "hhh", "it would end in each attempt otherwise"
    unload_networks(may_end=True)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_task_judges_images_whichever_way_it_predicts(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """In quarantine too, where the networks and their own gate are in another process."""
    gates, release = [PlayedGate(), PlayedGate()], knowing(RELEASE)
    monkeypatch.setattr(predict, "prepare_process", lambda *_: config.release_dir)
    monkeypatch.setattr(predict, "load_gate", lambda *given: gates[0] if given == (release, config.release_dir) else 1)
    loaded = replace(fake_networks(), release=release, gate=gates[1])
    monkeypatch.setattr(predict, "loaded_networks", lambda *_: loaded)
    monkeypatch.setattr(predict, "task_attempt", lambda: number)
    mine = dict.fromkeys(shards(config.places.images, [DAY]), 2)
    reports = list(predict_in_turn(mine, config, release, None, quarantine_attempt=1))
    assert [report.by_leaf for report in reports] == [{"colour.green": [1, 0], "colour.red": [1, 1]}] * 3
    apart = {0: 0, 1: 1, 2: 3}[number]
    assert [len(gate.calls) for gate in gates] == [apart, 3 - apart]


@pytest.mark.parametrize("number", [0, 2])
def test_waiting_for_a_shards_copy_is_waiting_for_reading(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def slowly(mine: list[Path]) -> Iterator[tuple[Path, Path, float]]:
        yield from ((shard, shard, 50.0) for shard in mine)

    monkeypatch.setattr(predict, "on_disk_in_turn", slowly)
    monkeypatch.setattr(predict, "task_attempt", lambda: number)
    mine = shards(config.places.images, [DAY])
    reports = tuple(predict_in_turn(dict.fromkeys(mine, 2), config, RELEASE, None, quarantine_attempt=1))
    assert all(min(report.reading_seconds, report.waiting_seconds) >= 50 for report in reports)
    told = PredictSummary(3, 0, 6, 9.0, reports).document()["slowest_stage"]
    assert told.endswith("mostly for reading; bring the dataset nearer to the executors")


@pytest.mark.parametrize("limit", [None, 16])
def test_a_batch_that_did_not_fit_is_nothing_to_remember(config: PredictConfig, limit: int | None) -> None:
    inference = Inference(ColourPredictor())
    inference.limit = limit
    on = ComputeReport("A device", tried=True)
    report = predict_shard(shards(config.places.images, [DAY])[0], inference, RELEASE, config, on=on)
    assert (report.tried, report.batch_size) == (limit is None, limit or 32)


def test_a_run_is_told_what_the_one_before_found_by_trying(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[Any] = []

    def in_spark(_spark: object, told: PredictConfig, _release: object, todo: list[Selected]) -> list[ShardReport]:
        known.append(told.computing.tuned)
        blank = ShardReport("", "colours-1", 2, 0, 0, 0, 0, 0)
        found = replace(blank, device="A device", batch_size=512, precision="mixed_float16", tried=len(known) == 2)
        return [replace(found, shard=str(each.shard)) for each in todo]

    monkeypatch.setattr(predict, "_in_spark", in_spark)
    told = PredictConfig(
        "run-1", (DAY,), config.places, config.release_dir, computing=Computing(tune=True, engine="keras")
    )
    for _ in range(3):
        run(lambda: nullcontext(), told, RELEASE)  # type: ignore[arg-type, return-value]
    assert known == [{}, {}, {"A device": (512, "mixed_float16")}], "only what was found by trying is remembered"

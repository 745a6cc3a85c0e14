"""An executor that came after the plan and cannot compute in its precision hands its shards back to the others."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.dataset.schema import IMAGES
from jobs.dataset.shards import ShardWriter, shards
from jobs.errors import RunFailed
from jobs.predict import job, late_executors, precision
from jobs.predict.config import Computing, Plan, PredictConfig
from jobs.predict.late_executors import HandedBack, handed_back, in_rounds, may_compute
from jobs.predict.precision import Processor
from jobs.predict.reports import ShardReport
from jobs.predict.selection import Selected, of_shard
from jobs.storage.places import Places
from tests.dataset_rows import image_row
from tests.unit.predict.test_predict_loop import DAY, RELEASE, colour_jpeg
from tests.unit.predict.test_predict_task import fake_networks

PLANNED, OTHER = "CPU, planned", "CPU, other"
BFLOAT16 = Computing(plan=Plan("bfloat16", processors=frozenset({PLANNED})))


@pytest.fixture
def config(tmp_path: Path) -> PredictConfig:
    """Four shards of one image, to be computed in bfloat16."""
    places = Places(tmp_path / "home")
    for number in range(4):
        writer = ShardWriter(places.partition(places.images, DAY), IMAGES, shard_bytes=10**9)
        writer.add(image_row(f"p{number}", jpeg=colour_jpeg(number % 3)))
        writer.flush()
    return PredictConfig("run-1", (DAY,), places, tmp_path / "release", computing=BFLOAT16)


@pytest.fixture
def todo(config: PredictConfig) -> list[Selected]:
    return [of_shard(config, shard) for shard in shards(config.places.images, [DAY])]


def report_of(chosen: Selected) -> ShardReport:
    return ShardReport(str(chosen.shard), RELEASE.release_id, 1, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("computing", "name", "able", "accelerator", "may"),
    [
        (BFLOAT16, PLANNED, True, False, True),
        (BFLOAT16, PLANNED, False, False, False),
        (BFLOAT16, PLANNED, False, True, True),
        (BFLOAT16, OTHER, True, False, False),
        (BFLOAT16, OTHER, False, False, False),
        (BFLOAT16, OTHER, True, True, True),
        (replace(BFLOAT16, engine="openvino"), PLANNED, False, True, False),
        (replace(BFLOAT16, engine="openvino"), OTHER, True, True, False),
        (replace(BFLOAT16, engine="openvino"), PLANNED, True, True, True),
        (Computing(), OTHER, False, False, True),
        (Computing(plan=Plan("float32", 100)), OTHER, False, False, True),
    ],
)
def test_an_executor_takes_shards_only_in_a_precision_that_it_can_compute(
    config: PredictConfig,
    monkeypatch: pytest.MonkeyPatch,
    computing: Computing,
    name: str,
    able: bool,
    accelerator: bool,
    may: bool,
) -> None:
    monkeypatch.setattr(late_executors, "processor", lambda: SimpleNamespace(name=name))
    monkeypatch.setattr(late_executors, "multiplies_bfloat16", lambda: able)
    monkeypatch.setattr(late_executors, "may_have_accelerator", lambda: accelerator)
    assert may_compute(replace(config, computing=computing)) is may


def test_shards_that_come_back_are_sent_again_until_all_are_predicted(
    todo: list[Selected], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    sent = list[Sequence[Selected]]()

    def send(left: Sequence[Selected]) -> Iterator[ShardReport | HandedBack]:
        """Predict one shard of each round; the late executor takes the others in two tasks."""
        sent.append(left)
        yield report_of(left[0])
        yield from (handed_back([chosen.shard], hold_seconds=0) for chosen in left[1:3])
        if left[3:]:
            yield handed_back([chosen.shard for chosen in left[3:]], hold_seconds=0)

    reports = in_rounds(send, todo, run_id="run-1", any_able=lambda: pytest.fail("shards were predicted"))
    assert sent == [todo, todo[1:], todo[2:], todo[3:]]
    assert [report.shard for report in reports] == [str(chosen.shard) for chosen in todo]
    [warning] = caplog.records
    assert warning.getMessage() == (
        f"the processor of an executor on {socket.gethostname()} cannot compute run run-1, which is in bfloat16: it "
        "lacks the instructions, or is of a model on which the release has not passed; others predict its shards"
    )


def test_a_run_without_an_executor_that_can_compute_fails_in_one_sentence(todo: list[Selected]) -> None:
    able = [True, False]

    def send(left: Sequence[Selected]) -> list[ShardReport | HandedBack]:
        return [handed_back([chosen.shard for chosen in left], hold_seconds=0)]

    with pytest.raises(RunFailed, match=r"no executor is left that can compute run run-1, which is in bfloat16"):
        in_rounds(send, todo, run_id="run-1", any_able=lambda: able.pop(0))
    assert able == [], "one that can compute may have been busy in the round before"


class Session:
    """Runs the tasks of a session here: those of each round's odd shards on an executor that came late."""

    def __init__(self, on_late: Callable[[bool], None]) -> None:
        self.rounds = list[list[str]]()
        self.conf = SimpleNamespace(get=lambda _name, default: default)
        self.sparkContext = SimpleNamespace(
            master="local[2]", defaultParallelism=2, setJobDescription=lambda _: None, parallelize=self._parallelize
        )
        self._on_late = on_late

    def _parallelize(self, counts: Sequence[tuple[str, int]], _tasks: int) -> Any:
        self.rounds.append([Path(name).name for name, _ in counts])

        def run(task: Callable[[Iterable[tuple[str, int]]], Iterator[Any]]) -> Any:
            answers = []
            for number, count in enumerate(counts):
                self._on_late(number % 2 == 1)
                answers += list(task([count]))
            return SimpleNamespace(collect=lambda: answers)

        return SimpleNamespace(mapPartitions=run)


@pytest.mark.parametrize(("name", "able"), [(PLANNED, False), (OTHER, True)])
def test_a_late_executor_predicts_nothing_and_the_others_all(
    config: PredictConfig, todo: list[Selected], monkeypatch: pytest.MonkeyPatch, name: str, able: bool
) -> None:
    late = [False]

    def networks(*_: object) -> Any:
        assert not late[0], "it cannot compute in bfloat16"
        return fake_networks()

    monkeypatch.setattr(late_executors, "HOLD_SECONDS", 0.0)
    monkeypatch.setattr(late_executors, "processor", lambda: SimpleNamespace(name=name if late[0] else PLANNED))
    monkeypatch.setattr(late_executors, "multiplies_bfloat16", lambda: able or not late[0])
    monkeypatch.setattr(late_executors, "may_have_accelerator", lambda: False)
    monkeypatch.setattr(job, "clean_worker", nullcontext)
    monkeypatch.setattr(job, "loaded_networks", networks)
    session = Session(lambda is_late: late.__setitem__(0, is_late))
    reports = job._in_spark(session, config, RELEASE, todo)  # type: ignore[arg-type]
    assert sorted(report.shard for report in reports) == sorted(str(chosen.shard) for chosen in todo)
    names = [chosen.shard.name for chosen in todo]
    assert session.rounds == [names, names[1::2], names[3:]]
    assert {report.attempt for report in reports} == {0}


@pytest.mark.parametrize("left", [Processor(PLANNED, False), Processor(OTHER, True)])
def test_executors_are_asked_for_their_processors_once_none_predicts(
    config: PredictConfig, todo: list[Selected], monkeypatch: pytest.MonkeyPatch, left: Processor
) -> None:
    answers = [{left, Processor(PLANNED, True)}, {left}]
    monkeypatch.setattr(late_executors, "HOLD_SECONDS", 0.0)
    monkeypatch.setattr(late_executors, "processor", lambda: SimpleNamespace(name=left.name))
    monkeypatch.setattr(late_executors, "multiplies_bfloat16", lambda: left.bfloat16)
    monkeypatch.setattr(late_executors, "may_have_accelerator", lambda: False)
    monkeypatch.setattr(precision, "processors", lambda _spark, *, cluster: answers.pop(0))
    with pytest.raises(RunFailed, match="no executor is left that can compute run run-1"):
        job._in_spark(Session(lambda _: None), config, RELEASE, todo)  # type: ignore[arg-type]
    assert answers == [], "as long as one that can compute is there, its shards are sent again"

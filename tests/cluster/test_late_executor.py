"""A cluster of which one executor lacks the instructions for bfloat16, and came after a run was planned in it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.predict import late_executors, precision
from jobs.predict.config import Computing, PredictConfig
from jobs.predict.conversions import converted_files
from jobs.predict.precision import Processor, remember
from jobs.predict.reports import ShardReport
from jobs.storage.places import Places
from models.release import load_release
from models.serving.devices import processor
from tests.cluster.shards import DAY, predict_on, write_shards
from tests.standalone import Standalone, Worker, standalone

pytestmark = pytest.mark.timeout(600)

PRETENDING = """
import pathlib, re

read_text = pathlib.Path.read_text

def read(path, *given, **named):
    text = read_text(path, *given, **named)
    if str(path) != "/proc/cpuinfo":
        return text
    return re.sub(r"(?m)^flags(\\s*):.*$", r"flags\\1: {flags}", text)

pathlib.Path.read_text = read
"""
"""Code that a worker's Python runs first: the processor has these flags.

OpenVINO asks the processor itself, and computes in float32 where it cannot compute in bfloat16.
"""


@pytest.fixture(scope="module")
def mixed_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """Two workers of one core, of which the second one's processor lacks the instructions."""
    sites = {"able": "fpu avx512_bf16", "unable": "fpu"}
    workers = []
    for name, flags in sites.items():
        site = tmp_path_factory.mktemp(name)
        (site / "sitecustomize.py").write_text(PRETENDING.format(flags=flags))
        workers.append(Worker(1, python_path=site))
    with standalone(tmp_path_factory.mktemp("mixed"), workers) as running:
        yield running


def test_a_late_executor_without_bfloat16_fails_no_task_of_a_run_in_bfloat16(
    mixed_cluster: Standalone,
    places: Places,
    tiny_release: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_shards(places, shards=4, images=6)
    release, name = load_release(tiny_release), processor().name
    config = PredictConfig("run-1", (DAY,), places, tiny_release)
    config = replace(config, computing=Computing(engines_dir=Path(os.environ["SHELFWISE_ENGINES_DIR"])))
    files = converted_files(config, release)
    config = replace(config, computing=replace(config.computing, converted=files))
    blank = ShardReport("", release.release_id, 1, 0, 0, 0, 0, 0, device=name)
    remember(config, release, [replace(blank, compared=(2000, 0, 0, 0))])

    def seen_before_it_came(*_: object, **__: object) -> Iterable[Processor]:
        return {Processor(name, True)}

    monkeypatch.setattr(precision, "processors", seen_before_it_came)
    monkeypatch.setattr(late_executors, "HOLD_SECONDS", 1.0)
    with caplog.at_level(logging.WARNING):
        done = predict_on(mixed_cluster.url, places, tiny_release, run_id="run-1")
    assert (done.shards, done.images) == (4, 24)
    assert [(report.precision, report.engine, report.attempt) for report in done.reports] == [
        ("bfloat16", "openvino", 0)
    ] * 4
    [warning] = [record for record in caplog.records if record.name == "jobs.predict.late_executors"]
    assert "cannot compute run run-1, which is in bfloat16: it lacks the instructions" in warning.getMessage()

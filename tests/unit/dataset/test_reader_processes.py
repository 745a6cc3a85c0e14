"""Processes that read and decode beside a task: the same images, and no process, memory or file left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from jobs.dataset.petastorm_adapter import ReaderClock
from jobs.dataset.reader_processes import ReaderProcesses
from jobs.dataset.reading import read_shard
from jobs.errors import RunFailed
from jobs.predict.config import PredictConfig
from jobs.predict.job import predict_shard, prediction_file
from jobs.storage.places import Places
from tests.unit.predict.test_predict_loop import DAY, RELEASE, ColourPredictor, write_images

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def readers() -> Iterator[ReaderProcesses]:
    with ReaderProcesses(2, side_px=32, threads=1) as started:
        yield started


@pytest.fixture
def own() -> Iterator[ReaderProcesses]:
    """Processes that a test may end."""
    with ReaderProcesses(2, side_px=32, threads=1) as started:
        yield started


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def contents(batches: Any) -> dict[str, tuple[bytes, str, str]]:
    """Return pixels, title and error by product."""
    found = {}
    for batch in batches:
        columns = (batch.columns["product_id"], batch.images, batch.columns["title"], batch.errors)
        for product_id, image, title, error in zip(*columns, strict=True):
            assert product_id not in found
            found[str(product_id)] = (image.tobytes(), str(title), str(error))
    return found


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE}


def test_they_return_what_a_threads_reader_returns(readers: ReaderProcesses, places: Places) -> None:
    shard, clock = write_images(places, 500, broken=frozenset({3, 64, 499})), ReaderClock()
    there = contents(readers.read_shard(shard, batch_size=48, clock=clock))
    assert there == contents(read_shard(shard, side_px=32, batch_size=48, workers=2))
    assert len(there) == 500
    assert sum(bool(error) for _, _, error in there.values()) == 3
    assert min(clock.decoding_seconds, clock.reading_seconds) > 0


def test_all_batches_but_the_last_have_the_asked_size(readers: ReaderProcesses, places: Places) -> None:
    shard = write_images(places, 300)
    for batch_size in (32, 100, 1000):
        sizes = [len(batch) for batch in readers.read_shard(shard, batch_size=batch_size, clock=ReaderClock())]
        assert set(sizes[:-1]) <= {batch_size}
        assert sum(sizes) == 300


def test_they_decode_only_wanted_images(readers: ReaderProcesses, places: Places) -> None:
    shard = write_images(places, 300)
    rows = pq.read_table(shard, columns=["product_id", "image_no", "image_sha256"]).to_pylist()
    wanted = {(row["product_id"], row["image_no"], row["image_sha256"]) for row in (rows[5], rows[250])}
    batches = readers.read_shard(shard, batch_size=32, clock=ReaderClock(), wanted=wanted)
    assert set(contents(batches)) == {rows[5]["product_id"], rows[250]["product_id"]}


def test_a_shard_with_fewer_row_groups_than_processes(readers: ReaderProcesses, places: Places) -> None:
    assert len(contents(readers.read_shard(write_images(places, 10), batch_size=32, clock=ReaderClock()))) == 10


def test_a_row_group_that_is_larger_than_a_slot_travels_by_the_pipe(readers: ReaderProcesses, places: Places) -> None:
    shard = write_images(places, 200)
    pq.write_table(pq.read_table(shard), shard, row_group_size=150)
    assert len(contents(readers.read_shard(shard, batch_size=32, clock=ReaderClock()))) == 200


@pytest.mark.parametrize("of_footer", [False, True])
def test_a_damaged_shard_is_one_sentence(of_footer: bool, own: ReaderProcesses, places: Places, tmp_path: Path) -> None:
    shard = write_images(places, 200)
    data, half = shard.read_bytes(), shard.stat().st_size // 2
    shard.write_bytes(data[:-50] if of_footer else data[:200] + b"\0" * half + data[200 + half :])
    batches = own.read_shard(shard, batch_size=32, clock=ReaderClock(), original=tmp_path / "the original")
    with pytest.raises(RunFailed, match=r"the original cannot be read .*; delete that file"):
        list(batches)


def test_a_process_that_is_killed_is_one_sentence_and_ends_the_others(places: Places) -> None:
    before = children()
    with ReaderProcesses(2, side_px=32, threads=1) as readers:
        batches = readers.read_shard(write_images(places, 2000), batch_size=32, clock=ReaderClock())
        next(batches)
        os.kill(min(children() - before), signal.SIGKILL)
        with pytest.raises(RunFailed, match=r"a process that decoded .* ended; .* run the same again"):
            list(batches)
        assert not readers.alive
        assert children() == before


def test_a_reader_that_is_not_read_to_its_end_ends_the_processes(places: Places) -> None:
    before = children()
    with ReaderProcesses(2, side_px=32, threads=1) as readers:
        batches = readers.read_shard(write_images(places, 2000), batch_size=32, clock=ReaderClock())
        assert len(list(islice(batches, 2))) == 2
        batches.close()
        assert not readers.alive
        assert children() == before


def test_they_end_when_their_task_is_killed(places: Places) -> None:
    shard = write_images(places, 2000)
    code = f"""
import psutil
from pathlib import Path
from jobs.dataset.petastorm_adapter import ReaderClock
from jobs.dataset.reader_processes import ReaderProcesses
readers = ReaderProcesses(2, side_px=32, threads=1)
batches = readers.read_shard(Path({str(shard)!r}), batch_size=32, clock=ReaderClock())
next(batches)
print(*(child.pid for child in psutil.Process().children()), flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as task:
        assert task.stdout
        pids = [int(pid) for pid in task.stdout.readline().split()]
        assert len(pids) == 2
        processes = [psutil.Process(pid) for pid in pids]
        task.kill()
    assert psutil.wait_procs(processes, timeout=30)[1] == []


def test_a_shard_is_predicted_as_from_threads(readers: ReaderProcesses, places: Places, tmp_path: Path) -> None:
    shard, files = write_images(places, 300), []
    for run_id, given in (("threads", None), ("processes", readers)):
        config = PredictConfig(run_id, (DAY,), places, tmp_path / "release", batch_size=32)
        report = predict_shard(shard, ColourPredictor(), RELEASE, config, readers=given)
        assert (report.images, report.failed) == (300, 0)
        files.append(pq.read_table(prediction_file(config, shard)))
    assert files[0].equals(files[1])

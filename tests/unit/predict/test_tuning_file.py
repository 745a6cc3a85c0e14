"""What is remembered of accelerators, by several runs at once and where it cannot be read."""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from jobs.predict import tuning_file
from jobs.predict.reports import ShardReport
from jobs.storage.places import Places
from jobs.storage.stores import read_bytes
from tests.sql.processes import start, together


def report(device: str, batch_size: int = 64) -> ShardReport:
    return ShardReport("s", "r", 40, 0, 0, 0, 0, 0, device=device, batch_size=batch_size, tried=True)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let some time pass between reading and writing."""

    def slowly(where: Any) -> bytes:
        try:
            return read_bytes(where)
        finally:
            time.sleep(0.2)

    monkeypatch.setattr("jobs.storage.home_json.read_bytes", slowly)


def in_a_store(directory: Path) -> Places:
    return Places(UPath(f"local://{directory}"), directory / "local")


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("places_of", [Places, in_a_store])
def test_runs_that_end_at_once_keep_each_other_s_entries(tmp_path: Path, places_of: Any) -> None:
    places = places_of(tmp_path / "home")
    (tmp_path / "home").mkdir()
    codes = together(*(lambda n=n: tuning_file.remember(places, f"r{n % 2}", [report(f"gpu-{n}")]) for n in range(4)))
    assert codes == [0] * 4
    assert {name: set(tuning_file.known(places, name)) for name in ("r0", "r1")} == {
        "r0": {"gpu-0", "gpu-2"},
        "r1": {"gpu-1", "gpu-3"},
    }


def test_a_run_that_is_killed_holds_nobody_up_and_leaves_the_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(tmp_path)
    tuning_file.remember(places, "r", [report("one")])
    locked = multiprocessing.get_context("fork").Event()

    def for_ever(_where: Any) -> bytes:
        locked.set()
        time.sleep(600)
        raise AssertionError("it was not killed")

    with monkeypatch.context() as patch:
        patch.setattr("jobs.storage.home_json.read_bytes", for_ever)
        child = start(lambda: tuning_file.remember(places, "r", [report("two")]))
    assert locked.wait(60)
    child.kill()
    child.join()
    tuning_file.remember(places, "r", [report("three")])
    assert set(tuning_file.known(places, "r")) == {"one", "three"}
    assert json.loads((tmp_path / "tuning.json").read_text(encoding="utf-8"))


def test_what_a_store_does_not_show_for_a_moment_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    places = Places(UPath("memory://shop/remembered"), tmp_path / "local")
    tuning_file.remember(places, "r", [report("one")])

    def denied(*_: Any, **__: Any) -> bytes:
        raise PermissionError("not now")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "cat_file", denied)
        tuning_file.remember(places, "r", [report("two")])
        assert tuning_file.known(places, "r") == {}
    assert "tuning.json cannot be written" in caplog.text
    assert set(tuning_file.known(places, "r")) == {"one"}


def test_what_is_known_already_is_not_written_again(tmp_path: Path) -> None:
    tuning_file.remember(Places(tmp_path), "r", [report("one")])
    before = (tmp_path / "tuning.json").stat().st_ino
    tuning_file.remember(Places(tmp_path), "r", [report("one")])
    assert (tmp_path / "tuning.json").stat().st_ino == before

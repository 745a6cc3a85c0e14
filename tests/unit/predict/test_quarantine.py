"""Images that end whole processes are found and rejected; whoever is killed for another reason blames nobody."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from jobs.errors import RunFailed
from jobs.predict import quarantine
from jobs.predict.config import PredictConfig
from jobs.predict.job import predict_in_quarantine, predict_shard, prediction_file
from jobs.predict.quarantine import Quarantine
from jobs.predict.quarantine_helper import HelperSetup
from jobs.predict.reports import ShardReport
from jobs.predict.selection import of_shard
from jobs.storage.places import Places
from models.known.gate import ImageGate
from models.release import Release
from tests.deadly import ROOT, helper, write_deadly
from tests.played_gate import PlayedGate, knowing
from tests.unit.predict.test_predict_loop import DAY, RELEASE, ColourPredictor, write_images


@pytest.fixture
def config(tmp_path: Path) -> PredictConfig:
    return PredictConfig("run-1", (DAY,), Places(tmp_path / "home"), tmp_path / "release", batch_size=32)


def apart(
    config: PredictConfig, shard: Path, program: str, *, release: Release = RELEASE, gate: ImageGate | None = None
) -> tuple[ShardReport, list[dict[str, Any]], int]:
    """Predict a shard in quarantine; return its report, its rows, and how many processes ended."""
    with Quarantine(HelperSetup(config, config.release_dir, RELEASE), program) as ward:
        report = predict_in_quarantine(of_shard(config, shard), ward, release, config, shard, gate=gate)
        deaths = ward.deaths
    return report, pq.read_table(prediction_file(config, shard)).to_pylist(), deaths


def test_a_helper_computes_with_the_cores_that_it_was_given(config: PredictConfig) -> None:
    shard = write_images(config.places, 2)
    for cores, device in ((3, "CPU, 3 cores"), (None, "CPU, all cores")):
        with Quarantine(HelperSetup(config, config.release_dir, RELEASE, cores=cores), helper()) as ward:
            list(ward.answers(shard, shard))
            assert ward.ready.device == device


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """An empty directory of tokens; see `helper`."""
    (tmp_path / "tokens").mkdir()
    return tmp_path / "tokens"


@pytest.mark.parametrize("by", ["to_decoder", "to_networks"])
def test_images_that_end_their_process_are_rejected_and_the_others_answered(config: PredictConfig, by: str) -> None:
    deadly = (5, 64)
    options: dict[str, Any] = {by: deadly}
    shard = write_deadly(config.places, 100, **options)
    report, rows, deaths = apart(config, shard, helper())
    assert (report.device, report.precision, report.engine) == ("CPU, all cores", "float32", "openvino")
    rejected = {row["product_id"] for row in rows if row["reason"]}
    assert rejected == {f"p{number:04d}" for number in deadly}
    for row in rows:
        assert row["reason"] in (None, "inference_failed")
        assert ("SIGSEGV" in row["detail"]) if row["reason"] else row["category_id"]
    assert (report.images, report.failed) == (100, 2)
    assert deaths == 6, "for each of the two, one over its batch and two over it alone"


def test_sound_images_are_answered_as_everywhere(config: PredictConfig) -> None:
    shard = write_images(config.places, 150, broken=frozenset({3, 65}))
    predict_shard(shard, ColourPredictor(), RELEASE, config)
    expected = pq.read_table(prediction_file(config, shard)).to_pylist()
    prediction_file(config, shard).unlink()
    report, rows, deaths = apart(config, shard, helper())
    assert rows == expected
    assert (deaths, report.images, report.failed, report.batch_size) == (0, 150, 2, 0)


def test_images_of_a_quarantine_are_judged_as_everywhere(config: PredictConfig) -> None:
    shard, release = write_images(config.places, 150, broken=frozenset({3, 65})), knowing(RELEASE)
    usual = predict_shard(shard, ColourPredictor(), release, config, gate=PlayedGate(2))
    expected = pq.read_table(prediction_file(config, shard)).to_pylist()
    prediction_file(config, shard).unlink()
    report, rows, _ = apart(config, shard, helper(), release=release, gate=PlayedGate(2))
    assert rows == expected
    assert report.by_leaf == usual.by_leaf == {"colour.blue": [49, 49], "colour.green": [50, 0], "colour.red": [49, 0]}
    assert (report.gate, report.not_computed) == ("computed", 0)


@pytest.mark.parametrize(("kind", "killed"), [("sound", 1), ("sound", 2), ("sticky", 2), ("halfway", 1)])
def test_a_process_that_is_killed_or_loses_its_device_blames_no_image(
    config: PredictConfig, tokens: Path, kind: str, killed: int
) -> None:
    for number in range(killed):  # over a batch, and then over one image alone
        (tokens / str(number)).touch()
    report, rows, deaths = apart(config, write_images(config.places, 70), helper(kind, tokens))
    assert (deaths, list(tokens.iterdir())) == (killed, [])
    assert (report.images, report.failed) == (70, 0)
    assert all(row["category_id"] for row in rows)


def test_networks_that_end_their_process_over_anything_reject_nothing(config: PredictConfig) -> None:
    shard = write_images(config.places, 10)
    with pytest.raises(RunFailed, match=r"release colours-1 ends each process that asks it about a black image \(SIGS"):
        apart(config, shard, helper("broken"))
    assert not config.places.predictions("run-1").exists()


def test_more_deaths_than_images_cause_stop_the_run(config: PredictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "MOST_DEATHS", 4)
    shard = write_deadly(config.places, 10, to_networks=(1, 2, 3))
    with pytest.raises(RunFailed, match=r"5 processes ended over images of .*part-.*, the last by SIGSEGV; no im"):
        apart(config, shard, helper())
    assert not config.places.predictions("run-1").exists()


def test_only_what_is_wanted_is_looked_at(config: PredictConfig) -> None:
    shard = write_deadly(config.places, 100, to_decoder=(50,))
    wanted = frozenset((f"p{number:04d}", 0, f"{number:04d}".zfill(64)) for number in (1, 70, 99))
    with Quarantine(HelperSetup(config, config.release_dir, RELEASE), helper()) as ward:
        found = [str(name) for batch, _ in ward.answers(shard, shard, wanted) for name in batch.columns["product_id"]]
        assert (found, ward.deaths) == (["p0001", "p0070", "p0099"], 0)


def test_what_a_helper_raises_is_raised_and_names_the_file_itself(config: PredictConfig, tmp_path: Path) -> None:
    shard = write_images(config.places, 100)
    data = bytearray(shard.read_bytes())
    place = pq.read_metadata(shard).row_group(1).column(pq.read_schema(shard).names.index("jpeg")).data_page_offset
    data[place : place + 40] = bytes(40)
    copy = tmp_path / "copy.parquet"
    copy.write_bytes(data)
    with Quarantine(HelperSetup(config, config.release_dir, RELEASE), helper()) as ward:
        with pytest.raises(RunFailed, match=rf"^{shard} cannot be read .*; delete that file and ingest its date again"):
            list(ward.answers(shard, copy))
        assert ward.deaths == 0


def test_a_helper_ends_with_its_task(config: PredictConfig, tmp_path: Path) -> None:
    shard = write_images(config.places, 10)
    code = f"""
import time
from datetime import date
from pathlib import Path
from psutil import Process
from jobs.predict.config import PredictConfig
from jobs.storage.places import Places
from jobs.predict.quarantine import Quarantine
from jobs.predict.quarantine_helper import HelperSetup
from jobs.predict.selection import of_shard
from tests.deadly import helper
from tests.unit.predict.test_predict_loop import RELEASE
shard = Path({str(shard)!r})
config = PredictConfig("run-1", (date(2026, 11, 1),), Places(Path({str(tmp_path)!r})), Path("release"), batch_size=4)
ward = Quarantine(HelperSetup(config, Path("release"), RELEASE), helper())
print(len(next(ward.answers(shard, shard))[0]), Process().children()[0].pid, flush=True)
time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    task = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert task.stdout
        images, pid = task.stdout.readline().split()
        process = psutil.Process(int(pid))
        assert (images, process.is_running()) == ("4", True)
    finally:
        task.kill()
        task.wait()
    until = time.monotonic() + 20
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "it outlived its task"
        time.sleep(0.05)

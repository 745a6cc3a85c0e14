"""Predicting on a cluster: the same answers, a release that arrives whole, stragglers, and what may be missing."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from jobs.config import Places, RunFailed
from jobs.shards import shards
from jobs.spark import spark_session
from models.release import load_release
from tests.cluster.shards import DAY, predict_on, spark_config, write_shards
from tests.ports import free_port
from tests.standalone import Standalone

pytestmark = pytest.mark.timeout(600)  # several Java processes start, beside whatever else this machine does


def predictions(places: Places, run_id: str) -> list[dict[str, object]]:
    """Return a run's rows in order."""
    files = sorted(places.predictions(run_id).glob("*.parquet"))
    assert len(files) == len(shards(places.images, [DAY]))
    return [row for path in files for row in pq.read_table(path).to_pylist()]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """Three shards that every master predicts."""
    places = Places(tmp_path_factory.mktemp("home"))
    write_shards(places, shards=3, images=20)
    return places


@pytest.fixture(scope="module")
def expected(home: Places, tiny_release: Path) -> list[dict[str, object]]:
    """What one local core predicts."""
    assert predict_on("local[1]", home, tiny_release, run_id="expected").images == 60
    rows = predictions(home, "expected")
    assert len({row["product_id"] for row in rows}) == 60
    return rows


def test_two_local_cores_predict_the_same(home: Places, tiny_release: Path, expected: list[dict[str, object]]) -> None:
    predict_on("local[2]", home, tiny_release, run_id="two-cores")
    assert predictions(home, "two-cores") == expected


def test_a_cluster_in_one_process_predicts_the_same(
    home: Places, tiny_release: Path, expected: list[dict[str, object]]
) -> None:
    predict_on("local-cluster[2,1,1024]", home, tiny_release, run_id="local-cluster")
    assert predictions(home, "local-cluster") == expected


def test_a_standalone_cluster_predicts_the_same_with_one_copy_of_the_release_an_executor(
    home: Places, tiny_release: Path, expected: list[dict[str, object]], cluster: Standalone
) -> None:
    done = predict_on(cluster.url, home, tiny_release, run_id="standalone")
    assert (done.shards_skipped, done.images) == (0, 60)
    assert predictions(home, "standalone") == expected
    executors = [path for path in cluster.directory.glob("worker-*/app-*/*") if path.is_dir()]
    assert executors
    copies = [len(list(path.rglob("*.weights.h5"))) for path in executors]
    assert max(copies) <= 1, "and two tasks of an executor share it"
    again = predict_on(cluster.url, home, tiny_release, run_id="standalone")
    assert (again.shards_skipped, again.images) == (3, 0), "a finished shard is never computed again"


def test_weights_that_arrive_altered_are_refused(
    places: Places, tiny_release: Path, cluster: Standalone, tmp_path: Path
) -> None:
    write_shards(places, shards=1, images=4)
    shutil.copytree(tiny_release, tmp_path / "altered")
    release = load_release(tmp_path / "altered")
    with (tmp_path / "altered" / release.networks[0].weights_file).open("r+b") as weights:
        weights.seek(5000)
        weights.write(b"\0\1\2\3")
    with pytest.raises(RunFailed, match=r"was altered: expected SHA-256 .*; copy it again"):
        predict_on(cluster.url, places, tmp_path / "altered", run_id="altered", release=release)
    assert not places.predictions("altered").exists()


def test_a_straggler_does_not_hold_up_a_run_that_speculates(
    places: Places, tiny_release: Path, cluster: Standalone
) -> None:
    write_shards(places, shards=6, images=10)
    stopped: list[psutil.Process] = []

    def stop_one_worker() -> None:
        directory = places.predictions("speculative")
        while len(list(directory.glob("*.parquet"))) < 3:  # both executors have their networks by now
            time.sleep(0.01)
        [worker, *_] = cluster.python_workers()
        worker.send_signal(signal.SIGSTOP)
        stopped.append(worker)

    options: dict[str, Any] = {
        "spark.speculation": "true",
        "spark.speculation.quantile": "0.5",
        "spark.speculation.interval": "200ms",
    }
    watcher = threading.Thread(target=stop_one_worker, daemon=True)
    watcher.start()
    try:
        done = predict_on(cluster.url, places, tiny_release, run_id="speculative", **options)
    finally:
        for worker in stopped:
            worker.send_signal(signal.SIGCONT)
    assert stopped, "nothing was made slow"
    assert done.images == 60
    rows = predictions(places, "speculative")
    assert sorted(str(row["product_id"]) for row in rows) == [f"p{number:05d}" for number in range(60)]


def test_a_master_that_is_not_there_is_one_sentence_at_once(places: Places) -> None:
    started = time.monotonic()
    with (
        pytest.raises(RunFailed, match=r"no Spark master can be reached .*; start it, or correct --master"),
        spark_session(spark_config(places, f"spark://127.0.0.1:{free_port()}"), name="test"),
    ):
        pass
    assert time.monotonic() - started < 30, "Spark itself would wait for a minute"


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        ("/nowhere/python3", "an executor has no Python at /nowhere/python3; set PYSPARK_PYTHON"),
        (f"{sys.base_prefix}/bin/python3", "lacks .*keras.*; start executors from the image or environment"),
    ],
)
def test_executors_that_lack_something_are_one_sentence(
    places: Places, cluster: Standalone, monkeypatch: pytest.MonkeyPatch, python: str, sentence: str
) -> None:
    monkeypatch.setenv("PYSPARK_PYTHON", python)
    with pytest.raises(RunFailed, match=sentence), spark_session(spark_config(places, cluster.url), name="test"):
        pass


def test_executors_without_java_are_one_sentence(places: Places, cluster: Standalone) -> None:
    config = replace(spark_config(places, cluster.url), properties={"spark.executorEnv.JAVA_HOME": "/nowhere"})
    with (
        pytest.raises(RunFailed, match=r"no executor could be started, as when a machine has no Java 17 or 21"),
        spark_session(config, name="test"),
    ):
        pass


def test_a_gpu_that_no_worker_has_is_waited_for_no_longer_than_told(places: Places, cluster: Standalone) -> None:
    started = time.monotonic()
    config = spark_config(places, cluster.url, wait_seconds=8)
    with (
        pytest.raises(
            RunFailed, match=r"took a task within 8 s; see that a worker is alive with 1 free cores and a GPU"
        ),
        spark_session(config, name="test", gpu=True),
    ):
        pass
    assert time.monotonic() - started < 60

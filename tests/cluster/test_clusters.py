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
from pyspark import SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from jobs.dataset.shards import shards
from jobs.errors import RunFailed
from jobs.ingest import job as ingest
from jobs.ingest.config import IngestConfig
from jobs.predict.reports import PredictSummary
from jobs.spark.session import spark_session
from jobs.storage.places import Places
from models.release import load_release
from tests.cluster.shards import DAY, predict_on, spark_config, write_shards
from tests.conftest import SmallShop
from tests.extent import ALL
from tests.ports import free_port
from tests.standalone import Standalone

pytestmark = pytest.mark.timeout(600)  # several Java processes start, beside whatever else this machine does


def night_on(master: str, home: Path, catalog: str, release: Path) -> tuple[Places, PredictSummary]:
    """Ingest a catalog into a home of its own, in shards of a few images, and predict it."""
    places = Places(home)
    with spark_session(spark_config(places, master), name="test") as spark:
        done = ingest.run(spark, IngestConfig(catalog, DAY, places, shard_bytes=10_000))
    assert (done.images_stored, done.images_rejected) == (60, 0)
    return places, predict_on(master, places, release, run_id="night")


def predictions(places: Places, run_id: str = "night") -> list[dict[str, object]]:
    """Return a run's rows in order, whichever shard they were in."""
    files = sorted(places.predictions(run_id).glob("*.parquet"))
    assert len(files) == len(shards(places.images, [DAY])) > 3
    rows = [row for path in files for row in pq.read_table(path).to_pylist()]
    return sorted(rows, key=lambda row: (row["product_id"], row["image_no"]))


def assert_same(found: list[dict[str, object]], expected: list[dict[str, object]]) -> None:
    """See that two nights gave the same answers; a batch of another size computes the last digit otherwise."""
    told = ["product_id", "image_no", "image_sha256", "category_id", "status", "reason"]
    assert [[row[name] for name in told] for row in found] == [[row[name] for name in told] for row in expected]
    assert [row["confidence"] for row in found] == pytest.approx([row["confidence"] for row in expected], abs=1e-5)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The catalog that every master takes in."""
    shop = SmallShop(tmp_path_factory.mktemp("shop"))
    shop.add_many([f"p{number:05d}" for number in range(60)])
    return shop.catalog


@pytest.fixture(scope="module")
def expected(catalog: str, tiny_release: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """What two local cores make of it."""
    rows = predictions(night_on("local[2]", tmp_path_factory.mktemp("one"), catalog, tiny_release)[0])
    assert len({row["product_id"] for row in rows}) == 60
    return rows


if ALL:

    @pytest.mark.parametrize("master", ["local[1]", "local-cluster[2,1,1024]"])
    def test_a_night_is_the_same_on_every_master(
        master: str, catalog: str, tiny_release: Path, expected: list[dict[str, object]], tmp_path: Path
    ) -> None:
        assert_same(predictions(night_on(master, tmp_path, catalog, tiny_release)[0]), expected)


def test_a_standalone_cluster_gives_the_same_answers_with_one_copy_of_the_release_per_executor(
    catalog: str, tiny_release: Path, expected: list[dict[str, object]], cluster: Standalone, tmp_path: Path
) -> None:
    places, done = night_on(cluster.url, tmp_path, catalog, tiny_release)
    assert (done.shards_skipped, done.images) == (0, 60)
    assert_same(predictions(places), expected)
    executors = [path for path in cluster.directory.glob("worker-*/app-*/*") if path.is_dir()]
    assert executors
    copies = [len(list(path.rglob("*.weights.h5"))) for path in executors]
    assert max(copies) <= 1, "and two tasks of an executor share it"
    again = predict_on(cluster.url, places, tiny_release, run_id="night")
    assert (again.shards_skipped, again.images) == (done.shards, 0), "a finished shard is never computed again"


def test_weights_altered_on_the_way_are_refused(
    places: Places, tiny_release: Path, cluster: Standalone, tmp_path: Path
) -> None:
    write_shards(places, shards=1, images=4)
    shutil.copytree(tiny_release, tmp_path / "altered")
    release = load_release(tmp_path / "altered")
    # The driver converts now, so that later nobody but an executor looks at the weights.
    assert predict_on(cluster.url, places, tmp_path / "altered", run_id="whole", release=release).images == 4
    with (tmp_path / "altered" / release.networks[0].weights_file).open("r+b") as weights:
        weights.seek(5000)
        weights.write(b"\0\1\2\3")
    with pytest.raises(RunFailed, match=r"was altered: expected SHA-256 .*; copy it again"):
        predict_on(cluster.url, places, tmp_path / "altered", run_id="altered", release=release)
    assert not places.predictions("altered").exists()


def test_a_straggler_does_not_hold_up_a_run_that_speculates(
    places: Places, tiny_release: Path, cluster: Standalone
) -> None:
    write_shards(places, shards=12, images=10)
    stopped: list[psutil.Process] = []

    def stop_one_worker() -> None:
        directory = places.predictions("speculative")
        while len(list(directory.glob("*.parquet"))) < 3:  # both executors have their networks by now
            time.sleep(0.01)
        while not (workers := cluster.python_workers()):
            time.sleep(0.01)
        worker = workers[0]
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
    assert done.images == 120
    rows = predictions(places, "speculative")
    assert sorted(str(row["product_id"]) for row in rows) == [f"p{number:05d}" for number in range(120)]


def test_a_missing_master_gives_one_sentence_at_once(places: Places) -> None:
    started = time.monotonic()
    with (
        pytest.raises(RunFailed, match=r"no Spark master can be reached .*; start it, or correct --master"),
        spark_session(spark_config(places, f"spark://127.0.0.1:{free_port()}"), name="test"),
    ):
        pass
    assert time.monotonic() - started < 55, "Spark itself would wait for a minute"


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        ("/nowhere/python3", "an executor has no Python at /nowhere/python3; set PYSPARK_PYTHON"),
        (f"{sys.base_prefix}/bin/python3", "lacks .*keras.*; start executors from the image or environment"),
    ],
)
def test_executors_that_lack_something_give_one_sentence(
    places: Places, cluster: Standalone, monkeypatch: pytest.MonkeyPatch, python: str, sentence: str
) -> None:
    monkeypatch.setenv("PYSPARK_PYTHON", python)
    with pytest.raises(RunFailed, match=sentence), spark_session(spark_config(places, cluster.url), name="test"):
        pass


def test_executors_without_java_give_one_sentence(places: Places, cluster: Standalone) -> None:
    config = replace(spark_config(places, cluster.url), properties={"spark.executorEnv.JAVA_HOME": "/nowhere"})
    with (
        pytest.raises(RunFailed, match=r"no executor could be started, as when a machine has no Java 17 or 21"),
        spark_session(config, name="test"),
    ):
        pass


def test_a_session_that_could_not_be_made_leaves_nothing_to_the_next_one(
    places: Places, cluster: Standalone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one took the context that Spark had stopped, and told the first one's fault again."""

    def fail(*_: object, **__: object) -> None:
        raise PySparkException("the context was stopped meanwhile")

    monkeypatch.setattr(SparkSession, "__init__", fail)
    config = replace(spark_config(places, cluster.url), properties={"spark.executorEnv.SOME": "thing"})
    with pytest.raises(RunFailed, match="stopped meanwhile"), spark_session(config, name="test"):
        pass
    assert SparkContext._active_spark_context is None
    jvm: Any = SparkContext._jvm
    assert jvm.java.lang.System.getProperty("spark.executorEnv.SOME") is None


def test_waiting_for_a_missing_gpu_ends_at_the_time_limit(places: Places, cluster: Standalone) -> None:
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

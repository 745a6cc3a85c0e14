"""A cluster of which one executor has other versions than the driver: refused, or a warning."""

from __future__ import annotations

import logging
import shutil
import socket
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from jobs.errors import RunFailed
from jobs.spark.config import SparkConfig
from jobs.spark.session import spark_session
from jobs.storage.places import Places
from tests.cluster.shards import all_executors, spark_config
from tests.standalone import Standalone, Worker, standalone

pytestmark = pytest.mark.timeout(600)

OTHER_PYTHON = """
import sys
from collections import namedtuple

Version = namedtuple("Version", ["major", "minor", "micro", "releaselevel", "serial"])
sys.version_info = Version(3, 99, 1, "final", 0)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first directory of the second worker's PYTHONPATH."""
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="module")
def mixed_cluster(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """Two workers, of which the second one finds the packages' metadata in `site`."""
    with standalone(tmp_path_factory.mktemp("mixed"), [Worker(1), Worker(1, python_path=site)]) as running:
        yield running


@pytest.fixture(autouse=True)
def empty_site(site: Path) -> None:
    for path in site.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def both_executors(places: Places, cluster: Standalone) -> SparkConfig:
    """Return how a session is started that begins no task before both executors are there.

    One that starts much later than the other would not be compared with the driver.
    """
    return spark_config(places, cluster.url, **all_executors(2))


def pretend(site: Path, package: str, other: str) -> None:
    """Let a worker find another version of a package than it has."""
    directory = site / f"{package}-{other}.dist-info"
    directory.mkdir()
    (directory / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {other}\n")


def test_a_cluster_of_which_one_executor_has_other_versions_is_refused(
    mixed_cluster: Standalone, site: Path, places: Places
) -> None:
    pretend(site, "petastorm", "0.12.1")
    pretend(site, "pyarrow", "1.0.0")
    pretend(site, "pandas", "1.0.0")
    with pytest.raises(RunFailed) as caught, spark_session(both_executors(places, mixed_cluster), name="test"):
        pass
    assert str(caught.value) == (
        f"executors differ from the driver: on {socket.gethostname()} petastorm 0.12.1 instead of "
        f"{version('petastorm')}, pyarrow 1.0.0 instead of {version('pyarrow')}; install the driver's requirements.txt "
        "there, or start driver and executors from the same image of jobs/cluster"
    )


def test_harmless_differences_of_an_executor_are_one_warning_in_all_sessions(
    mixed_cluster: Standalone, site: Path, places: Places, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(site, "pandas", "1.0.0")
    pretend(site, "keras", "2.5.0rc1")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with spark_session(both_executors(places, mixed_cluster), name="test") as spark:
                assert spark.range(3).count() == 3
    [warning] = [record.getMessage() for record in caplog.records if record.name == "jobs.spark.versions"]
    assert f"keras 2.5.0rc1 instead of {version('keras')}, pandas 1.0.0 instead of {version('pandas')}; " in warning


def test_an_executor_with_another_python_gives_the_same_sentence(
    mixed_cluster: Standalone, site: Path, places: Places
) -> None:
    """PySpark itself refuses it, before the project's code can run there."""
    (site / "sitecustomize.py").write_text(OTHER_PYTHON)
    with pytest.raises(RunFailed) as caught, spark_session(both_executors(places, mixed_cluster), name="test"):
        pass
    ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert str(caught.value) == (
        f"executors differ from the driver: on 127.0.0.2 Python 3.99 instead of {ours}; set PYSPARK_PYTHON to a Python "
        f"{ours} there, or start driver and executors from the same image of jobs/cluster"
    )

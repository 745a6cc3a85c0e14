"""Which differences between the versions of executors and driver end a run, and which are a warning."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import platform
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path

import pyspark
import pytest

from jobs.errors import RunFailed
from jobs.spark import probe, versions
from jobs.spark.config import SparkConfig
from jobs.spark.faults import sentence, unusable_python
from jobs.spark.probe import UNKNOWN, Inspection, inspect_executor
from jobs.spark.session import spark_session
from jobs.spark.versions import check_versions
from tests.unit.fake_spark import FakeSpark

DRIVER = Inspection(
    "driver",
    "3.11.7",
    (),
    True,
    {
        "petastorm": "0.13.1",
        "pyspark": "4.3.0",
        "numpy": "2.4.6",
        "pyarrow": "26.0.1",
        "pandas": "2.3.3",
        "pillow": "13.0.0",
        "tensorflow": "2.21.0",
    },
)
IMAGE = ", or start driver and executors from the same image of jobs/cluster"
MISMATCH = (
    "An exception was thrown from the Python worker:\nTraceback (most recent call last):\n"
    "pyspark.errors.exceptions.base.PySparkRuntimeError: [PYTHON_VERSION_MISMATCH] Python in worker has different "
    "version: 3.12 than that in driver: 3.11, PySpark cannot run with different minor versions.\nPlease check"
)
MISREAD = (
    'An exception was thrown from the Python worker:\nTraceback (most recent call last):\n  File "/worker.py", line 3\n'
    "UnicodeDecodeError: 'utf-8' codec can't decode byte 0x80 in position 703: invalid start byte\n"
)
TOO_OLD = (
    "org.apache.spark.SparkException: \nError from python worker:\n  Traceback (most recent call last):\n"
    '    File "/opt/python/lib/python3.8/runpy.py", line 185, in _run_module_as_main\n'
    '    File "/driver/lib/python3.11/site-packages/pyspark/python/lib/pyspark.zip/pyspark/util.py", line 48\n'
    "  AttributeError: module 'importlib.resources' has no attribute 'files'\n"
    "org.apache.spark.SparkException: EOFException occurred while reading the port number from pyspark.daemon's stdout."
)


def executor(host: str = "one", python: str = "3.11.7", **other: str | None) -> Inspection:
    """Return an executor like the driver, but with some other versions; None removes a package."""
    merged = {**DRIVER.versions, **other}
    found = {package: version for package, version in merged.items() if version is not None}
    return replace(DRIVER, host=host, python=python, versions=found)


@pytest.fixture(autouse=True)
def unwarned() -> None:
    """No earlier test has logged the warning of this one."""
    versions._warn_once.cache_clear()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            executor(python="3.12.1"),
            "on one Python 3.12 instead of 3.11; set PYSPARK_PYTHON to a Python 3.11 there" + IMAGE,
        ),
        (executor(pyspark="4.3.1"), "on one pyspark 4.3.1 instead of 4.3.0; install Spark 4.3.0 there" + IMAGE),
        (
            executor(petastorm="0.13.2rc0"),
            "on one petastorm 0.13.2rc0 instead of 0.13.1; install the driver's requirements.txt there" + IMAGE,
        ),
        (executor(pyarrow="25.0.1"), "on one pyarrow 25.0.1 instead of 26.0.1; install the driver's requirements.txt"),
        (executor(numpy="1.26.4"), "on one numpy 1.26.4 instead of 2.4.6; install the driver's requirements.txt"),
        (executor(numpy="3rc1"), "on one numpy 3rc1 instead of 2.4.6;"),
        (executor(numpy=None), "on one no numpy instead of 2.4.6;"),
    ],
)
def test_a_difference_with_which_tasks_cannot_run_ends_the_run(
    other: Inspection, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RunFailed) as caught:
        check_versions([other], DRIVER)
    assert str(caught.value).startswith(f"executors differ from the driver: {words}")
    assert warnings(caplog) == []


def test_several_differences_on_several_hosts_are_one_sentence_without_the_harmless_ones() -> None:
    other = executor("b", python="3.13.0", pyspark="4.1.4", numpy="1.26.4", pandas="1.0.0")
    found = [other, replace(other, host="a"), other, executor("driver-like"), executor("c", petastorm="0.12.1")]
    with pytest.raises(RunFailed) as caught:
        check_versions(found, DRIVER)
    assert str(caught.value) == (
        "executors differ from the driver: on a, b Python 3.13 instead of 3.11, numpy 1.26.4 instead of 2.4.6, pyspark "
        "4.1.4 instead of 4.3.0; on c petastorm 0.12.1 instead of 0.13.1; set PYSPARK_PYTHON to a Python 3.11 and "
        "install Spark 4.3.0 and install the driver's requirements.txt there" + IMAGE
    )


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (executor(numpy="2.5.0rc1"), "on one numpy 2.5.0rc1 instead of 2.4.6"),
        (executor(pyarrow="26.1.0"), "on one pyarrow 26.1.0 instead of 26.0.1"),
        (executor(tensorflow=None), "on one no tensorflow instead of 2.21.0"),
        (executor(petastorm=UNKNOWN), "on one petastorm of an unknown version instead of 0.13.1"),
        (
            executor(pandas="2.2.0", pillow="12.0"),
            "on one pandas 2.2.0 instead of 2.3.3, pillow 12.0 instead of 13.0.0",
        ),
    ],
)
def test_other_differences_are_one_warning_however_many_sessions_a_run_has(
    other: Inspection, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        check_versions([other, other], DRIVER)
    assert warnings(caplog) == [
        f"executors differ from the driver, and may answer differently: {words}; install the driver's "
        "requirements.txt there"
    ]


@pytest.mark.parametrize(
    "other", [executor(), executor(python="3.11.15"), executor(jax="0.9"), executor(**{"opencv-python": "4.11"})]
)
def test_a_patch_of_python_and_what_only_executors_have_are_no_differences(
    other: Inspection, caplog: pytest.LogCaptureFixture
) -> None:
    check_versions([other], DRIVER)
    assert warnings(caplog) == []


def test_the_driver_may_lack_metadata_too(caplog: pytest.LogCaptureFixture) -> None:
    driver = replace(DRIVER, versions={**DRIVER.versions, "petastorm": UNKNOWN})
    check_versions([executor()], driver)
    assert "petastorm 0.13.1 instead of an unknown version" in warnings(caplog)[0]


def test_versions_come_from_the_metadata_and_that_of_pyspark_from_what_is_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = {"opencv-python": "4.10.0", "pyspark": "3.0.0", "numpy": "2.5.0rc1"}

    def version(name: str) -> str:
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    def find_spec(name: str) -> ModuleSpec | None:
        return None if name == "tensorflow" else ModuleSpec(name, None)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    found = inspect_executor(None)
    assert found.python == platform.python_version()
    assert found.versions["opencv-python-headless"] == "4.10.0", "another distribution of the same module"
    assert found.versions["pyspark"] == pyspark.__version__
    assert found.versions["numpy"] == "2.5.0rc1"
    assert found.versions["petastorm"] == UNKNOWN
    assert "tensorflow" not in found.versions


def test_every_package_that_is_compared_is_known_by_a_pinned_name() -> None:
    pins = (Path(__file__).parents[3] / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = {line.partition("==")[0] for line in pins}
    found = inspect_executor(None).versions
    assert found.keys() <= names
    assert len(found) == len(probe.COMPARED)
    assert UNKNOWN not in found.values()


def test_pysparks_own_refusal_of_another_python_is_the_same_sentence() -> None:
    words = f"Python 3.12 instead of 3.11; set PYSPARK_PYTHON to a Python 3.11 there{IMAGE}"
    assert sentence(MISMATCH) == f"executors differ from the driver: on an executor {words}"
    found = unusable_python(MISMATCH, host="two", spark="4.3.0")
    assert found == f"executors differ from the driver: on two {words}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            TOO_OLD,
            "executors differ from the driver: on two Python 3.8 instead of {}; set PYSPARK_PYTHON to a Python {}",
        ),
        (MISREAD, "on two no task can begin (UnicodeDecodeError: 'utf-8' codec can't decode byte 0x80 in position"),
        (MISREAD, "of another version than the driver's, which are PySpark 4.3.0 and Python {}; install these there"),
        (
            "Python worker: No module named 'pyspark.core'",
            "executor's PySpark has no pyspark.core, as it is of another",
        ),
        ("Python worker: No module named 'numpy'", "an executor's Python lacks the package numpy"),
        ('IOException: Cannot run program "/opt/py": error=2', "an executor has no Python at /opt/py"),
    ],
)
def test_a_python_that_cannot_begin_a_task_is_named(text: str, words: str) -> None:
    found = unusable_python(text, host="two", spark="4.3.0")
    assert found is not None
    python = versions.minor(platform.python_version())
    assert words.format(python, python) in found
    assert "\n" not in found


@pytest.mark.parametrize(
    "text",
    [
        "ExecutorLostFailure (executor 3 exited unrelated)",
        "SparkException: Python worker exited unexpectedly (crashed)",
        "java.io.IOException: No space left on device",
        "java.lang.OutOfMemoryError: Java heap space",
    ],
)
def test_an_attempt_that_failed_for_another_reason_says_nothing_of_the_python(text: str) -> None:
    assert unusable_python(text, host="two", spark="4.3.0") is None


def test_an_executor_whose_task_succeeded_elsewhere_is_refused(
    fake_spark: Callable[..., FakeSpark], tmp_path: Path
) -> None:
    """Spark repeats a failed task, perhaps on another executor, so the job's success is not enough."""
    spark, config = fake_spark(), SparkConfig("local-cluster[2,1,1024]", "1g", tmp_path)
    spark.failed = [("one", "ExecutorLostFailure (executor 3 exited)")]
    with spark_session(config, name="test"):
        pass
    spark.failed.append(("two", MISMATCH))
    with (
        pytest.raises(RunFailed, match=r"differ from the driver: on two Python 3\.12 instead of 3\.11"),
        spark_session(config, name="test"),
    ):
        pass

"""What Spark's errors become, what an executor is asked first, and how a call is written down to be made again."""

from __future__ import annotations

import platform
from pathlib import Path

import click
import pytest
from pyspark.errors import PySparkException

from jobs.cli.resume import arguments, call_again
from jobs.cli.runs import backfill, nightly
from jobs.errors import RunFailed, UsageError
from jobs.spark import session as spark
from jobs.spark.config import SparkConfig
from jobs.spark.executors import check_executor
from jobs.spark.faults import check_reachable, lost_application_explained, sentence, spark_errors_explained
from jobs.spark.probe import inspect_executor
from jobs.spark.session import cores_of_a_task, is_cluster
from jobs.storage.faults import StoreDenied, StoreError
from models.training.recipe import TrainingFailed
from sql.errors import DatabaseError

TRACE = 'Job aborted: Traceback (most recent call last):\n  File "/x/worker.py", line 9, in main\n{}\n\n\tat java.base'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            TRACE.format("jobs.errors.RunFailed: part-1 holds 5 images, 4 were read"),
            "part-1 holds 5 images, 4 were read",
        ),
        (
            TRACE.format("models.release.ReleaseError: w.h5 was altered; copy it again"),
            "w.h5 was altered; copy it again",
        ),
        (
            "An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.",
            "Spark's Java process ended or stopped answering",
        ),
        ('java.io.IOException: Cannot run program "/opt/py": error=2', "no Python at /opt/py; set PYSPARK_PYTHON"),
        (
            TRACE.format("ModuleNotFoundError: No module named 'petastorm'"),
            "lacks the package petastorm; start executors",
        ),
        (
            TRACE.format("OSError: [Errno 28] No space left on device"),
            "a disk that this run writes to is full; free some",
        ),
        ("SparkException: Python worker exited unexpectedly (crashed)", "Python process died again and again"),
        (
            "SparkException: Python worker exited unexpectedly (crashed): Fatal Python error: Segmentation fault\n\n"
            'Thread 0x00007fb1 (most recent call first):\n  File "/lib/threading.py", line 327 in wait\n\n'
            'Current thread 0x00007fb2 (most recent call first):\n  File "/lib/PIL/ImageFile.py", line 391 in load\n'
            '  File "/jobs/images/normalise.py", line 130 in _decode\n\n\tat org.apache.spark',
            "crashed again and again: Segmentation fault in load, line 391 of /lib/PIL/ImageFile.py; see that its",
        ),
        (
            "SparkException: Python worker exited unexpectedly (crashed): Fatal Python error: Aborted\n\n"
            "Current thread 0x00007fb2 (most recent call first):\n  <no Python frame>\n\n\tat org.apache.spark",
            "Python process died again and again",
        ),
        ("ExecutorLostFailure (executor 3 exited unrelated)", "executors were lost again and again"),
        (
            "Job 0 cancelled because SparkContext was shut down",
            "no executor could be started, as when a machine has no Java",
        ),
        (
            "An error occurred while calling None.org.apache.spark.sql.classic.SparkSession.\n"
            ": java.lang.IllegalStateException: Cannot call methods on a stopped SparkContext.",
            "no executor could be started, as when a machine has no Java",
        ),
        (
            "An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.\n"
            ": java.lang.IllegalStateException: SparkContext has been shutdown\n\tat org.apache.spark",
            "no executor could be started, as when a machine has no Java",
        ),
        (TRACE.format("KeyError: 'colour'"), "Spark gave up: KeyError: 'colour'; what is finished is kept"),
        ("", "Spark gave up: no reason was given"),
    ],
)
def test_errors_of_spark_become_one_sentence(text: str, words: str) -> None:
    assert words in sentence(text)
    assert "\n" not in sentence(text)


def test_yarn_without_its_configuration_gives_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    monkeypatch.delenv("YARN_CONF_DIR", raising=False)
    with pytest.raises(RunFailed, match="HADOOP_CONF_DIR, which is not set"):
        check_reachable("yarn")
    check_reachable("local[2]")


def test_an_executor_that_does_not_see_the_home_says_so(tmp_path: Path) -> None:
    here, elsewhere = str(tmp_path / "marker"), str(tmp_path / "elsewhere" / "marker")
    (tmp_path / "marker").touch()
    seen = check_executor(inspect_executor(here), here)
    assert (seen.python, seen.missing, seen.sees_marker) == (platform.python_version(), (), True)
    with pytest.raises(RunFailed, match=r"does not see .*/elsewhere; put SHELFWISE_HOME where all machines see it"):
        check_executor(inspect_executor(elsewhere), elsewhere)


@pytest.mark.parametrize(
    ("master", "cluster", "cores"),
    [
        ("local[3]", False, 3),
        ("local[3,4]", False, 3),
        ("local", False, 1),
        ("local-cluster[2,4,1024]", True, 4),
        ("spark://one:7077", True, 8),
        ("yarn", True, 8),
    ],
)
def test_a_predict_task_owns_a_machine_or_an_executor(master: str, cluster: bool, cores: int) -> None:
    assert is_cluster(master) is cluster
    assert cores_of_a_task(master, 0 if "local" in master else 8) == cores


@pytest.mark.parametrize(
    ("command", "given"),
    [
        (nightly, ["--catalog", "shop.csv", "--run-date", "2026-11-01", "--shadow", "--max-rejected", "0.5"]),
        (nightly, ["--catalog", "products", "--run-date", "2026-11-01", "--batch-size", "7", "--master", "local[2]"]),
        (
            backfill,
            ["--from", "2026-10-01", "--to", "2026-10-31", "--force", "--category", "apparel", "--include-left"],
        ),
    ],
)
def test_a_recorded_command_line_parses_to_the_same_options(command: click.Command, given: list[str]) -> None:
    context = command.make_context(str(command.name), list(given))
    said = arguments(context, {"run_id": "run-1", "release": "/releases/one"})
    assert said[0] == command.name
    repeated = command.make_context(str(command.name), said[1:])
    assert repeated.params == {**context.params, "run_id": "run-1", "release": "/releases/one"}


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("jobs.errors.UsageError: c.csv has no JSON in line 3", UsageError),
        ("jobs.errors.RunFailed: c.csv has no JSON in line 3", RunFailed),
        ("sql.errors.DatabaseError: c.csv has no JSON in line 3", RunFailed),
        ("jobs.storage.faults.StoreError: c.csv has no JSON in line 3", RunFailed),
        (
            "jobs.errors.UsageError: another\n\nDuring handling of the above exception, another exception occurred:\n\n"
            "jobs.storage.faults.StoreError: c.csv has no JSON in line 3",
            RunFailed,
        ),
    ],
)
def test_errors_of_a_task_keep_their_class_as_wrong_call_or_failed_run(said: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"^c.csv has no JSON in line 3$"), spark_errors_explained():
        raise PySparkException(TRACE.format(said))


@pytest.mark.parametrize("error", [DatabaseError, RunFailed, StoreError, StoreDenied, TrainingFailed])
def test_the_message_of_our_own_task_errors_is_kept(error: type[Exception]) -> None:
    raised = f"Traceback (most recent call last):\n  File ...\n{error.__module__}.{error.__name__}: the store is away\n"
    assert sentence(f"Job aborted: {raised}\n\tat org.apache.spark") == "the store is away"


@pytest.mark.parametrize("call", [None, [], "nightly", {}])
def test_a_run_without_a_recorded_command_line_is_not_resumed(call: object) -> None:
    with pytest.raises(UsageError, match="run r does not say how it was called"):
        call_again(nightly, "r", call, as_json=False)


@pytest.mark.parametrize("in_a_pod", [True, False])
def test_a_driver_in_a_pod_reaches_kubernetes_under_another_address(
    in_a_pod: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What submitted it may have gone by a proxy of its own machine, at which nobody listens here."""
    told = {"spark.master": "k8s://http://127.0.0.1:1", "spark.kubernetes.submitInDriver": str(in_a_pod).lower()}
    monkeypatch.setattr(spark, "_submitted_property", told.get)

    def started(*_: object) -> None:
        raise RunFailed("it went on")

    monkeypatch.setattr(spark, "_start", started)
    config = SparkConfig("local[1]", "1g", tmp_path)
    expected = "it went on" if in_a_pod else "no Spark master can be reached"
    with pytest.raises(RunFailed, match=expected), spark.spark_session(config, name="test"):
        pass


def test_an_error_of_java_that_nobody_knows_is_named() -> None:
    text = "An error occurred while calling z:org.apache.spark.Some.call.\n: java.io.IOException: odd thing\n\tat a.B"
    assert sentence(text).startswith("Spark gave up: java.io.IOException: odd thing; ")


NULL_POINTER = (
    "An error occurred while calling o112.addFile.\n"
    ': java.lang.NullPointerException: Cannot invoke "org.apache.spark.SparkEnv.driverTmpDir()" because the return '
    'value of "org.apache.spark.SparkEnv$.get()" is null\n\tat org.apache.spark.SparkFiles$.getRootDirectory'
)


@pytest.mark.parametrize(
    ("text", "lost", "words"),
    [
        (NULL_POINTER, True, "no executor could be started, as when a machine has no Java"),
        (NULL_POINTER, False, "Spark gave up: java.lang.NullPointerException"),
        ("All masters are unresponsive! Giving up.", True, "see that its version of Spark is the driver's"),
        (TRACE.format("jobs.errors.RunFailed: 4 were read"), True, "4 were read"),
    ],
)
def test_an_application_that_a_cluster_gave_up_is_explained_unless_the_error_itself_says_why(
    text: str, lost: bool, words: str
) -> None:
    """The driver met a NullPointerException in a context that Spark was taking down, and named no remedy."""
    with pytest.raises(RunFailed) as caught, spark_errors_explained(), lost_application_explained(lambda: lost):
        raise PySparkException(text)
    assert words in str(caught.value)

"""Explain Spark's failures in one sentence that names the remedy."""

from __future__ import annotations

import logging
import os
import platform
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from jobs.errors import RunFailed, UsageError
from jobs.spark.versions import PYTHON, Difference, minor, refusal

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
_LOGS = "the executors' logs say why"
_KEPT = "what is finished is kept, and the same command goes on from there"
_GIVEN_UP = (
    "no executor could be started, as when a machine has no Java 17 or 21, or Spark is of another version there than "
    f"the driver's; {_LOGS}; {_KEPT}"
)
_OURS = re.compile(r"^((?:jobs\.(?:errors|storage\.faults)|models(?:\.\w+)+|sql\.errors)\.\w+): (.+)$", re.MULTILINE)
_PYTHON = re.compile(r"^((?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt|Failed)): (.*)$", re.MULTILINE)
_MISMATCH = re.compile(r"different version: (3\.\d+) than that in driver: (3\.\d+)")
_PYTHON_BEFORE_311 = re.compile(r"/python(3\.\d+)/runpy\.py")
"""Standard library of a Python in which PySpark cannot be imported. PySpark's own path may be in the driver's."""
_PYTHON_OF_AN_EXECUTOR = (
    (r'Cannot run program "([^"]+)"', "an executor has no Python at {0}; set PYSPARK_PYTHON to one that it has"),
    (
        r"(PYTHON_VERSION_MISMATCH|different version.{0,40}than that in driver)",
        "the executors' Python is of another version than the driver's; set PYSPARK_PYTHON to the same one",
    ),
    (
        r"No module named '(pyspark\.[\w.]+)'",
        "an executor's PySpark has no {0}, as it is of another version than the driver's; install the driver's "
        "version of Spark there, or start driver and executors from the same image of jobs/cluster",
    ),
    (
        r"No module named '([\w.]+)'",
        "an executor's Python lacks the package {0}; start executors from the image or environment of jobs/cluster",
    ),
)
_KNOWN = (
    *_PYTHON_OF_AN_EXECUTOR,
    (
        r"(No space left on device|Disk quota exceeded)",
        "a disk that this run writes to is full; free some space, " + _KEPT,
    ),
    (
        r'Fatal Python error: ([^\n]+)\n.*?Current thread [^\n]*\n +File "([^"]+)", line (\d+) in (\S+)',
        "a task's Python process crashed again and again: {0} in {3}, line {2} of {1}; see that its libraries are "
        "those of requirements.txt; " + _KEPT,
    ),
    (
        r"(Python worker (?:exited unexpectedly|failed to connect back|produced no))",
        f"a task's Python process died again and again, of too little memory or a broken device; {_LOGS}; {_KEPT}",
    ),
    (r"(ExecutorLostFailure|executor \d+ lost)", f"executors were lost again and again; {_LOGS}; {_KEPT}"),
    (
        r"\A(An error occurred while calling \S+)\Z",  # py4j's whole text, if Java gives no answer at all
        "Spark's Java process ended or stopped answering, as when a cluster gives the application up or memory is "
        f"short; see its log lines above; {_KEPT}",
    ),
    (
        r"(All masters are unresponsive)",
        "the Spark master answers, but takes no application; see that its version of Spark is the driver's",
    ),
    (
        r"(Master removed our application|Application has been killed|SparkContext was shut down|stopped SparkContext"
        r"|SparkContext has been shutdown|SparkContext already stopped)",
        _GIVEN_UP,
    ),
)


@contextmanager
def spark_errors_explained() -> Iterator[None]:
    """Replace Spark's exceptions by errors of one sentence; the full text goes to the log at level DEBUG.

    Raises:
        UsageError: If a task raised one, for example because a file of the catalog is damaged.
        RunFailed: For all other exceptions of Spark, and for those that it passes on from tasks.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JError, PySparkException) as error:
        log.debug("Spark failed: %s", error, exc_info=error)
        kind = UsageError if _kind(str(error)) == "jobs.errors.UsageError" else RunFailed
        raise kind(sentence(str(error))) from error


@contextmanager
def lost_application_explained(is_lost: Callable[[], bool]) -> Iterator[None]:
    """Replace an exception without a known meaning by one sentence if a cluster has given the application up.

    Spark then stops its context while the driver goes on. What a call raises depends on how far that has come: often
    it is a NullPointerException.

    Args:
        is_lost: Function that returns whether Spark itself has stopped its context.

    Raises:
        RunFailed: If it has, and the exception's own text does not say why.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JError, PySparkException) as error:
        if _explanation(str(error)) or not is_lost():
            raise
        log.debug("Spark stopped its context: %s", error, exc_info=error)
        raise RunFailed(_GIVEN_UP) from error


def _kind(text: str) -> str:
    """Return the qualified name of this project's exception that a task raised; empty if it raised another one."""
    own_errors = _OURS.findall(text)
    return str(own_errors[-1][0]) if own_errors else ""


def sentence(text: str) -> str:
    """Return one sentence that explains an error of Spark and names the remedy.

    Args:
        text: Full message of the error, with the Java and Python tracebacks.
    """
    return _explanation(text) or f"Spark gave up: {_raised(text)[:300] or 'no reason was given'}; {_KEPT}"


def _explanation(text: str) -> str | None:
    """Return the message of this project's exception that a task raised, or else the meaning of a known error."""
    own_errors = _OURS.findall(text)
    if own_errors:
        return str(own_errors[-1][1])
    return _other_python(text, "an executor") or _meaning(text, _KNOWN)


def unusable_python(text: str, *, host: str, spark: str) -> str | None:
    """Return one sentence about an executor whose Python could not even begin a task.

    The failed task itself only asked for versions. If its error is none of the known ones, another version of PySpark
    or Python is its cause: PySpark's two processes then misread each other, with errors that depend on the versions.

    Args:
        text: Full message of the task's error.
        host: Machine on which the task failed.
        spark: Version of the driver's PySpark.

    Returns:
        The sentence; None if the error has another cause than the executor's Python.
    """
    known = _other_python(text, host) or _meaning(text, _PYTHON_OF_AN_EXECUTOR)
    if known or _meaning(text, _KNOWN) or not re.search("python worker|PythonException", text, re.IGNORECASE):
        return known
    python = minor(platform.python_version())
    older = _PYTHON_BEFORE_311.search(text)
    if older and older[1] != python:
        return refusal([(host, Difference(PYTHON, theirs=older[1], ours=python))])
    return (
        f"on {host} no task can begin ({_raised(text)[:200]}), as when its PySpark or Python is of another version "
        f"than the driver's, which are PySpark {spark} and Python {python}; install these there, or start driver and "
        "executors from the same image of jobs/cluster"
    )


def _other_python(text: str, host: str) -> str | None:
    """Return a sentence if PySpark itself refused the version of an executor's Python."""
    match = _MISMATCH.search(text)
    return refusal([(host, Difference(PYTHON, theirs=match[1], ours=match[2]))]) if match else None


def _meaning(text: str, known: Sequence[tuple[str, str]]) -> str | None:
    """Return the meaning of the first known error that is in a text."""
    for pattern, meaning in known:
        match = re.search(pattern, text, re.DOTALL)
        if match:
            return meaning.format(*match.groups())
    return None


def _raised(text: str) -> str:
    """Return the last exception of Python in a text, or else that of Java, or the text's first line."""
    raised = _PYTHON.findall(text)
    if raised:
        return ": ".join(raised[-1])
    java = re.search(r"^: (\S.*)$", text, re.MULTILINE)  # py4j writes it into the second line
    return java[1] if java else next(iter(text.strip().splitlines()), "")


def check_reachable(master: str) -> None:
    """Check that the Spark master accepts connections; Spark itself would try for minutes.

    Args:
        master: `spark://host:port[,host:port]`, `k8s://https://host:port` or `yarn`; any other is not checked. For
            `yarn` only the environment variables of its configuration are checked.

    Raises:
        RunFailed: If no master accepts a connection; start it, or correct `--master`.
    """
    if master == "yarn":
        if not (os.environ.get("HADOOP_CONF_DIR") or os.environ.get("YARN_CONF_DIR")):
            raise RunFailed("YARN is found through HADOOP_CONF_DIR, which is not set; point it to its configuration")
        return
    match = re.fullmatch(r"(?:spark|k8s)://(?:https?://)?(.+)", master)
    if not match:
        return
    reasons = []
    for address in match[1].split(","):
        host, _, port = address.rstrip("/").rpartition(":")
        try:
            with socket.create_connection((host or address, int(port) if host else 443), CONNECT_SECONDS):
                return
        except (OSError, ValueError) as error:
            reasons.append(f"{address}: {getattr(error, 'strerror', None) or error}")
    raise RunFailed(f"no Spark master can be reached ({'; '.join(reasons)}); start it, or correct --master")

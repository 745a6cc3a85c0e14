"""What Spark says when it fails, in one sentence that names what to do."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.errors import RunFailed, UsageError

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
_LOGS = "the executors' logs say why"
_KEPT = "what is finished is kept, and the same command goes on from there"
_OURS = re.compile(r"^((?:jobs\.(?:errors|storage\.faults)|models(?:\.\w+)+|sql\.errors)\.\w+): (.+)$", re.MULTILINE)
_PYTHON = re.compile(r"^((?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt|Failed)): (.*)$", re.MULTILINE)
_KNOWN = (
    (r'Cannot run program "([^"]+)"', "an executor has no Python at {0}; set PYSPARK_PYTHON to one that it has"),
    (
        r"(PYTHON_VERSION_MISMATCH|different version.{0,40}than that in driver)",
        "the executors' Python is of another version than the driver's; set PYSPARK_PYTHON to the same one",
    ),
    (
        r"No module named '([\w.]+)'",
        "an executor's Python lacks the package {0}; start executors from the image or environment of jobs/cluster",
    ),
    (
        r"(No space left on device|Disk quota exceeded)",
        "a disk that this run writes to is full; free some space, " + _KEPT,
    ),
    (
        r"(Python worker (?:exited unexpectedly|failed to connect back|produced no))",
        f"a task's Python process died again and again, of too little memory or a broken device; {_LOGS}; {_KEPT}",
    ),
    (r"(ExecutorLostFailure|executor \d+ lost)", f"executors were lost again and again; {_LOGS}; {_KEPT}"),
    (
        r"(All masters are unresponsive)",
        "the Spark master answers, but takes no application; see that its version of Spark is the driver's",
    ),
    (
        r"(Master removed our application|Application has been killed|SparkContext was shut down|stopped SparkContext)",
        f"no executor could be started, as when a machine has no Java 17 or 21; {_LOGS}; {_KEPT}",
    ),
)


@contextmanager
def explained() -> Iterator[None]:
    """Turn what Spark raises into an error of one sentence; all that it said goes to the log, for debugging.

    Raises:
        UsageError: If a task found the call to be wrong, as when a catalog's file is damaged.
        RunFailed: Instead of Spark's own exceptions and of all else that it brings back from tasks.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JError, PySparkException) as error:
        log.debug("Spark failed: %s", error, exc_info=error)
        kind = UsageError if _kind(str(error)) == "jobs.errors.UsageError" else RunFailed
        raise kind(sentence(str(error))) from error


def _kind(text: str) -> str:
    """Return the full name of the error of ours that a task raised; empty where it was none of ours."""
    ours = _OURS.findall(text)
    return str(ours[-1][0]) if ours else ""


def sentence(text: str) -> str:
    """Return what an error of Spark means.

    Args:
        text: All that it says, Java's and Python's traces included.
    """
    ours = _OURS.findall(text)
    if ours:
        return str(ours[-1][1])
    for pattern, meaning in _KNOWN:
        found = re.search(pattern, text, re.DOTALL)
        if found:
            return meaning.format(found[1])
    raised = _PYTHON.findall(text)
    first = ": ".join(raised[-1]) if raised else next(iter(text.strip().splitlines()), "no reason was given")
    return f"Spark gave up: {first[:300]}; {_KEPT}"


def check_reachable(master: str) -> None:
    """See that somebody listens where the master should be, before Spark tries for minutes.

    Args:
        master: `spark://host:port[,host:port]`, `k8s://https://host:port`, `yarn`; others are not looked at.

    Raises:
        RunFailed: If nobody does.
    """
    if master == "yarn":
        if not (os.environ.get("HADOOP_CONF_DIR") or os.environ.get("YARN_CONF_DIR")):
            raise RunFailed("YARN is found through HADOOP_CONF_DIR, which is not set; point it to its configuration")
        return
    match = re.fullmatch(r"(?:spark|k8s)://(?:https?://)?(.+)", master)
    if not match:
        return
    reasons = []
    for place in match[1].split(","):
        host, _, port = place.rstrip("/").rpartition(":")
        try:
            with socket.create_connection((host or place, int(port) if host else 443), CONNECT_SECONDS):
                return
        except (OSError, ValueError) as error:
            reasons.append(f"{place}: {getattr(error, 'strerror', None) or error}")
    raise RunFailed(f"no Spark master can be reached ({'; '.join(reasons)}); start it, or correct --master")

"""Compare the versions of Python and of packages on executors with those on the driver.

What tasks and driver exchange depends on some of these versions; those must be equal. Other differences are a warning.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jobs.errors import RunFailed
from jobs.spark.probe import UNKNOWN, Inspection
from jobs.wording import listed

log = logging.getLogger(__name__)

PYTHON = "Python"
_EQUAL = (PYTHON, "pyspark", "petastorm")
_SAME_MAJOR = ("numpy", "pyarrow")


@dataclass(frozen=True)
class Difference:
    """A package whose version differs between an executor and the driver.

    Attributes:
        package: Name of its distribution, or `PYTHON`.
        theirs: Version on the executor; `UNKNOWN` without metadata, None if it is not installed.
        ours: Version on the driver; `UNKNOWN` without metadata.
    """

    package: str
    theirs: str | None
    ours: str

    def __str__(self) -> str:
        ours = "an unknown version" if self.ours == UNKNOWN else self.ours
        if self.theirs is None:
            return f"no {self.package} instead of {ours}"
        theirs = "of an unknown version" if self.theirs == UNKNOWN else self.theirs
        return f"{self.package} {theirs} instead of {ours}"

    @property
    def refused(self) -> bool:
        """Whether a run is impossible with this difference. An unknown version is no known difference."""
        if UNKNOWN in (self.theirs, self.ours):
            return False
        if self.package in _SAME_MAJOR:
            return self.theirs is None or _major(self.theirs) != _major(self.ours)
        return self.package in _EQUAL


def differences(executor: Inspection, driver: Inspection) -> tuple[Difference, ...]:
    """Compare an executor with the driver: Python's minor version, and the packages that the driver has.

    Returns:
        The differences, first of Python, then of packages by name.
    """
    theirs = {PYTHON: minor(executor.python), **executor.versions}
    ours = {PYTHON: minor(driver.python), **dict(sorted(driver.versions.items()))}
    return tuple(
        Difference(package, theirs.get(package), version)
        for package, version in ours.items()
        if theirs.get(package) != version
    )


def check_versions(executors: Sequence[Inspection], driver: Inspection) -> None:
    """Raise RunFailed if tasks cannot run with the versions of some executors; log other differences in one warning.

    Raises:
        RunFailed: If Python, PySpark or Petastorm is of another version than the driver's, or NumPy or pyarrow of
            another major version. The message names hosts, packages, both versions and the remedy.
    """
    found = [(executor.host, difference) for executor in executors for difference in differences(executor, driver)]
    refused = [(host, difference) for host, difference in found if difference.refused]
    if refused:
        raise RunFailed(refusal(refused))
    if found:
        _warn_once(
            f"executors differ from the driver, and may answer differently: {_by_host(found)}; install the driver's "
            "requirements.txt there"
        )


@functools.cache
def _warn_once(message: str) -> None:
    """Log a warning, but not again in the later Spark sessions of a run."""
    log.warning("%s", message)


def refusal(found: Sequence[tuple[str, Difference]]) -> str:
    """Return one sentence that lists differences with which a run is impossible, and names the remedy.

    Args:
        found: Host of an executor, and a difference there.
    """
    ours = {difference.package: difference.ours for _, difference in found}
    remedies = []
    if PYTHON in ours:
        remedies.append(f"set PYSPARK_PYTHON to a Python {ours[PYTHON]}")
    if "pyspark" in ours:
        remedies.append(f"install Spark {ours['pyspark']}")
    if ours.keys() - {PYTHON, "pyspark"}:
        remedies.append("install the driver's requirements.txt")
    return (
        f"executors differ from the driver: {_by_host(found)}; {' and '.join(remedies)} there, or start driver and "
        "executors from the same image of jobs/cluster"
    )


def minor(version: str) -> str:
    """Return the first two numbers of a Python version: `3.11` of `3.11.4`."""
    return ".".join(version.split(".")[:2])


def _major(version: str) -> str:
    """Return the first number of a package's version: `2` of `2.5.0rc1`."""
    match = re.match(r"\d+", version)
    return match[0] if match else version


def _by_host(found: Iterable[tuple[str, Difference]]) -> str:
    """List differences, those that several hosts share once: `on a, b numpy 1.26 instead of 2.4.6; on c …`."""
    of_host: dict[str, dict[Difference, None]] = {}  # several executors of a host have the same Python
    for host, difference in found:
        of_host.setdefault(host, {})[difference] = None
    hosts: dict[str, list[str]] = {}
    for host in sorted(of_host):
        hosts.setdefault(", ".join(map(str, of_host[host])), []).append(host)
    return "; ".join(f"on {listed(names)} {text}" for text, names in hosts.items())

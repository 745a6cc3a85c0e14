"""Versions of the libraries that the jobs cannot run without, where a wrong one would fail late or unclearly."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from jobs.errors import RunFailed

PETASTORM = "0.13.1"
"""The only version of Petastorm whose modules were checked against the replacements in `petastorm_compat`."""

LEAST_PYARROW = 18
ABSENT = "none"


def check_pins() -> None:
    """Check the installed Petastorm, pyarrow and PySpark; none is imported.

    Raises:
        RunFailed: If Petastorm is of another version, if pyarrow is too old, or if `pyspark-client` has overwritten
            files of PySpark with its own; the message names what to install.
    """
    petastorm, pyarrow = (_installed(name) for name in ("petastorm", "pyarrow"))
    if petastorm != PETASTORM:
        raise RunFailed(
            f"expected Petastorm {PETASTORM}, found {petastorm}; install petastorm=={PETASTORM}, the version that this "
            "shelfwise was tested with"
        )
    if not pyarrow[:1].isdigit() or int(pyarrow.partition(".")[0]) < LEAST_PYARROW:
        raise RunFailed(
            f"expected pyarrow {LEAST_PYARROW} or newer, found {pyarrow}; install the version that "
            "requirements.txt names"
        )
    client = _installed("pyspark-client")
    if client != ABSENT:
        spark = _installed("pyspark")
        raise RunFailed(
            f"pyspark-client {client} has overwritten files of pyspark {spark}; run `pip uninstall --yes "
            f"pyspark-client` and `pip install --force-reinstall --no-deps pyspark=={spark}`"
        )


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ABSENT

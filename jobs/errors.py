"""Errors that the user can resolve: a wrong command, or a run that could not be finished."""

from __future__ import annotations

from models.spec import MAX_NAME_CHARACTERS, is_name


class UsageError(ValueError):
    """Error of the user: a command, setting or input is wrong; the message names the correction, the exit code is 2."""


def check_name(what: str, name: str) -> None:
    """Raise UsageError if a run_id or release_id could lead out of its directory when it is used in a path.

    Args:
        what: Kind of the name for the message: `run id`, `--release-id`.
        name: Name to check.
    """
    if not is_name(name):
        allowed = f"letters, digits, '.', '_' and '-' only, {MAX_NAME_CHARACTERS} at most"
        raise UsageError(f"{what} {name!r} may hold {allowed}")


class RunFailed(RuntimeError):
    """Error of a run that cannot be finished and publishes nothing; the message names the cause, the exit code is 1."""


class RunRefused(RunFailed):
    """Error of a run whose input was refused: the same again is refused again, until a person decides."""


INGEST_AGAIN = "delete that file and ingest its date again, which writes anew what was in it"
"""Remedy for a damaged dataset file that ingest wrote; used at the end of error messages."""

PREDICT_AGAIN = "delete that file and run the same again, which predicts its images anew"
"""Remedy for a damaged prediction file; used at the end of error messages."""

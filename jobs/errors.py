"""What a person can mend: a call that is wrong, and a run that cannot be finished."""

from __future__ import annotations

from models.spec import MAX_NAME_CHARACTERS, is_name


class UsageError(ValueError):
    """The call is wrong, not the run: the message says what to call instead, and the exit code is 2."""


def check_name(what: str, name: str) -> None:
    """Refuse the name of a run or release that could leave its directory."""
    if not is_name(name):
        allowed = f"letters, digits, '.', '_' and '-' only, {MAX_NAME_CHARACTERS} at most"
        raise UsageError(f"{what} {name!r} may hold {allowed}")


class RunFailed(RuntimeError):
    """The run could not be finished; nothing was published; the message says why, and the exit code is 1."""


INGEST_AGAIN = "delete that file and ingest its date again, which writes anew what was in it"
"""What to do about a file of ingest's that is damaged."""

PREDICT_AGAIN = "delete that file and run the same again, which predicts its images anew"
"""What to do about a prediction file that is damaged."""

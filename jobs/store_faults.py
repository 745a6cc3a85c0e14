"""What a store's failures mean: which may pass and are waited for, which are for good, and the sentence for each."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable
from typing import TypeVar

import tenacity
from upath import UPath

from jobs.config import Place, RunFailed

T = TypeVar("T")

PATIENCE_SECONDS = 180.0
"""How long a store may be away before a run gives up; what is finished by then is kept."""

_DAMAGED = "Couldn't deserialize thrift"
"""What pyarrow says of a Parquet file whose footer is damaged, as an OSError; of other damage it says ArrowInvalid."""

_PERMANENT = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)


class StoreError(RunFailed):
    """A store or disk could not be used; the message says which, why, and what to do."""


class StoreDenied(StoreError):
    """The credentials that were found have no right to do this."""


def persist(where: UPath, done: str, action: Callable[[], T]) -> T:
    """Do something with a store, again and again while it is away.

    Args:
        where: What it is done with, for the messages.
        done: The verb of the messages: `read`, `written`.
        action: Called once for each try.

    Returns:
        What it returned.

    Raises:
        FileNotFoundError: If the file or bucket is not there.
        StoreError: If it stays away or refuses.
    """
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(PATIENCE_SECONDS),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=15),
        retry=tenacity.retry_if_exception(_may_pass),
        reraise=True,
    )
    started = time.monotonic()
    try:
        return retrying(action)
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise StoreDenied(
            f"{shown(where)} may not be {done}: the credentials that were found have no right to; grant reading, "
            "writing and listing there"
        ) from error
    except Exception as error:
        if not _is_of_a_store(error):
            raise
        if "Credential" in type(error).__name__:
            raise StoreError(
                f"{shown(where)} cannot be {done} without credentials; set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or what the store's library reads, or give this machine a role"
            ) from error
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise disk_full(str(error.filename or "this machine's temporary directory")) from error
        waited = time.monotonic() - started
        raise StoreError(
            f"{shown(where)} could not be {done} for {waited:.0f} s ({type(error).__name__}); see that the store "
            "answers and run the same again, what is finished is kept"
        ) from error


def disk_full(where: str) -> StoreError:
    """Return what to raise when a local disk has no room left."""
    return StoreError(
        f"no space is left on the disk of {where}; free some and run the same again, what is finished is kept"
    )


def missing_bucket(where: UPath) -> StoreError:
    """Return what to raise when the bucket to write to is not there."""
    bucket = where.path.partition("/")[0]
    return StoreError(
        f"there is no bucket {where.protocol}://{bucket}; make it, or correct its name in the call or setting"
    )


def shown(where: str | Place) -> str:
    """Return a place as messages may show it: without a password, and not endless."""
    return re.sub(r"://[^/]*@", "://***@", str(where))[:300]


def _may_pass(error: BaseException) -> bool:
    """Say whether a failure may be over soon."""
    if isinstance(error, _PERMANENT) or "Credential" in type(error).__name__ or not _is_of_a_store(error):
        return False
    return not (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT))


def _is_of_a_store(error: BaseException) -> bool:
    """Say whether an error comes from a disk or store and not from a fault of ours; these have no base in common."""
    if isinstance(error, OSError) and _DAMAGED in str(error):
        return False
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in (
        "aiobotocore",
        "aiohttp",
        "azure",
        "botocore",
        "gcsfs",
        "google",
    )

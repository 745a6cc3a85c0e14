"""What a store's failures mean: which may pass and are waited for, which are for good, and the sentence for each."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import tenacity
from upath import UPath

from jobs.errors import RunFailed
from jobs.storage.places import Place

T = TypeVar("T")

PATIENCE_SECONDS = 180.0
"""How long a store may be away before a run gives up; what is finished by then is kept."""

_DAMAGED = "Couldn't deserialize thrift"
"""What pyarrow says of a Parquet file whose footer is damaged, as an OSError; of other damage it says ArrowInvalid."""

_WRONG_REQUESTS = {
    "ParamValidationError",
    "ValidationError",
    "EndpointProviderError",
    "BaseEndpointResolverError",
    "InvalidDNSNameError",
    "InvalidHostLabelError",
    "UnsupportedS3ArnError",
    "UnsupportedS3AccesspointConfigurationError",
    "UnsupportedS3ConfigurationError",
}
"""Of botocore: nothing was sent, because no bucket or key can be called that."""
_BUSY_STATUSES = (408, 409, 425, 429)
_BUSY_CODES = {
    "RequestTimeout",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "SlowDown",
    "IncompleteBody",
    "BadDigest",
    "XAmzContentSHA256Mismatch",
}
"""What S3 says under status 400 of a request that may do better when it is sent again."""

_STALE_CODES = {
    "ExpiredToken": True,
    "ExpiredTokenException": True,
    "TokenRefreshRequired": True,
    "RequestTimeTooSkewed": True,
    "InvalidToken": False,
    "InvalidAccessKeyId": False,
}
"""What S3 says of one who asks and is not known; and whether it says so whoever's the bucket is."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_PERMANENT = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)


class StoreError(RunFailed):
    """A store or disk could not be used; the message says which, why, and what to do."""


class StoreDenied(StoreError):
    """The credentials that were found have no right to do this."""


class StoreRefused(StoreError):
    """This can never be had of the store as it was asked for; `refusal` of the cause says why."""


class StaleCredentials(StoreError):
    """The store knows the credentials that were found no more.

    Attributes:
        certain: Whether it would say so of every bucket; of an unknown key or token it says so too of a bucket in a
            region that the account has not enabled.
    """

    def __init__(self, message: str, *, certain: bool) -> None:
        """Say what was found."""
        super().__init__(message)
        self.certain = certain


class NoCredentials(StoreError):
    """The store's library found no credentials."""


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
        StoreError: If it stays away, refuses (`StoreDenied`, `StoreRefused`) or nobody may ask (`NoCredentials`,
            `StaleCredentials`).
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
    except Exception as error:
        if not _is_of_a_store(error):
            raise
        code = _answered(error)[1]
        if code in _STALE_CODES:
            raise StaleCredentials(
                f"{shown(where)} could not be {done}: the store knows the credentials that were found no more "
                f"({code}); renew them and run the same again, what is finished is kept",
                certain=_STALE_CODES[code],
            ) from error
        if isinstance(error, PermissionError):
            raise StoreDenied(
                f"{shown(where)} may not be {done}: the credentials that were found have no right to; grant reading, "
                "writing and listing there"
            ) from error
        if "Credential" in type(error).__name__:
            kind = NoCredentials if type(error).__name__ == "NoCredentialsError" else StoreError
            raise kind(
                f"{shown(where)} cannot be {done} without credentials; set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or what the store's library reads, or give this machine a role"
            ) from error
        if isinstance(error, OSError) and error.errno in _FULL:
            raise disk_full(str(error.filename or "this machine's temporary directory")) from error
        refused = refusal(error)
        if refused:
            raise StoreRefused(
                f"{shown(where)} could not be {done}: the store refuses it ({refused}); see that its name and region "
                "are right"
            ) from error
        waited = time.monotonic() - started
        raise StoreError(
            f"{shown(where)} could not be {done} for {waited:.0f} s ({type(error).__name__}); see that the store "
            "answers and run the same again, what is finished is kept"
        ) from error


def refusal(error: BaseException | None) -> str | None:
    """Return in a word why asking again will not help; None for a failure that may pass or is none of a store's."""
    if _WRONG_REQUESTS & {kind.__name__ for kind in type(error).__mro__}:
        return type(error).__name__
    status, code = _answered(error)
    if not 300 <= status < 500 or status in _BUSY_STATUSES or code in _BUSY_CODES:
        return None
    return f"HTTP {status}"


def _answered(error: BaseException | None) -> tuple[int, str]:
    """Return the HTTP status and the code that a store answered with, as its library tells; 0 where it did not."""
    for each in (error, error.__cause__ if error else None):
        response = getattr(each, "response", None)
        if isinstance(response, Mapping):  # botocore's, which s3fs turns into OSErrors
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return int(status), str(response.get("Error", {}).get("Code", ""))
        for name in ("status_code", "status", "code"):  # azure's, aiohttp's, gcsfs's
            status = getattr(each, name, None)
            if isinstance(status, int):
                return status, ""
    return 0, ""


def tells_no_reason(error: BaseException) -> bool:
    """Say whether a store refused with a number alone: an answer to HEAD has no body that could say why."""
    status, code = _answered(error)
    return status in (400, 403) and code in ("", "BadRequest", "Forbidden", str(status))


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
    if isinstance(error, OSError) and error.errno in _FULL:
        return False
    return refusal(error) is None


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

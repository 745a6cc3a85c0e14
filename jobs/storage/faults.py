"""Classify the failures of object stores: retry those that may pass, and raise one sentence for those that do not."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import tenacity
from upath import UPath

from jobs.errors import RunFailed
from jobs.storage.masking import mask_secrets
from jobs.storage.places import Place

T = TypeVar("T")

PATIENCE_SECONDS = 180.0
"""How long a call is retried while a store is unavailable, in seconds; then the run fails and keeps finished work."""

_DAMAGED = "Couldn't deserialize thrift"
"""Message of pyarrow's OSError for a Parquet file with a damaged footer; other damage raises ArrowInvalid."""

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
"""Exceptions that botocore raises before it sends anything, because the name of the bucket or key is invalid."""
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
"""Error codes of S3 that may have status 400 although a retry of the request may succeed."""

_STALE_CODES = {
    "ExpiredToken": True,
    "ExpiredTokenException": True,
    "TokenRefreshRequired": True,
    "RequestTimeTooSkewed": True,
    "InvalidToken": False,
    "InvalidAccessKeyId": False,
}
"""Error codes of S3 for invalid credentials; the value is `StaleCredentials.certain`."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_PERMANENT = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)


class StoreError(RunFailed):
    """Raised when a store or disk could not be used; the message names it, the reason and the remedy."""


class StoreDenied(StoreError):
    """Raised when the credentials for a store lack the permission for a request."""


class StoreRefused(StoreError):
    """Raised when a store refuses a request and a retry would not help; `refusal` of the cause gives the reason."""


class StaleCredentials(StoreError):
    """Raised when a store does not accept the credentials, for example because they have expired.

    Attributes:
        certain: Whether the credentials are invalid for every bucket. An unknown key or token is not certain: the store
            answers the same for a bucket in a region that the account has not enabled.
    """

    def __init__(self, message: str, *, certain: bool) -> None:
        """Store the message and whether the credentials are invalid for every bucket."""
        super().__init__(message)
        self.certain = certain


class NoCredentials(StoreError):
    """Raised when a store's library found no credentials."""


def with_retries(where: UPath, done: str, action: Callable[[], T]) -> T:
    """Call a function that uses a store, with retries for `PATIENCE_SECONDS` while the store is unavailable.

    Args:
        where: File or directory in the store, for error messages.
        done: Participle for error messages: `read`, `written`.
        action: Function to call, once for each attempt.

    Returns:
        The function's result.

    Raises:
        FileNotFoundError: If the file or bucket does not exist.
        StoreError: If the store stays unavailable; or its subclass if it refuses the request (`StoreDenied`,
            `StoreRefused`) or the credentials are missing or invalid (`NoCredentials`, `StaleCredentials`). The message
            names the remedy.
    """
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(PATIENCE_SECONDS),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=15),
        retry=tenacity.retry_if_exception(_is_temporary),
        reraise=True,
    )
    started = time.monotonic()
    try:
        return retrying(action)
    except FileNotFoundError:
        raise
    except Exception as error:
        if not is_storage_error(error):
            raise
        code = _response_status(error)[1]
        if code in _STALE_CODES:
            raise StaleCredentials(
                f"{masked(where)} could not be {done}: the store knows the credentials that were found no more "
                f"({code}); renew them and run the same again, what is finished is kept",
                certain=_STALE_CODES[code],
            ) from error
        if isinstance(error, PermissionError):
            raise StoreDenied(
                f"{masked(where)} may not be {done}: the credentials that were found have no right to; grant reading, "
                "writing and listing there"
            ) from error
        if "Credential" in type(error).__name__:
            kind = NoCredentials if type(error).__name__ == "NoCredentialsError" else StoreError
            raise kind(
                f"{masked(where)} cannot be {done} without credentials; set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or what the store's library reads, or give this machine a role"
            ) from error
        if isinstance(error, OSError) and error.errno in _FULL:
            raise disk_full(str(error.filename or "this machine's temporary directory")) from error
        refused = refusal(error)
        if refused:
            raise StoreRefused(
                f"{masked(where)} could not be {done}: the store refuses it ({refused}); see that its name and region "
                "are right"
            ) from error
        waited = time.monotonic() - started
        raise StoreError(
            f"{masked(where)} could not be {done} for {waited:.0f} s ({type(error).__name__}); see that the store "
            "answers and run the same again, what is finished is kept"
        ) from error


def refusal(error: BaseException | None) -> str | None:
    """Return in one word why a store refused, so that no retry helps; None if the failure may pass."""
    if _WRONG_REQUESTS & {kind.__name__ for kind in type(error).__mro__}:
        return type(error).__name__
    status, code = _response_status(error)
    if not 300 <= status < 500 or status in _BUSY_STATUSES or code in _BUSY_CODES:
        return None
    return f"HTTP {status}"


def _response_status(error: BaseException | None) -> tuple[int, str]:
    """Return the HTTP status and the error code of a store's response; 0 and an empty text if there was none."""
    for each in (error, error.__cause__ if error else None):
        response = getattr(each, "response", None)
        if isinstance(response, Mapping):  # of botocore's error, which s3fs wraps in an OSError
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return int(status), str(response.get("Error", {}).get("Code", ""))
        for name in ("status_code", "status", "code"):  # of azure's, aiohttp's and gcsfs's errors
            status = getattr(each, name, None)
            if isinstance(status, int):
                return status, ""
    return 0, ""


def lacks_reason(error: BaseException) -> bool:
    """Return whether a store refused with a status but no reason: the response to HEAD has no body for it."""
    status, code = _response_status(error)
    return status in (400, 403) and code in ("", "BadRequest", "Forbidden", str(status))


def disk_full(where: str) -> StoreError:
    """Return the error to raise when a local disk is full."""
    return StoreError(
        f"no space is left on the disk of {where}; free some and run the same again, what is finished is kept"
    )


def missing_bucket(where: UPath) -> StoreError:
    """Return the error to raise when the bucket of a store to write to does not exist."""
    bucket = where.path.partition("/")[0]
    return StoreError(
        f"there is no bucket {where.protocol}://{bucket}; make it, or correct its name in the call or setting"
    )


def masked(where: str | Place) -> str:
    """Return the path or URI of a failure for a message: secrets masked, and at most 300 characters long."""
    return re.sub(r"://[^/]*@", "://***@", mask_secrets(str(where)))[:300]


def _is_temporary(error: BaseException) -> bool:
    """Return whether a failure is temporary, so that a retry may succeed."""
    if isinstance(error, _PERMANENT) or "Credential" in type(error).__name__ or not is_storage_error(error):
        return False
    if isinstance(error, OSError) and error.errno in _FULL:
        return False
    return refusal(error) is None


def is_storage_error(error: BaseException) -> bool:
    """Return whether an error comes from a disk or store, not from a bug of this program.

    The errors of the store libraries have no common base class, so their modules are compared.
    """
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

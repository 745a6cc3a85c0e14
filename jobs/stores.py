"""Files that may be on this machine or in an object store, by the same calls.

A place is a `pathlib.Path` or, for a URI such as `s3://bucket/shop`, a `UPath`, which speaks to the store through
fsspec. Paths are used as they are. What is in a store is read and put whole; every call is tried again with longer and
longer pauses while the store is away, and ends as one sentence when it stays away. Credentials and the endpoint are
found by the store's own library in the environment or in the machine's role (`AWS_ENDPOINT_URL` and the like).
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import tenacity
from upath import UPath

from jobs.config import Place, RunFailed, UsageError
from jobs.temporary import own_directory

T = TypeVar("T")

PATIENCE_SECONDS = 180.0
"""How long a store may be away before a run gives up; what is finished by then is kept."""

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "abfs": "adlfs", "hdfs": "pyarrow"}
"""What speaks to each kind of store."""

_SPELLINGS = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfss": "abfs", "az": "abfs"}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_DAMAGED = "Couldn't deserialize thrift"
"""What pyarrow says of a Parquet file whose footer is damaged, as an OSError; of other damage it says ArrowInvalid."""

_PERMANENT = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)
_OPTIONS: dict[str, dict[str, Any]] = {
    # Listings are asked for anew each time: another process may have written. botocore's own tries are few because
    # those here are many; this is the form in which it keeps them, so that equal places stay equal.
    "s3": {
        "use_listings_cache": False,
        "default_fill_cache": False,
        "config_kwargs": {
            "connect_timeout": 5,
            "read_timeout": 30,
            "retries": {"total_max_attempts": 2, "mode": "legacy"},
        },
    },
    "gs": {"use_listings_cache": False},
    "abfs": {"use_listings_cache": False},
}


class StoreError(RunFailed):
    """A store or disk could not be used; the message says which, why, and what to do."""


class StoreDenied(StoreError):
    """The credentials that were found have no right to do this."""


def scheme_of(text: str) -> str:
    """Return the store's scheme in its usual spelling, or an empty text for what is no URI of a store."""
    match = _SCHEME.match(text.strip())
    scheme = match[1].lower() if match else ""
    scheme = _SPELLINGS.get(scheme, scheme)
    return scheme if scheme in PACKAGES else ""


def place(text: str | Place) -> Place:
    """Return where a text points to: a path of this machine, or a place in a store.

    Raises:
        UsageError: If it is a URI of something else, or the package for its store is not installed.
    """
    if not isinstance(text, str):
        return text
    match = _SCHEME.match(text.strip())
    if match is None or match[1].lower() == "file":
        return Path(text.strip()[7:] if match else text)
    scheme = scheme_of(text)
    if not scheme:
        raise UsageError(f"{_shown(text)} is of an unknown kind; expected a path or one of {', '.join(PACKAGES)}://")
    rest = text.strip()[match.end() :]
    if not rest.strip("/") or ("@" in rest.partition("/")[0] and scheme == "s3") or "::" in rest:
        raise UsageError(f"{_shown(text)} names no bucket; write it as {scheme}://bucket/path")
    try:
        found: UPath = UPath(f"{scheme}://{rest.rstrip('/')}", **_OPTIONS.get(scheme, {}))
        found.fs.protocol  # noqa: B018 - the first use imports the package
    except ImportError as error:
        raise UsageError(f"{scheme}:// needs the package {PACKAGES[scheme]}; pip install {PACKAGES[scheme]}") from error
    return found


def is_remote(where: Place) -> TypeGuard[UPath]:
    """Say whether a place is in a store."""
    return not isinstance(where, Path)


def children(directory: Place, pattern: str) -> list[Place]:
    """List what is directly in a directory under names like `part-*.parquet`, in order; nothing where it is missing."""
    if not is_remote(directory):
        return sorted(directory.glob(pattern))
    listed = _persist(directory, "listed", lambda: _names(directory))
    return [directory / name for name in sorted(listed) if fnmatchcase(name, pattern)]


def is_file(where: Place) -> bool:
    """Say whether a file is there."""
    return _persist(where, "looked at", lambda: bool(where.is_file())) if is_remote(where) else where.is_file()


def is_dir(where: Place) -> bool:
    """Say whether something is below."""
    return _persist(where, "looked at", lambda: bool(where.is_dir())) if is_remote(where) else where.is_dir()


def information(where: UPath) -> dict[str, Any]:
    """Return what a store says of a file: `size` and, in its own words, versions and times."""
    return _persist(where, "looked at", lambda: dict(where.fs.info(where.path)))


def modified_at(where: Place) -> float:
    """Return when a file was last written, in seconds since 1970."""
    return float(_persist(where, "looked at", where.stat).st_mtime) if is_remote(where) else where.stat().st_mtime


def read_bytes(where: Place) -> bytes:
    """Return a file's content."""
    return (
        _persist(where, "read", lambda: bytes(where.fs.cat_file(where.path)))
        if is_remote(where)
        else where.read_bytes()
    )


def reading(where: Place, read: Callable[[Any], T]) -> T:
    """Let a function read a file in place.

    Args:
        where: The file.
        read: Takes the path, or an open file of the store that reads only the parts that are asked for; it is called
            again from the start if the store breaks off.

    Returns:
        What it returned.
    """
    if not is_remote(where):
        return read(where)

    def attempt() -> T:
        with where.fs.open(where.path, "rb", block_size=2**20) as file:
            return read(file)

    return _persist(where, "read", attempt)


def fetch(source: UPath, target: Path) -> None:
    """Copy a file of a store to this machine; a half copy is written over by the next try."""
    _persist(source, "read", lambda: source.fs.get_file(source.path, str(target)))


def put(source: Path, target: Place) -> None:
    """Put a file in a store under its final name; the store shows it when it is there whole."""
    if not is_remote(target):
        raise TypeError(f"{target} is no place in a store")
    try:
        _persist(target, "written", lambda: target.fs.put_file(str(source), target.path))
    except FileNotFoundError as error:
        raise _missing_bucket(target) from error


def delete(where: Place) -> None:
    """Remove a file if it is there."""
    if not is_remote(where):
        where.unlink(missing_ok=True)
        return
    try:
        _persist(where, "deleted", lambda: where.fs.rm_file(where.path))
    except FileNotFoundError:
        return


@contextmanager
def on_disk(where: Place) -> Iterator[Path]:
    """Give a file as a path of this machine for the length of a block: itself, or a copy that is removed afterwards."""
    if isinstance(where, Path):
        yield where
        return
    with own_directory() as directory:
        copy = directory / where.name
        fetch(where, copy)
        yield copy


def check_usable(home: Place) -> None:
    """See before a run starts that a store is there and may be listed and written.

    Raises:
        StoreError: If not; says why and what to do.
    """
    if not is_remote(home):
        return
    mark = home / ".shelfwise"
    try:
        _persist(mark, "written", lambda: mark.fs.pipe_file(mark.path, b"shelfwise keeps its state here\n"))
    except FileNotFoundError as error:
        raise _missing_bucket(home) from error
    children(home, "*")


def _names(directory: UPath) -> list[str]:
    try:
        found = directory.fs.ls(directory.path, detail=False)
    except FileNotFoundError:
        return []
    return [str(path).rstrip("/").rpartition("/")[2] for path in found]


def _persist(where: UPath, done: str, action: Callable[[], T]) -> T:
    """Do something with a store, again and again while it is away.

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
            f"{_shown(where)} may not be {done}: the credentials that were found have no right to; grant reading, "
            "writing and listing there"
        ) from error
    except Exception as error:
        if not _is_of_a_store(error):
            raise
        if "Credential" in type(error).__name__:
            raise StoreError(
                f"{_shown(where)} cannot be {done} without credentials; set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or what the store's library reads, or give this machine a role"
            ) from error
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise disk_full(str(error.filename or "this machine's temporary directory")) from error
        waited = time.monotonic() - started
        raise StoreError(
            f"{_shown(where)} could not be {done} for {waited:.0f} s ({type(error).__name__}); see that the store "
            "answers and run the same again, what is finished is kept"
        ) from error


def disk_full(where: str) -> StoreError:
    """Return what to raise when a local disk has no room left."""
    return StoreError(
        f"no space is left on the disk of {where}; free some and run the same again, what is finished is kept"
    )


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


def _missing_bucket(where: UPath) -> StoreError:
    bucket = where.path.partition("/")[0]
    return StoreError(
        f"there is no bucket {where.protocol}://{bucket}; make it, or correct its name in the call or setting"
    )


def _shown(where: str | Place) -> str:
    return re.sub(r"://[^/]*@", "://***@", str(where))[:300]

"""Read and write files on this machine or in an object store, with the same functions for both.

A place is a `pathlib.Path` or, for a URI such as `s3://bucket/shop`, a `UPath`, which accesses the store through
fsspec. Local paths are used as they are. A file in a store is read and written as a whole. Every call to a store is
retried with increasing pauses while the store is unavailable, and raises an error of one sentence if it stays
unavailable. The store's own library finds credentials and endpoint in the environment (`AWS_ENDPOINT_URL` and others)
or in the machine's role.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from upath import UPath

from jobs.errors import UsageError
from jobs.storage.faults import lacks_reason, masked, missing_bucket, with_retries
from jobs.storage.file_uris import path_of_file_uri
from jobs.storage.places import Place
from models.temporary import temporary_directory
from models.whole_files import write_whole

T = TypeVar("T")

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "abfs": "adlfs", "hdfs": "pyarrow"}
"""Python package that accesses each kind of store, by URI scheme."""

_SPELLINGS = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfss": "abfs", "az": "abfs"}
_FILE = re.compile(r"\s*file:/", re.IGNORECASE)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_OPTIONS: dict[str, dict[str, Any]] = {
    # Listings are not cached, because other processes write too. botocore makes few attempts of its own, because
    # `with_retries` makes many. They are written in the form in which botocore keeps them: otherwise two UPaths of the
    # same place would not be equal.
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


def scheme_of(text: str) -> str:
    """Return the scheme of a store's URI in its usual spelling; an empty text if it is not the URI of a store."""
    match = _SCHEME.match(text.strip())
    scheme = match[1].lower() if match else ""
    scheme = _SPELLINGS.get(scheme, scheme)
    return scheme if scheme in PACKAGES else ""


def place(text: str | Place) -> Place:
    """Turn the text of a path or URI into a local path or a path in a store.

    Raises:
        UsageError: If the URI has an unknown scheme or names another machine's file, or the package for its store is
            not installed; the message names the expected form or the package to install.
        StoreError: If an HDFS namenode does not answer.
    """
    if not isinstance(text, str):
        return text
    match = _SCHEME.match(text.strip())
    if _FILE.match(text):
        try:
            return Path(path_of_file_uri(text))
        except ValueError as error:
            raise UsageError(f"{masked(text)} is no place: {error}") from error
    if match is None:
        return Path(text)
    scheme = scheme_of(text)
    if not scheme:
        raise UsageError(f"{masked(text)} is of an unknown kind; expected a path or one of {', '.join(PACKAGES)}://")
    rest = text.strip()[match.end() :]
    if not rest.strip("/") or ("@" in rest.partition("/")[0] and scheme == "s3") or "::" in rest:
        raise UsageError(f"{masked(text)} names no bucket; write it as {scheme}://bucket/path")
    try:
        path: UPath = UPath(f"{scheme}://{rest.rstrip('/')}", **_OPTIONS.get(scheme, {}))
        if scheme == "hdfs":  # the first use connects
            with_retries(path, "connected to", lambda: _hadoop_filesystem(path))
        else:
            path.fs.protocol  # noqa: B018 - the first use imports the package
    except ImportError as error:
        raise UsageError(f"{scheme}:// needs the package {PACKAGES[scheme]}; pip install {PACKAGES[scheme]}") from error
    return path


def _hadoop_filesystem(where: UPath) -> Any:
    """Return the file system object of an HDFS path, which connects to its namenode.

    Raises:
        UsageError: If Hadoop's native libraries cannot be loaded. They come with Hadoop, not with a Python package.
    """
    try:
        return where.fs
    except OSError as error:
        if "load lib" not in str(error):  # the part that the messages of the first and of later failures share
            raise
        raise UsageError(
            f"hdfs:// needs Hadoop's native libraries ({str(error)[:120]}); set JAVA_HOME, HADOOP_HOME and CLASSPATH"
        ) from error


def uri(where: Place) -> str:
    """Return the text of a path in a store, or of a local one, from which `place` restores it on any machine.

    It includes the HDFS namenode and the Azure account, which `str` of a UPath leaves out.
    """
    if not is_remote(where):
        return str(where)
    if where.protocol == "abfs" and where.storage_options.get("account_name"):
        container, _, key = where.path.partition("/")
        return f"abfs://{container}@{where.storage_options['account_name']}.dfs.core.windows.net/{key}"
    if where.protocol != "hdfs" or not where.storage_options.get("host"):
        return str(where)
    user, host, port = (where.storage_options.get(name) for name in ("user", "host", "port"))
    return f"hdfs://{f'{user}@' if user else ''}{host}{f':{port}' if port else ''}{where.path}"


def is_remote(where: Place) -> TypeGuard[UPath]:
    """Return whether a path is in an object store."""
    return not isinstance(where, Path)


def children(directory: Place, pattern: str) -> list[Place]:
    """List the entries of a directory, local or in a store, whose names match a pattern such as `part-*.parquet`.

    Args:
        directory: Directory to list; it need not exist.
        pattern: Shell-style pattern of names.

    Returns:
        The entries in order of name; an empty list if the directory does not exist.
    """
    if not is_remote(directory):
        return sorted(directory.glob(pattern))
    names = {str(entry["name"]).rstrip("/").rpartition("/")[2] for entry in listed(directory, directory.path)}
    return [directory / name for name in sorted(names) if fnmatchcase(name, pattern)]


def listed(root: UPath, folder: str) -> list[dict[str, Any]]:
    """Return the store's metadata of each entry of a folder.

    Args:
        root: Place in the store, for error messages.
        folder: Path of the folder in the form that the store's library uses.

    Returns:
        Dictionaries with `name`, `type` and other metadata; an empty list if the folder does not exist.
    """
    try:
        entries: list[dict[str, Any]] = with_retries(root, "listed", lambda: root.fs.ls(folder, detail=True))
    except FileNotFoundError:
        return []
    return entries


def is_file(where: Place) -> bool:
    """Return whether a path, local or in a store, is an existing file."""
    return with_retries(where, "looked at", lambda: bool(where.is_file())) if is_remote(where) else where.is_file()


def is_dir(where: Place) -> bool:
    """Return whether a local path is a directory, or a path in a store has any file below it."""
    return with_retries(where, "looked at", lambda: bool(where.is_dir())) if is_remote(where) else where.is_dir()


def information(where: UPath) -> dict[str, Any]:
    """Return a store's metadata of a file: `size` in bytes, and versions and times under store-specific names."""

    def attempt() -> dict[str, Any]:
        try:
            return dict(where.fs.info(where.path))
        except Exception as error:
            if lacks_reason(error):
                where.fs.cat_file(where.path, start=0, end=1)  # reads one byte, which fails with the reason
            raise

    return with_retries(where, "looked at", attempt)


def modified_at(where: Place) -> float:
    """Return the modification time of a file, local or in a store, in seconds since 1970."""
    return float(with_retries(where, "looked at", where.stat).st_mtime) if is_remote(where) else where.stat().st_mtime


def size_bytes(where: Place) -> int:
    """Return the size of a file, local or in a store, in bytes."""
    return int(information(where)["size"]) if is_remote(where) else where.stat().st_size


def read_bytes(where: Place) -> bytes:
    """Read the whole content of a file, local or in a store."""
    return (
        with_retries(where, "read", lambda: bytes(where.fs.cat_file(where.path)))
        if is_remote(where)
        else where.read_bytes()
    )


def write_bytes(where: Place, content: bytes) -> None:
    """Write a small file atomically, local or in a store."""
    if isinstance(where, Path):
        write_whole(where, content)
        return
    with temporary_directory() as directory:
        scratch = directory / where.name
        scratch.write_bytes(content)
        put(scratch, where)


def reading(where: Place, read: Callable[[Any], T]) -> T:
    """Open a file, local or in a store, for a function that reads parts of it; nothing is copied to this machine.

    Args:
        where: File to read.
        read: Receives the local path, or an open file in the store. The open file has no read-ahead, because the bytes
            between the other columns of a shard are its images. If the connection breaks, `read` is called again from
            the start.

    Returns:
        The function's result.
    """
    if not is_remote(where):
        return read(where)

    def attempt() -> T:
        with where.fs.open(where.path, "rb", cache_type="none") as file:
            return read(file)

    return with_retries(where, "read", attempt)


def fetch(source: UPath, target: Path) -> None:
    """Copy a file from a store to this machine; a retry overwrites an incomplete copy."""
    with_retries(source, "read", lambda: source.fs.get_file(source.path, str(target)))


def put(source: Path, target: Place) -> None:
    """Upload a local file to a store atomically: the name becomes visible when the file is complete."""
    if not is_remote(target):
        raise TypeError(f"{target} is no place in a store")
    try:
        with_retries(target, "written", lambda: _put_whole(source, target))
    except FileNotFoundError as error:
        raise missing_bucket(target) from error


def _put_whole(source: Path, target: UPath) -> None:
    """Upload a file so that an incomplete one is never visible; object stores ensure this themselves, HDFS does not."""
    if target.protocol != "hdfs":
        target.fs.put_file(str(source), target.path)
        return
    parent, _, name = target.path.rpartition("/")
    hidden = f"{parent}/.{name}.{uuid.uuid4().hex}.tmp"
    try:
        target.fs.put_file(str(source), hidden)
        if target.fs.exists(target.path):  # HDFS cannot move a file over an existing one
            if name.startswith("part-"):  # named after its content, so another attempt has uploaded the same file
                target.fs.rm_file(hidden)
                return
            target.fs.rm_file(target.path)
        target.fs.mv(hidden, target.path)
    except BaseException:
        with suppress(Exception):
            target.fs.rm_file(hidden)
        raise


def delete(where: Place) -> None:
    """Delete a file, local or in a store, if it exists."""
    if not is_remote(where):
        where.unlink(missing_ok=True)
        return
    try:
        with_retries(where, "deleted", lambda: where.fs.rm_file(where.path))
    except FileNotFoundError:
        return


@contextmanager
def on_disk(where: Place) -> Iterator[Path]:
    """Provide a local path of a file within a block: the file itself, or a temporary copy of one in a store."""
    if isinstance(where, Path):
        yield where
        return
    with temporary_directory() as directory:
        copy = directory / where.name
        fetch(where, copy)
        yield copy


@contextmanager
def on_disk_once() -> Iterator[Callable[[Place], Path]]:
    """Provide local paths of files that a block reads several times; each file of a store is copied once.

    Yields:
        Function that returns the local path of a file: the file itself, or its copy. Copies are made when they are
        first needed and kept until the block ends; TMPDIR must have room for all of them.
    """
    copies: dict[Place, Path] = {}
    with temporary_directory() as directory:

        def local(where: Place) -> Path:
            if isinstance(where, Path):
                return where
            if where not in copies:
                copy = directory / f"{len(copies)}-{where.name}"
                fetch(where, copy)
                copies[where] = copy
            return copies[where]

        yield local


def check_usable(home: Place) -> None:
    """Check before a run that the store of the home exists and can be listed and written to.

    Raises:
        StoreError: If it cannot; the message names the reason and the remedy.
    """
    if not is_remote(home):
        return
    mark = home / ".shelfwise"
    try:
        with_retries(mark, "written", lambda: mark.fs.pipe_file(mark.path, b"shelfwise keeps its state here\n"))
    except FileNotFoundError as error:
        raise missing_bucket(home) from error
    children(home, "*")

"""Files that may be on this machine or in an object store, by the same calls.

A place is a `pathlib.Path` or, for a URI such as `s3://bucket/shop`, a `UPath`, which speaks to the store through
fsspec. Paths are used as they are. What is in a store is read and put whole; every call is tried again with longer and
longer pauses while the store is away, and ends as one sentence when it stays away. Credentials and the endpoint are
found by the store's own library in the environment or in the machine's role (`AWS_ENDPOINT_URL` and the like).
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
from jobs.storage.faults import missing_bucket, persist, shown, tells_no_reason
from jobs.storage.file_uris import path_of_file_uri
from jobs.storage.places import Place
from jobs.storage.temporary import own_directory
from models.whole_files import write_whole

T = TypeVar("T")

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "abfs": "adlfs", "hdfs": "pyarrow"}
"""What speaks to each kind of store."""

_SPELLINGS = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfss": "abfs", "az": "abfs"}
_FILE = re.compile(r"\s*file:/", re.IGNORECASE)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
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


def scheme_of(text: str) -> str:
    """Return the store's scheme in its usual spelling, or an empty text for what is no URI of a store."""
    match = _SCHEME.match(text.strip())
    scheme = match[1].lower() if match else ""
    scheme = _SPELLINGS.get(scheme, scheme)
    return scheme if scheme in PACKAGES else ""


def place(text: str | Place) -> Place:
    """Return where a text points to: a path of this machine, or a place in a store.

    Raises:
        UsageError: If it is a URI of something else or of another machine's file, or what speaks to its store is not
            installed.
        StoreError: If it is of a namenode that does not answer.
    """
    if not isinstance(text, str):
        return text
    match = _SCHEME.match(text.strip())
    if _FILE.match(text):
        try:
            return Path(path_of_file_uri(text))
        except ValueError as error:
            raise UsageError(f"{shown(text)} is no place: {error}") from error
    if match is None:
        return Path(text)
    scheme = scheme_of(text)
    if not scheme:
        raise UsageError(f"{shown(text)} is of an unknown kind; expected a path or one of {', '.join(PACKAGES)}://")
    rest = text.strip()[match.end() :]
    if not rest.strip("/") or ("@" in rest.partition("/")[0] and scheme == "s3") or "::" in rest:
        raise UsageError(f"{shown(text)} names no bucket; write it as {scheme}://bucket/path")
    try:
        found: UPath = UPath(f"{scheme}://{rest.rstrip('/')}", **_OPTIONS.get(scheme, {}))
        if scheme == "hdfs":  # the first use connects
            persist(found, "connected to", lambda: _hadoop(found))
        else:
            found.fs.protocol  # noqa: B018 - the first use imports the package
    except ImportError as error:
        raise UsageError(f"{scheme}:// needs the package {PACKAGES[scheme]}; pip install {PACKAGES[scheme]}") from error
    return found


def _hadoop(where: UPath) -> Any:
    """Return what speaks to a namenode; its libraries come with Hadoop and not with a package."""
    try:
        return where.fs
    except OSError as error:
        if "load lib" not in str(error):  # said in other words the second time
            raise
        raise UsageError(
            f"hdfs:// needs Hadoop's native libraries ({str(error)[:120]}); set JAVA_HOME, HADOOP_HOME and CLASSPATH"
        ) from error


def uri(where: Place) -> str:
    """Return the text from which `place` makes this place again, on any machine.

    With HDFS's namenode and Azure's account, which `str` of a UPath leaves out.
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
    """Say whether a place is in a store."""
    return not isinstance(where, Path)


def children(directory: Place, pattern: str) -> list[Place]:
    """List what is directly in a directory under names like `part-*.parquet`, in order; nothing where it is missing."""
    if not is_remote(directory):
        return sorted(directory.glob(pattern))
    names = {str(entry["name"]).rstrip("/").rpartition("/")[2] for entry in listed(directory, directory.path)}
    return [directory / name for name in sorted(names) if fnmatchcase(name, pattern)]


def listed(root: UPath, folder: str) -> list[dict[str, Any]]:
    """Return what a store says of each entry of a folder, `name` and `type` at least; nothing where it is missing.

    Args:
        root: A place in the store; what messages name.
        folder: The folder's path in the store's own form.
    """
    try:
        found: list[dict[str, Any]] = persist(root, "listed", lambda: root.fs.ls(folder, detail=True))
    except FileNotFoundError:
        return []
    return found


def is_file(where: Place) -> bool:
    """Say whether a file is there."""
    return persist(where, "looked at", lambda: bool(where.is_file())) if is_remote(where) else where.is_file()


def is_dir(where: Place) -> bool:
    """Say whether something is below."""
    return persist(where, "looked at", lambda: bool(where.is_dir())) if is_remote(where) else where.is_dir()


def information(where: UPath) -> dict[str, Any]:
    """Return what a store says of a file: `size` and, in its own words, versions and times."""

    def attempt() -> dict[str, Any]:
        try:
            return dict(where.fs.info(where.path))
        except Exception as error:
            if tells_no_reason(error):
                where.fs.cat_file(where.path, start=0, end=1)  # fails with the reason
            raise

    return persist(where, "looked at", attempt)


def modified_at(where: Place) -> float:
    """Return when a file was last written, in seconds since 1970."""
    return float(persist(where, "looked at", where.stat).st_mtime) if is_remote(where) else where.stat().st_mtime


def read_bytes(where: Place) -> bytes:
    """Return a file's content."""
    return (
        persist(where, "read", lambda: bytes(where.fs.cat_file(where.path))) if is_remote(where) else where.read_bytes()
    )


def write_bytes(where: Place, content: bytes) -> None:
    """Write a small file, which appears whole or not at all."""
    if isinstance(where, Path):
        write_whole(where, content)
        return
    with own_directory() as directory:
        scratch = directory / where.name
        scratch.write_bytes(content)
        put(scratch, where)


def reading(where: Place, read: Callable[[Any], T]) -> T:
    """Let a function read a file in place.

    Args:
        where: The file.
        read: Takes the path, or an open file of the store that reads the parts that are asked for and not a byte ahead,
            as between the columns of a shard lie its images; it is called again from the start if the store breaks off.

    Returns:
        What it returned.
    """
    if not is_remote(where):
        return read(where)

    def attempt() -> T:
        with where.fs.open(where.path, "rb", cache_type="none") as file:
            return read(file)

    return persist(where, "read", attempt)


def fetch(source: UPath, target: Path) -> None:
    """Copy a file of a store to this machine; a half copy is written over by the next try."""
    persist(source, "read", lambda: source.fs.get_file(source.path, str(target)))


def put(source: Path, target: Place) -> None:
    """Put a file in a store under its final name; the store shows it when it is there whole."""
    if not is_remote(target):
        raise TypeError(f"{target} is no place in a store")
    try:
        persist(target, "written", lambda: _put_whole(source, target))
    except FileNotFoundError as error:
        raise missing_bucket(target) from error


def _put_whole(source: Path, target: UPath) -> None:
    """Put a file so that it is never seen half written; object stores see to that themselves, HDFS does not."""
    if target.protocol != "hdfs":
        target.fs.put_file(str(source), target.path)
        return
    parent, _, name = target.path.rpartition("/")
    hidden = f"{parent}/.{name}.{uuid.uuid4().hex}.tmp"
    try:
        target.fs.put_file(str(source), hidden)
        if target.fs.exists(target.path):  # HDFS moves nothing over what is there
            if name.startswith("part-"):  # named by its content, so another attempt has put the same there
                target.fs.rm_file(hidden)
                return
            target.fs.rm_file(target.path)
        target.fs.mv(hidden, target.path)
    except BaseException:
        with suppress(Exception):
            target.fs.rm_file(hidden)
        raise


def delete(where: Place) -> None:
    """Remove a file if it is there."""
    if not is_remote(where):
        where.unlink(missing_ok=True)
        return
    try:
        persist(where, "deleted", lambda: where.fs.rm_file(where.path))
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
        persist(mark, "written", lambda: mark.fs.pipe_file(mark.path, b"shelfwise keeps its state here\n"))
    except FileNotFoundError as error:
        raise missing_bucket(home) from error
    children(home, "*")

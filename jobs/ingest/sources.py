"""Read the images of a catalog's image_uris from local files, web servers and object stores.

Local files are read one after another, which suits a disk. Several threads fetch images over the network ahead of their
turn. All images are returned in the catalog's order, so that the same rows always produce the same dataset files.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upath import UPath

from jobs.catalog.links import bad_link, masks_query, masks_user_info
from jobs.images.normalise import MAX_SOURCE_BYTES, Rejected
from jobs.ingest.config import HttpLimits
from jobs.ingest.local_files import read_source, resolve_uri
from jobs.ingest.prefetch import LARGE_AT_ONCE, Deferred, Ticket, take_room
from jobs.ingest.web import WebImages
from jobs.storage import stores
from jobs.storage.faults import NoCredentials, StaleCredentials, StoreDenied, StoreRefused, refusal
from jobs.storage.places import Place
from jobs.storage.stores import place, scheme_of

THREADS = 8
_WINDOW = 2 * THREADS
_ABSOLUTE = re.compile(r"\s*(?:$|/|\\\\|(?:file|data):|[a-z]:[\\/]|[a-z][a-z0-9+.-]*://)", re.IGNORECASE)
"""Matches an image_uri that is not relative to the catalog's directory: an absolute path, a URI, or an empty text."""
_WEB = re.compile(r"\s*https?://", re.IGNORECASE)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """Result of reading one source, local or remote: its bytes or the rejection, and its version.

    Attributes:
        size_bytes: Size of the source in bytes; None if it is unknown.
        mtime_ns: Modification time of a local file, in nanoseconds since 1970; None for other sources.
        version: Version of the content according to the server; see `jobs.dataset.schema.IMAGES`.
        data: Content of the source; None if it has not changed or could not be read.
        rejection: Why the image cannot be used; None if it can.
    """

    size_bytes: int | None = None
    mtime_ns: int | None = None
    version: str | None = None
    data: bytes | None = None
    rejection: Rejected | None = None


def in_store(image_uri: str, base: Place, trusted: Sequence[Place] = ()) -> UPath | None:
    """Return the path in an object store that an image_uri names; None if it names none.

    Args:
        image_uri: The image_uri of the catalog.
        base: Directory to which a relative image_uri is relative.
        trusted: Places that the operator configured. Catalogs are not trusted, and an `hdfs://` link can name any host
            and port: so only the HDFS namenodes of these places may be connected to.
    """
    scheme = scheme_of(image_uri)
    if scheme:
        try:
            if scheme == "hdfs" and _namenode(image_uri) not in map(_namenode, trusted):
                raise Rejected("uri_not_allowed", "hdfs:// may name the namenode of catalog or SHELFWISE_HOME alone")
            path = place(image_uri)
        except ValueError as error:  # UsageError is a ValueError too
            raise Rejected("uri_not_allowed", str(error)) from error
        return path if isinstance(path, UPath) else None
    if isinstance(base, Path) or _ABSOLUTE.match(image_uri):
        return None
    return base / image_uri.strip()


def _namenode(where: str | Place) -> tuple[object, ...] | None:
    """Return the host, port and user with which an HDFS path would be connected to; None if it is not on HDFS."""
    if isinstance(where, str):
        # The library that will connect also splits the URI; building a UPath does not connect yet.
        where = UPath(f"hdfs://{where.partition('://')[2].strip()}")
    if not isinstance(where, UPath) or where.protocol != "hdfs":
        return None
    return tuple(where.storage_options.get(name) for name in ("host", "port", "user"))


def is_remote(image_uri: str, base: Place) -> bool:
    """Return whether the source of an image_uri is on another machine, where only a request shows if it has changed."""
    relative = not isinstance(base, Path) and _ABSOLUTE.match(image_uri) is None
    return relative or is_web(image_uri) or bool(scheme_of(image_uri))


def is_web(image_uri: str) -> bool:
    """Return whether a link is fetched from a web server."""
    return _WEB.match(image_uri) is not None


def link_to_read(row: Row) -> str:
    """Return the link or path with which the image of a catalog row is read; it may hold secrets."""
    return str(row.get("fetch_uri") or row["image_uri"])


def is_readable(row: Row) -> bool:
    """Return whether the link of a catalog row has all that a request needs; a stored link has no secrets any more."""
    return bool(row.get("fetch_uri")) or not masks_query(row["image_uri"])


def check_link(row: Row) -> None:
    """Check the form of a row's link; details show nothing of the link, which may hold secrets.

    The night and `shelfwise catalog check` ask this before anything else, so that both give the same reason.

    Raises:
        Rejected: `bad_link` if it has no form that can be read, or lacks its secrets; `uri_not_allowed` if it has a
            user name or password.
    """
    if fault := bad_link(row["image_uri"]):
        raise Rejected("bad_link", fault)
    if masks_user_info(row["image_uri"]):
        raise Rejected("uri_not_allowed", "the link holds a user name or password, which a catalog must not")
    if not is_readable(row):
        raise Rejected("bad_link", "the link has *** in place of a secret; name the catalog that has the whole link")


def file_status(image_uri: str, base: Place) -> Source:
    """Return a local source's size and modification time, without reading it; both None if it cannot be accessed."""
    try:
        status = resolve_uri(image_uri, _local_base(base)).stat()
    except (Rejected, OSError, ValueError):
        return Source()
    return Source(status.st_size, status.st_mtime_ns)


def _local_base(base: Place) -> Path:
    """Return the directory of relative local image_uris; a catalog in a store has only absolute local ones."""
    return base if isinstance(base, Path) else Path("/")


class SourceReader:
    """Reads the sources of catalog rows, with threads for those on other machines."""

    def __init__(
        self,
        base: Place,
        limits: HttpLimits,
        *,
        home: Place | None = None,
        tasks: int = 1,
        max_bytes: int = MAX_SOURCE_BYTES,
    ) -> None:
        """Set up the reader; it connects to nothing yet.

        Args:
            base: Directory to which relative image_uris are relative: the catalog's.
            limits: Limits for fetching images from web servers.
            home: Home of the run. The stores of the home and of the catalog are trusted: the operator configured them.
            tasks: Readers that may send requests to the same host at a time, over all processes of the run. They share
                `limits.per_host` evenly.
            max_bytes: Size limit of an image in bytes; a larger one is rejected.
        """
        self._base = base
        self._trusted = [base] if home is None else [base, home]
        self._threads: ThreadPoolExecutor | None = None
        self._room = threading.BoundedSemaphore(LARGE_AT_ONCE)
        self._max_bytes = max_bytes
        self._web = WebImages(limits, per_host=max(1, limits.per_host // tasks), max_bytes=max_bytes)

    def read(self, rows: Iterable[Row]) -> Iterator[tuple[Row, Source]]:
        """Read the images of catalog rows.

        Args:
            rows: Rows with `image_uri`; with `fetch_uri` if `image_uri` masks secrets of the link to send; and with
                `known_source_version` if the image is stored already.

        Yields:
            Each row with its image, in the order of `rows`.
        """
        waiting: deque[tuple[Row, Future[tuple[Source | None, Ticket]] | None]] = deque()
        try:
            for row in rows:
                waiting.append((row, self._submit(row)))
                while waiting and (waiting[0][1] is None or len(waiting) >= _WINDOW):
                    yield from self._collect(*waiting.popleft())
            while waiting:
                yield from self._collect(*waiting.popleft())
        finally:
            for _, future in waiting:
                if future is not None:
                    future.cancel()
            if self._threads is not None:
                self._threads.shutdown(cancel_futures=True)
                self._threads = None

    def _submit(self, row: Row) -> Future[tuple[Source | None, Ticket]] | None:
        if not is_remote(row["image_uri"], self._base):
            return None
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "images")
        return self._threads.submit(self._fetch_ahead, row)

    def _fetch_ahead(self, row: Row) -> tuple[Source | None, Ticket]:
        """Fetch an image before its turn; return None for it if it is large and must wait for its turn."""
        ticket = Ticket(self._room)
        try:
            with ticket.counted():
                return self._fetch(row), ticket
        except Deferred:
            return None, ticket

    def _collect(self, row: Row, future: Future[tuple[Source | None, Ticket]] | None) -> Iterator[tuple[Row, Source]]:
        if future is None:
            yield row, self._read_local(row)
            return
        source, ticket = future.result()
        try:
            yield row, self._fetch(row) if source is None else source
        finally:
            ticket.give_back()

    def _read_local(self, row: Row) -> Source:
        status = file_status(link_to_read(row), self._base)
        try:
            check_link(row)
            data = read_source(resolve_uri(link_to_read(row), _local_base(self._base)), max_bytes=self._max_bytes)
        except Rejected as rejection:
            return Source(status.size_bytes, status.mtime_ns, rejection=rejection)
        return Source(status.size_bytes, status.mtime_ns, data=data)

    def _fetch(self, row: Row) -> Source:
        version = row.get("known_source_version")
        try:
            check_link(row)
            link = link_to_read(row)
            if not is_web(link):
                where = in_store(link, self._base, self._trusted)
                return _from_store(where, version, self._trusted, max_bytes=self._max_bytes)
            image = self._web.fetch(link, known_version=version)
        except Rejected as rejection:
            return Source(rejection=rejection)
        size = None if image.data is None else len(image.data)
        return Source(size, None, image.source_version, image.data)


def _from_store(where: UPath | None, known_version: str | None, trusted: Sequence[Place], *, max_bytes: int) -> Source:
    """Read an image from an object store, unless its version there is the known one.

    Args:
        where: Path of the image; None if its image_uri is not a path or URI of a file.
        known_version: Version of the stored image; None if none is stored.
        trusted: Places that the operator configured. Missing or invalid credentials for these end the run; for other
            stores they reject the image.
        max_bytes: Size limit of the image in bytes.

    Raises:
        Rejected: If the image cannot be read and a retry would not help.
        Deferred: If it is large and has to wait for its turn.
        StoreError: If the store is unavailable, the credentials have expired, or the credentials of a trusted store
            are missing or invalid.
    """
    if where is None:
        raise Rejected("uri_not_allowed", "expected a path or a URI of a file")
    try:
        information = stores.information(where)
        size, version = int(information.get("size") or 0), _version_of(information)
        if version is not None and version == known_version:
            return Source(size, version=version)
        if information.get("type") == "directory":
            raise Rejected("unreadable", "expected a file, found a directory")
        if size > max_bytes:
            raise Rejected("too_large", f"the file has {size:,} bytes, over the limit of {max_bytes:,}")
        take_room(size)
        data = stores.read_bytes(where)
    except FileNotFoundError as error:
        raise Rejected("missing", "there is no such file") from error
    except StoreDenied as error:
        raise Rejected("unreadable", "the credentials that were found may not read it") from error
    except StoreRefused as error:
        raise Rejected("unreadable", f"the store refuses it: {refusal(error.__cause__)}") from error
    except StaleCredentials as error:
        if error.certain or _bucket(where) in map(_bucket, trusted):
            raise
        raise Rejected("unreadable", "the store does not know the credentials that were found") from error
    except NoCredentials as error:
        if scheme_of(str(where)) in {scheme_of(str(each)) for each in trusted}:
            raise
        raise Rejected("unreadable", f"there are no credentials for {scheme_of(str(where))}://") from error
    if not data:
        raise Rejected("empty", "the file has no bytes")
    return Source(len(data), None, version, data)


def _bucket(where: Place) -> tuple[str, str] | None:
    return (where.protocol, where.path.partition("/")[0]) if isinstance(where, UPath) else None


def _version_of(information: Mapping[str, Any]) -> str | None:
    for name in ("ETag", "etag", "generation", "LastModified", "last_modified", "mtime", "modificationTime"):
        if information.get(name):
            return f"etag:{information[name]}"[:256]
    return None

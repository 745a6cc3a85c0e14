"""From the image_uris of a catalog to their bytes, wherever they are: local files, web servers, object stores.

Local files are read one after another, as the disk likes it. What comes over a network is asked for by several threads
ahead of its turn, and handed out in the catalog's order, so that the same rows always make the same files.
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

from jobs.images.normalise import MAX_SOURCE_BYTES, Rejected
from jobs.ingest.config import HttpLimits
from jobs.ingest.local_files import read_source, resolve_uri
from jobs.ingest.prefetch import LARGE_AT_ONCE, PutOff, Ticket, check_room
from jobs.ingest.web import WebImages
from jobs.storage import stores
from jobs.storage.faults import NoCredentials, StaleCredentials, StoreDenied, StoreRefused, refusal
from jobs.storage.places import Place
from jobs.storage.stores import place, scheme_of

THREADS = 8
_WINDOW = 2 * THREADS
_ABSOLUTE = re.compile(r"\s*(?:$|/|\\\\|(?:file|data):|[a-z]:[\\/]|[a-z][a-z0-9+.-]*://)", re.IGNORECASE)
"""What is not relative to the catalog's own place: a path from the root, a URI, or nothing at all."""
_WEB = re.compile(r"\s*https?://", re.IGNORECASE)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """What reading one image brought.

    Attributes:
        size_bytes: Of the source; None if it could not be looked at.
        mtime_ns: Modification time of a local file.
        version: What a server says of the content's version; see `jobs.dataset.schema.IMAGES`.
        data: Its bytes; None if they have not changed or cannot be had.
        rejection: Why it cannot be used.
    """

    size_bytes: int | None = None
    mtime_ns: int | None = None
    version: str | None = None
    data: bytes | None = None
    rejection: Rejected | None = None


def in_store(image_uri: str, base: Place, own: Sequence[Place] = ()) -> UPath | None:
    """Return an image's place in an object store; None for one that is not in a store.

    Args:
        image_uri: As the catalog has it.
        base: What it is relative to.
        own: Places that the operator named. A link of an untrusted catalog may make this program connect to no other
            namenode of HDFS than theirs, since `hdfs://` names any host and port.
    """
    scheme = scheme_of(image_uri)
    if scheme:
        try:
            if scheme == "hdfs" and _namenode(image_uri) not in map(_namenode, own):
                raise Rejected("uri_not_allowed", "hdfs:// may name the namenode of catalog or SHELFWISE_HOME alone")
            found = place(image_uri)
        except ValueError as error:  # UsageError is one too
            raise Rejected("uri_not_allowed", str(error)) from error
        return found if isinstance(found, UPath) else None
    if isinstance(base, Path) or _ABSOLUTE.match(image_uri):
        return None
    return base / image_uri.strip()


def _namenode(where: str | Place) -> tuple[object, ...] | None:
    """Return the host, port and user that a place would be connected to with; None for what is not of HDFS."""
    if isinstance(where, str):
        where = UPath(
            f"hdfs://{where.partition('://')[2].strip()}"
        )  # split by the library that connects; nothing is connected to yet
    if not isinstance(where, UPath) or where.protocol != "hdfs":
        return None
    return tuple(where.storage_options.get(name) for name in ("host", "port", "user"))


def is_remote(image_uri: str, base: Place) -> bool:
    """Say whether an image is on another machine, so that only asking there tells whether it has changed."""
    relative = not isinstance(base, Path) and _ABSOLUTE.match(image_uri) is None
    return relative or _WEB.match(image_uri) is not None or bool(scheme_of(image_uri))


def look(image_uri: str, base: Place) -> Source:
    """Return a local file's size and modification time, or nothing of either."""
    try:
        found = resolve_uri(image_uri, _local_base(base)).stat()
    except (Rejected, OSError, ValueError):
        return Source()
    return Source(found.st_size, found.st_mtime_ns)


def _local_base(base: Place) -> Path:
    """Return what local image_uris are relative to; those of a catalog in a store are absolute."""
    return base if isinstance(base, Path) else Path("/")


class SourceReader:
    """Reads the images of a catalog's rows; close it after use."""

    def __init__(self, base: Place, limits: HttpLimits, *, home: Place | None = None, tasks: int = 1) -> None:
        """Prepare.

        Args:
            base: What relative image_uris are relative to.
            limits: How web servers are asked.
            home: Of the run; a store that holds it or the catalog is the operator's.
            tasks: How many readers may ask the same host at a time, in all processes of the run.
        """
        self._base = base
        self._own = [base] if home is None else [base, home]
        self._threads: ThreadPoolExecutor | None = None
        self._room = threading.BoundedSemaphore(LARGE_AT_ONCE)
        self._web = WebImages(limits, per_host=max(1, limits.per_host // tasks))

    def read(self, rows: Iterable[Row]) -> Iterator[tuple[Row, Source]]:
        """Read the images of some rows.

        Args:
            rows: With `image_uri` and, of what is stored, `known_source_version`.

        Yields:
            Each row with its image, in their order.
        """
        waiting: deque[tuple[Row, Future[tuple[Source | None, Ticket]] | None]] = deque()
        try:
            for row in rows:
                waiting.append((row, self._started(row)))
                while waiting and (waiting[0][1] is None or len(waiting) >= _WINDOW):
                    yield from self._turn(*waiting.popleft())
            while waiting:
                yield from self._turn(*waiting.popleft())
        finally:
            for _, future in waiting:
                if future is not None:
                    future.cancel()
            if self._threads is not None:
                self._threads.shutdown(cancel_futures=True)
                self._threads = None

    def _started(self, row: Row) -> Future[tuple[Source | None, Ticket]] | None:
        if not is_remote(row["image_uri"], self._base):
            return None
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "images")
        return self._threads.submit(self._ahead, row)

    def _ahead(self, row: Row) -> tuple[Source | None, Ticket]:
        """Fetch an image before its turn; nothing comes of it where there is no room for it yet."""
        ticket = Ticket(self._room)
        try:
            with ticket.counted():
                return self._fetch(row), ticket
        except PutOff:
            return None, ticket

    def _turn(self, row: Row, future: Future[tuple[Source | None, Ticket]] | None) -> Iterator[tuple[Row, Source]]:
        if future is None:
            yield row, self._local(row["image_uri"])
            return
        source, ticket = future.result()
        try:
            yield row, self._fetch(row) if source is None else source
        finally:
            ticket.give_back()

    def _local(self, image_uri: str) -> Source:
        found = look(image_uri, self._base)
        try:
            data = read_source(resolve_uri(image_uri, _local_base(self._base)))
        except Rejected as rejection:
            return Source(found.size_bytes, found.mtime_ns, rejection=rejection)
        return Source(found.size_bytes, found.mtime_ns, data=data)

    def _fetch(self, row: Row) -> Source:
        known = row.get("known_source_version")
        try:
            if not _WEB.match(row["image_uri"]):
                return _from_store(in_store(row["image_uri"], self._base, self._own), known, self._own)
            found = self._web.fetch(row["image_uri"], known_version=known)
        except Rejected as rejection:
            return Source(rejection=rejection)
        size = None if found.data is None else len(found.data)
        return Source(size, None, found.source_version, found.data)


def _from_store(where: UPath | None, known_version: str | None, own: Sequence[Place]) -> Source:
    """Read an image out of a store unless the store's own word for its version is known.

    Raises:
        Rejected: If it cannot be had, now or later.
        PutOff: If it is large and has to wait for its turn.
        StoreError: If the store is away, the credentials have expired, or the operator's own stores cannot be used
            for want of some.
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
        if size > MAX_SOURCE_BYTES:
            raise Rejected("too_large", f"the file has {size:,} bytes, over the limit of {MAX_SOURCE_BYTES:,}")
        check_room(size)
        data = stores.read_bytes(where)
    except FileNotFoundError as error:
        raise Rejected("missing", "there is no such file") from error
    except StoreDenied as error:
        raise Rejected("unreadable", "the credentials that were found may not read it") from error
    except StoreRefused as error:
        raise Rejected("unreadable", f"the store refuses it: {refusal(error.__cause__)}") from error
    except StaleCredentials as error:
        if error.certain or _bucket(where) in map(_bucket, own):
            raise
        raise Rejected("unreadable", "the store does not know the credentials that were found") from error
    except NoCredentials as error:
        if scheme_of(str(where)) in {scheme_of(str(each)) for each in own}:
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

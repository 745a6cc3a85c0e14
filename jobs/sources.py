"""From the image_uris of a catalog to their bytes, wherever they are: local files, web servers.

Local files are read one after another, as the disk likes it. What comes over a network is asked for by several threads
ahead of its turn, and handed out in the catalog's order, so that the same rows always make the same files.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.config import HttpLimits
from jobs.images import Rejected, read_source, resolve_uri
from jobs.web_images import WebImages

THREADS = 8
_WINDOW = 2 * THREADS
_WEB = re.compile(r"\s*https?://", re.IGNORECASE)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """What reading one image brought.

    Attributes:
        size_bytes: Of the source; None if it could not be looked at.
        mtime_ns: Modification time of a local file.
        version: What a server says of the content's version; see `jobs.schema.IMAGES`.
        data: Its bytes; None if they have not changed or cannot be had.
        rejection: Why it cannot be used.
    """

    size_bytes: int | None = None
    mtime_ns: int | None = None
    version: str | None = None
    data: bytes | None = None
    rejection: Rejected | None = None


def is_remote(image_uri: str) -> bool:
    """Say whether an image is on another machine, so that only asking there tells whether it has changed."""
    return _WEB.match(image_uri) is not None


def look(image_uri: str, base: Path) -> Source:
    """Return a local file's size and modification time, or nothing of either."""
    try:
        found = resolve_uri(image_uri, base).stat()
    except (Rejected, OSError, ValueError):
        return Source()
    return Source(found.st_size, found.st_mtime_ns)


class SourceReader:
    """Reads the images of a catalog's rows; close it after use."""

    def __init__(self, base: Path, limits: HttpLimits, *, tasks: int = 1) -> None:
        """Prepare.

        Args:
            base: What relative image_uris are relative to.
            limits: How web servers are asked.
            tasks: How many readers may ask the same host at a time, in all processes of the run.
        """
        self._base = base
        self._threads: ThreadPoolExecutor | None = None
        self._web = WebImages(limits, per_host=max(1, limits.per_host // tasks))

    def read(self, rows: Iterable[Row]) -> Iterator[tuple[Row, Source]]:
        """Read the images of some rows.

        Args:
            rows: With `image_uri` and, of what is stored, `known_source_version`.

        Yields:
            Each row with its image, in their order.
        """
        waiting: deque[tuple[Row, Future[Source] | None]] = deque()
        try:
            for row in rows:
                waiting.append((row, self._started(row)))
                while waiting and (waiting[0][1] is None or len(waiting) >= _WINDOW):
                    yield self._ended(*waiting.popleft())
            while waiting:
                yield self._ended(*waiting.popleft())
        finally:
            for _, future in waiting:
                if future is not None:
                    future.cancel()
            if self._threads is not None:
                self._threads.shutdown(cancel_futures=True)
                self._threads = None

    def _started(self, row: Row) -> Future[Source] | None:
        if not is_remote(row["image_uri"]):
            return None
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "images")
        return self._threads.submit(self._fetch, row)

    def _ended(self, row: Row, future: Future[Source] | None) -> tuple[Row, Source]:
        return row, self._local(row["image_uri"]) if future is None else future.result()

    def _local(self, image_uri: str) -> Source:
        found = look(image_uri, self._base)
        try:
            data = read_source(resolve_uri(image_uri, self._base))
        except Rejected as rejection:
            return Source(found.size_bytes, found.mtime_ns, rejection=rejection)
        return Source(found.size_bytes, found.mtime_ns, data=data)

    def _fetch(self, row: Row) -> Source:
        try:
            found = self._web.fetch(row["image_uri"], known_version=row.get("known_source_version"))
        except Rejected as rejection:
            return Source(rejection=rejection)
        size = None if found.data is None else len(found.data)
        return Source(size, None, found.source_version, found.data)

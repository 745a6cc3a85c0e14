"""Pictures of the products on open pages: found by product, position and SHA-256 in our own dataset, read once a page.

The browser asks for each picture of a page alone; the first request reads the thumbnails of the whole page.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sql.review.records import Pictured

_MOST_PICTURES = 5_000
"""Most pictures that are remembered, of all pages and people; a thumbnail has some 5 kB."""

_CHECK_SECONDS = 2.0
"""Longest time for which a page waits for pictures that it can do without, in seconds."""

Key = tuple[str, int, str]
"""product_id, image_no and image_sha256."""


class Pictures(Protocol):
    """Reads pictures; what is missing or damaged gives no picture, never an error."""

    def thumbnails(
        self, pictures: Sequence[Pictured], *, seconds: float | None = None
    ) -> Mapping[tuple[str, str], bytes]:
        """Return JPEG bytes of at most 160 px by (product_id, image_sha256), of those that are read in some seconds."""

    def large(self, picture: Pictured) -> bytes | None:
        """Return the JPEG bytes that ingest stored; None if they are gone."""


@dataclass
class _Batch:
    """Pictures that are read together."""

    pictures: Sequence[Pictured]
    lock: threading.Lock = field(default_factory=threading.Lock)
    read: Mapping[tuple[str, str], bytes] | None = None


class Gallery:
    """The pictures of the pages that were opened last."""

    def __init__(self, source: Pictures, *, pictures_of: Callable[[str], Iterable[Pictured]]) -> None:
        """Start without a picture.

        Args:
            source: Reads pictures.
            pictures_of: Returns the pictures of a product_id by asking the database; none if it is not known.
        """
        self._source, self._pictures_of = source, pictures_of
        self._lock = threading.Lock()
        self._shown: OrderedDict[Key, tuple[Pictured, _Batch]] = OrderedDict()

    def show(self, pictures: Iterable[Pictured | None]) -> None:
        """Remember the pictures of a page, which are read when the first of them is asked for."""
        batch = _Batch([picture for picture in pictures if picture is not None])
        with self._lock:
            for picture in batch.pictures:
                key = (picture.product_id, picture.image_no, picture.image_sha256)
                self._shown.pop(key, None)
                self._shown[key] = (picture, batch)
            while len(self._shown) > _MOST_PICTURES:
                self._shown.popitem(last=False)

    def at_hand(self, pictures: Iterable[Pictured | None]) -> set[Pictured]:
        """Return the pictures that can be shown, as far as that is known within `_CHECK_SECONDS`."""
        asked = [picture for picture in pictures if picture is not None]
        read = self._source.thumbnails(asked, seconds=_CHECK_SECONDS) if asked else {}
        return {picture for picture in asked if (picture.product_id, picture.image_sha256) in read}

    def thumbnail(self, key: Key) -> bytes | None:
        """Return the thumbnail of a picture, as JPEG; None without one."""
        shown = self._find(key)
        if shown is None:
            return None
        batch = shown[1]
        with batch.lock:
            if batch.read is None:
                batch.read = self._source.thumbnails(batch.pictures)
        return batch.read.get((key[0], key[2]))

    def large(self, key: Key) -> bytes | None:
        """Return the picture as ingest stored it, as JPEG; None if it is gone."""
        shown = self._find(key)
        return None if shown is None else self._source.large(shown[0])

    def _find(self, key: Key) -> tuple[Pictured, _Batch] | None:
        with self._lock:
            shown = self._shown.get(key)
        if shown is None:
            self.show(self._pictures_of(key[0]))
            with self._lock:
                shown = self._shown.get(key)
        return shown

"""The pictures of the review pages, out of thumbnails/ and images/ of the home.

A picture is found by what the database knows of it: product, content, run, date and `picture_at`. What lies there is
shown only if it is of this product and content. Where predict kept no thumbnail, one is made of the stored image; where
no prediction says where that lies, the picture's date is searched. A file that is missing or damaged, or a store that
is away, costs the pictures in it and one line in the log, and nothing else.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from jobs.dataset.stored_images import Unreadable, cells, group_sizes, opened, why_unreadable
from jobs.dataset.thumbnails import PictureAt, decodes, make_thumbnail, parse_picture_at, thumbnail_file
from jobs.review.byte_cache import ByteCache
from jobs.review.file_reads import FileReader, Reads
from jobs.review.picture_search import PictureKey, PictureSearch
from jobs.storage.places import Place, Places
from sql.review.records import Pictured

log = logging.getLogger(__name__)

CACHE_BYTES = 64 * 2**20
"""Bytes of pictures that are kept in memory."""

_KEY = ("product_id", "image_sha256")
_NAME = re.compile(r"[^/\\\0]+")

_Location = tuple[Place, int, int]
"""File, row group and row of a picture."""

_Rows = dict[int, dict[PictureKey, int]]
"""Row numbers by picture, by row group of a file."""

_Read = tuple[dict[PictureKey, bytes], list[tuple[Place, Unreadable]]]
"""Pictures of a file, and the failures of its row groups."""


class Pictures:
    """Finds the pictures of a home; several threads may use it."""

    def __init__(self, places: Places, *, cache_bytes: int = CACHE_BYTES, reader: FileReader | None = None) -> None:
        """Make an empty one; nothing is read before it is asked for pictures.

        Args:
            places: Directories and stores of the home.
            cache_bytes: Most bytes of pictures that are kept in memory.
            reader: Threads that read; None starts some.
        """
        self._places, self._reader = places, reader or FileReader()
        self._search = PictureSearch(places)
        self._thumbnails = ByteCache[PictureKey, bytes](cache_bytes // 2)
        self._large = ByteCache[PictureKey, bytes](cache_bytes // 2)

    def close(self) -> None:
        """Start no further read."""
        self._reader.close()

    def thumbnails(self, pictures: Sequence[Pictured], *, seconds: float | None = None) -> dict[PictureKey, bytes]:
        """Return the thumbnails of pictures, as JPEG with at most `jobs.dataset.thumbnails.LONGEST_PX` a side.

        Args:
            pictures: Pictures of one page.
            seconds: Longest time that this may take; None for the reader's.

        Returns:
            By (product_id, image_sha256); without those that have no picture.
        """
        return self._all(pictures, self._thumbnails, self._kept, _small, seconds=seconds)

    def large(self, picture: Pictured) -> bytes | None:
        """Return the stored image of a picture, as JPEG; None if there is none."""
        return self._all([picture], self._large, lambda _reads, _wanted: {}, _whole).get(_key(picture))

    def _all(
        self,
        pictures: Sequence[Pictured],
        cache: ByteCache[PictureKey, bytes],
        kept: Callable[[Reads, Mapping[PictureKey, Pictured]], dict[PictureKey, bytes]],
        made: Callable[[bytes, int], bytes | None],
        *,
        seconds: float | None = None,
    ) -> dict[PictureKey, bytes]:
        """Return pictures from the cache, of those that predict kept, and of stored images, in this order."""
        wanted = {_key(picture): picture for picture in pictures}
        found = {key: content for key in wanted if (content := cache.get(key)) is not None}
        missing = {key: picture for key, picture in wanted.items() if key not in found}
        if not missing:
            return found
        with self._reader.call(seconds) as reads:
            read = kept(reads, missing)
            read |= self._stored(reads, _without(missing, read), made)
        for key, content in read.items():
            cache.put(key, content, len(content))
        absent = len(missing) - len(read)
        if absent:
            reason = reads.first or "they are not in the dataset"
            log.warning("%s of %s pictures cannot be shown (%s)", absent, len(wanted), reason)
        elif reads.first:
            log.info("pictures are made of the stored images (%s)", reads.first)
        return found | read

    def _kept(self, reads: Reads, wanted: Mapping[PictureKey, Pictured]) -> dict[PictureKey, bytes]:
        """Read the thumbnails that predict kept."""
        where: dict[PictureKey, _Location] = {}
        for key, picture in wanted.items():
            at = _picture_at(reads, picture)
            place = at.thumbnail_place if at else None
            if at and place and _NAME.fullmatch(picture.run_id):
                where[key] = (thumbnail_file(self._places, picture.run_id, picture.ingest_date, at.shard), *place)
        return _read(reads, where, _kept_in)

    def _stored(
        self, reads: Reads, wanted: Mapping[PictureKey, Pictured], made: Callable[[bytes, int], bytes | None]
    ) -> dict[PictureKey, bytes]:
        """Read pictures out of the dataset: where their prediction says that they lie, else by a search."""
        where: dict[PictureKey, _Location] = {}
        for key, picture in wanted.items():
            at = _picture_at(reads, picture)
            if at:
                day = self._places.partition(self._places.images, picture.ingest_date)
                where[key] = (day / at.shard, at.group, at.row)
        read = partial(_stored_in, made=made)
        found = _read(reads, where, read)
        unfound = _without(wanted, found)
        if unfound:
            dated = ((key, picture.ingest_date) for key, picture in unfound.items())
            found |= _read(reads, self._search.find(reads, dated), read)
        return found


def _key(picture: Pictured) -> PictureKey:
    return picture.product_id, picture.image_sha256


def _without(pictures: Mapping[PictureKey, Pictured], found: Iterable[PictureKey]) -> dict[PictureKey, Pictured]:
    known = set(found)
    return {key: picture for key, picture in pictures.items() if key not in known}


def _picture_at(reads: Reads, picture: Pictured) -> PictureAt | None:
    """Return where a prediction says that its picture lies; None if it does not say it, or not in our own form."""
    try:
        return parse_picture_at(picture.picture_at) if picture.picture_at else None
    except ValueError as error:
        reads.fail(str(error))
        return None


def _read(
    reads: Reads, where: Mapping[PictureKey, _Location], read: Callable[[Place, _Rows], _Read]
) -> dict[PictureKey, bytes]:
    """Read pictures at these places, each file once, and note what cannot be read."""
    files: dict[Place, _Rows] = {}
    for key, (file, group, row) in where.items():
        files.setdefault(file, {}).setdefault(group, {})[key] = row
    found: dict[PictureKey, bytes] = {}
    for pictures, failures in reads.each(read, files) if files else ():
        found |= pictures
        for file, why in failures:
            reads.note(file, why)
    return found


def _kept_in(file: Place, groups: _Rows) -> _Read:
    """Read thumbnails out of a file of thumbnails."""
    return _checked(file, groups, ("thumbnail",), lambda thumbnail: thumbnail if decodes(thumbnail) else None)


def _stored_in(file: Place, groups: _Rows, *, made: Callable[[bytes, int], bytes | None]) -> _Read:
    """Read images out of a file of the dataset, and make of each what the page shows."""
    columns = ("jpeg", "width_px", "height_px")
    return _checked(file, groups, columns, lambda jpeg, width_px, height_px: made(jpeg, max(width_px, height_px)))


def _checked(file: Place, groups: _Rows, columns: Sequence[str], made: Callable[..., bytes | None]) -> _Read:
    """Read rows of a file; one of another product or content is no picture, and a damaged row group loses its own."""
    found: dict[PictureKey, bytes] = {}
    failures: list[tuple[Place, Unreadable]] = []
    with opened(file) as parquet:
        sizes = group_sizes(parquet)
        for group, wanted in groups.items():
            rows = {key: row for key, row in wanted.items() if group < len(sizes) and row < sizes[group]}
            try:
                read = cells(parquet, group, list(rows.values()), (*_KEY, *columns)) if rows else []
            except Exception as error:
                why = why_unreadable(error, file)
                if why is None or why.away:
                    raise
                failures.append((file, why))
                continue
            for key, (product_id, content, *values) in zip(rows, read, strict=True):
                picture = made(*values) if (product_id, content) == key else None
                if picture is not None:
                    found[key] = picture
    return found, failures


def _small(jpeg: bytes, longest_px: int) -> bytes | None:
    return make_thumbnail(jpeg, longest_px=longest_px)


def _whole(jpeg: bytes, _longest_px: int) -> bytes | None:
    return jpeg if decodes(jpeg) else None

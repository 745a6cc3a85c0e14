"""Image partitions that nobody needs any more: whole ingest dates of images/ of which no picture is needed.

A picture is needed if it is that of a present position, if it is that of a position that has left since less than
`keep_days`, or if its product has left and has an answer, of a run or of a person: the answer stands when the product
returns. The picture that a row `unchanged` of seen/ refers to is needed too: ingest takes such a row as proof that the
bytes are here. `jobs.dataset.presence` defines the terms. A date within the last `keep_days` is kept, whatever is on
it, and so is every date from which a training in progress reads.

What is deleted are bytes of pictures that a newer one has replaced, or that have left long ago. Before a file of
images/ is deleted, what it says is written to small files of the same date:
- catalog_rows/ receives each catalog row, so that labels, groups and ingest still know it.
- seen/ receives each row as one with the outcome `named`, with uri, sha256, size, modification time and version. So
  each catalog still names what it has named, and the part that owns a picture stays the same. Such a row is no content:
  if the image returns to a catalog, ingest fetches and stores it again, as its bytes are no longer here.
A catalog that names a position has its picture at that position in images/, so nothing that it names now is fetched
again. If the process is killed, some files have both rows and bytes, which changes nothing; the next prune goes on.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from typing import Any

from jobs.dataset.partitions import partition_dates
from jobs.dataset.presence import IMAGE_COLUMNS, CurrentImages, read_seen
from jobs.dataset.schema import CATALOG_ROWS, SEEN
from jobs.dataset.shards import ShardWriter, columns_of, ingest_date_of, shards
from jobs.housekeeping.files import remove
from jobs.housekeeping.records import Records
from jobs.storage.places import Place, Places

_ASK = 5000
_SEEN_OF_IMAGES = tuple(name for name in SEEN.names if name not in ("outcome", "reason", "detail", "counts_from"))
_KEPT = tuple(dict.fromkeys((*_SEEN_OF_IMAGES, *CATALOG_ROWS.names)))
_WHOLE_FILE = 2**40


def unneeded_dates(places: Places, records: Records, before: date) -> list[date]:
    """Return the ingest dates whose images nobody needs, in order.

    Args:
        places: Directories and stores of the home.
        records: The product database.
        before: Night before which a date must be, and before which what is not needed must have left.

    Raises:
        RunFailed: If a file is damaged, or was written by another version; the message names the remedy.
    """
    dates = partition_dates(places.images, date.min, date.max)
    old = {day for day in dates if day < before} - set(_dates_of_trainings(places))
    if not old:
        return []
    current = CurrentImages()
    for _ in read_seen(shards(places.seen, partition_dates(places.seen, date.min, date.max)), current):
        pass
    for shard, columns in columns_of(shards(places.images, dates), IMAGE_COLUMNS):
        current.note_images(ingest_date_of(shard), columns, shard)
    return sorted(old - _needed_dates(current, records, before))


def _needed_dates(current: CurrentImages, records: Records, before: date) -> set[date]:
    """Return the ingest dates of all needed pictures."""
    needed = {row.ingest[0] for row in current.read_again()}
    absent: defaultdict[str, list[date]] = defaultdict(list)
    there = set()
    for image in current.all():
        left_at, day = current.left_at(image.product_id, image.image_no), image.stored.ingest[0]
        if left_at is None or left_at >= before:
            needed.add(day)
        if left_at is None:
            there.add(image.product_id)
        elif left_at < before:
            absent[image.product_id].append(day)
    gone = [product_id for product_id in absent if product_id not in there]
    for start in range(0, len(gone), _ASK):
        for product_id in records.with_answer(gone[start : start + _ASK]):
            needed.update(absent[product_id])
    return needed


def _dates_of_trainings(places: Places) -> Iterator[date]:
    """Yield the ingest dates of the files from which trainings in progress read; a damaged record is passed over."""
    from jobs.training.training_record import RECORD

    for record in places.local_home.glob(f"training/*/{RECORD}"):
        try:
            names = json.loads(record.read_text(encoding="utf-8"))["files"]
            days = [date.fromisoformat(name.split("/")[-2].removeprefix("ingest_date=")) for name in names]
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
        yield from days


def delete_images(places: Places, file: Place) -> None:
    """Write what the rows of a file of images/ say to seen/ and catalog_rows/, and then delete the file.

    Raises:
        RunFailed: If the file is damaged or cannot be deleted; the message names the remedy.
        StoreError: If a disk is full or a store cannot be written; then the file is still there.
    """
    day = ingest_date_of(file)
    for _, columns in columns_of([file], _KEPT):
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        named: dict[str, Any] = {"outcome": "named", "reason": None, "detail": None, "counts_from": None}
        for root, schema, more in ((places.seen, SEEN, named), (places.catalog_rows, CATALOG_ROWS, {})):
            writer = ShardWriter(places.partition(root, day), schema, shard_bytes=_WHOLE_FILE)
            for row in rows:
                writer.add({**row, **more})
            writer.flush()
    remove([file])

"""What nights publish beside predictions: which images catalogs name, and pictures that products had before.

The events are rows under seen/ of the home. A night publishes those of its own date and of earlier dates whose night
was never published, or was read again since and not published: they would be lost otherwise, because ingest records
each event once. The same holds for changed catalog rows, such as new titles. Backfills publish none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.dataset.partitions import dates_below
from jobs.dataset.shards import (
    check_columns,
    highest_ingest_no,
    ingest_date_of,
    read_errors_explained,
    rows_of,
    shards,
    with_later_columns,
)
from jobs.runs.config import RunConfig
from jobs.runs.inputs import RunInputs
from jobs.storage.places import Place, Places
from jobs.storage.stores import on_disk
from sql.records import IMAGE_CHANGE_COLUMNS, IMAGE_CHANGES, PUBLISHED
from sql.run_history import published_nights

if TYPE_CHECKING:
    from sql.store import ProductDatabase

_BATCH_ROWS = 10_000
_DATES_AT_ONCE = 8
_READ = ("product_id", "image_no", "image_sha256", "ingest_no", "outcome", "catalog_name", "counts_from")


def unpublished_nights(database: ProductDatabase, places: Places, run: RunConfig) -> dict[date, int]:
    """Find the earlier ingest dates whose night was not published, or was read again since and not published.

    A night that is read again, with a mended catalog, may fail before publish. Its run stays published, and later
    nights record nothing of what it has recorded. So the highest ingest_no under seen/ and catalog_rows/ is compared
    with the one that was published. Nights that earlier versions published count as published whole.

    Args:
        database: Migrated database.
        places: Directories and stores of the home.
        run: The run; one that is no night has none.

    Returns:
        Maps each date, in order, to the highest ingest_no of its rows there.

    Raises:
        RunFailed: If a file under seen/ or catalog_rows/ is damaged; the message names the remedy.
    """
    if run.kind != "nightly":
        return {}
    published = published_nights(database)
    dates = sorted(day for day in {*dates_below(places.seen), *dates_below(places.catalog_rows)} if day < run.run_date)

    def missing(day: date) -> int:
        """Return the highest ingest_no of a date, 0 if all of it is published."""
        known = published.get(day, 0)
        if known is None:
            return 0
        files = (file for root in (places.seen, places.catalog_rows) for file in shards(root, [day]))
        highest = max(map(highest_ingest_no, files), default=0)
        return highest if highest > known else 0

    with ThreadPoolExecutor(_DATES_AT_ONCE) as threads:  # a store answers several questions at once
        return {day: highest for day, highest in zip(dates, threads.map(missing, dates), strict=True) if highest}


def published_note(run: RunConfig, inputs: RunInputs, earlier: Mapping[date, int]) -> dict[str, Any]:
    """Return the part of a night's summary by which `unpublished_nights` knows what was published; empty for others.

    Args:
        run: The run.
        inputs: What it has read.
        earlier: What `unpublished_nights` has found, and the night publishes too.
    """
    if run.kind != "nightly":
        return {}
    taken = {"earlier": {day.isoformat(): number for day, number in earlier.items()}} if earlier else {}
    return {PUBLISHED: {"ingest_no": inputs.ingest_no, **taken}}


def image_changes(files: Sequence[Place]) -> Iterator[list[tuple[Any, ...]]]:
    """Stream the image changes of files under seen/, in batches of rows with the columns of `IMAGE_CHANGE_COLUMNS`.

    Raises:
        RunFailed: If a file is damaged, or was written by another version; the message names the remedy.
    """
    for path in files:
        with on_disk(path) as copy, read_errors_explained(path):
            rows = rows_of(copy)
            check_columns(path, rows.schema.names, _READ)
            wanted = pc.field("outcome").isin(list(IMAGE_CHANGES))
            scanner = with_later_columns(rows).scanner(columns=list(_READ), filter=wanted, batch_size=_BATCH_ROWS)
            for batch in scanner.to_batches():
                if batch.num_rows:
                    yield _rows(batch, ingest_date_of(path))


def _rows(batch: pa.RecordBatch, ingest_date: date) -> list[tuple[Any, ...]]:
    """Return rows to stage. What counts from a later night is older than all that this night's own ingests say."""
    later = pc.cast(batch["counts_from"], pa.date32())
    columns = {
        **{name: batch[name] for name in ("product_id", "image_no", "outcome", "image_sha256")},
        "catalog_name": pc.fill_null(batch["catalog_name"], ""),
        "changed_on": pc.fill_null(later, ingest_date),
        "ingest_no": pc.if_else(pc.is_valid(later), 0, batch["ingest_no"]),
    }
    unchanged = pc.equal(columns["outcome"], "unchanged")
    columns["image_sha256"] = pc.if_else(unchanged, columns["image_sha256"], None)
    return list(zip(*(columns[name].to_pylist() for name in IMAGE_CHANGE_COLUMNS), strict=True))

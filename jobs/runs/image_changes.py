"""What nights publish beside predictions: which images catalogs name, and pictures that products had before.

The events are rows under seen/ of the home. A night publishes those of its own date and of earlier dates whose night
was never published: they would be lost otherwise. Backfills publish none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.dataset.partitions import dates_below
from jobs.dataset.shards import check_columns, ingest_date_of, read_errors_explained, with_later_columns
from jobs.runs.config import RunConfig
from jobs.storage.places import Place, Places
from jobs.storage.stores import on_disk
from sql.records import IMAGE_CHANGE_COLUMNS, IMAGE_CHANGES
from sql.run_history import published_nights

if TYPE_CHECKING:
    from sql.store import ProductDatabase

_BATCH_ROWS = 10_000
_READ = ("product_id", "image_no", "image_sha256", "ingest_no", "outcome", "catalog_name", "counts_from")


def unpublished_nights(database: ProductDatabase, places: Places, run: RunConfig) -> list[date]:
    """List the earlier ingest dates whose night was not published.

    Args:
        database: Migrated database.
        places: Directories and stores of the home.
        run: The run; one that is no night has none.
    """
    if run.kind != "nightly":
        return []
    published = published_nights(database)
    dates = {*dates_below(places.seen), *dates_below(places.catalog_rows)}
    return sorted(day for day in dates if day < run.run_date and day not in published)


def image_changes(files: Sequence[Place]) -> Iterator[list[tuple[Any, ...]]]:
    """Stream the image changes of files under seen/, in batches of rows with the columns of `IMAGE_CHANGE_COLUMNS`.

    Raises:
        RunFailed: If a file is damaged, or was written by another version; the message names the remedy.
    """
    for path in files:
        with on_disk(path) as copy, read_errors_explained(path):
            rows = ds.dataset(copy)
            check_columns(path, rows.schema.names, _READ)
            wanted = ds.field("outcome").isin(list(IMAGE_CHANGES))
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

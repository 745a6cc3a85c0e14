"""The part of ingest that runs in a task: read the images of some rows, and write what was found to the dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from jobs.dataset.schema import CATALOG_ROWS, IMAGES, SEEN
from jobs.dataset.shards import ShardWriter
from jobs.images.normalise import Rejected
from jobs.ingest.config import IngestConfig
from jobs.ingest.decoding import DecodingLimits, GuardedDecoder
from jobs.ingest.sources import Source, SourceReader, is_remote
from jobs.storage.places import Place

COUNTS = ("files", "stored", "unchanged", "rejected", "source_bytes")
"""Counts of a task."""

Row = Mapping[str, Any]


def read_and_store(
    rows: Iterator[Row], config: IngestConfig, *, base: Place, tasks_per_host: int = 1, ingest_no: int = 1
) -> dict[str, int]:
    """Ingest some rows in a task: read, verify, normalise and write their images; works without Spark too.

    Args:
        rows: Changed rows, as `changed_rows` returns them, with `former_sha256s` if the product has had pictures.
        config: Dataset to write and limits for web servers.
        base: Directory to which relative image_uris are relative.
        tasks_per_host: Tasks that may send requests to the same web server at a time, this one included.
        ingest_no: Number of this ingest among those of its date, as `next_ingest_no` returns it.

    Returns:
        Counts of `files` written, of images `stored`, `unchanged` and `rejected`, and `source_bytes` read.
    """
    writers = _Writers.of(config)
    reader = SourceReader(base, config.http, home=config.places.home, tasks=tasks_per_host)
    same = {"ingest_no": ingest_no, "catalog_name": config.name}
    with GuardedDecoder(DecodingLimits.for_megapixels(config.max_megapixels)) as decoder:
        for row, source in reader.read(_to_read(({**row, **same} for row in rows), writers)):
            _store(row, source, writers, decoder, remote=is_remote(row["image_uri"], base))
    return writers.close()


@dataclass(frozen=True)
class _Writers:
    """The writers of a task, and its counts."""

    images: ShardWriter
    seen: ShardWriter
    catalog_rows: ShardWriter
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))

    @classmethod
    def of(cls, config: IngestConfig) -> _Writers:
        """Return the writers of a date's partition."""
        places = config.places

        def writer(root: Place, schema: pa.Schema) -> ShardWriter:
            return ShardWriter(places.partition(root, config.ingest_date), schema, shard_bytes=config.shard_bytes)

        return cls(writer(places.images, IMAGES), writer(places.seen, SEEN), writer(places.catalog_rows, CATALOG_ROWS))

    def close(self) -> dict[str, int]:
        """Write what is left, and return the counts."""
        for writer in (self.images, self.seen, self.catalog_rows):
            writer.flush()
            self.counts["files"] += writer.files
        return self.counts


def _to_read(rows: Iterator[Row], writers: _Writers) -> Iterator[Row]:
    """Yield the rows whose image must be read; on the way write events and changed catalog rows, and count the rest."""
    for row in rows:
        for event in row.get("events") or ():
            writers.seen.add({**row, **_record(Source()), **event})
        if row["catalog_row_changed"]:
            writers.catalog_rows.add(row)
        if row["to_read"]:
            yield row
        elif row.get("in_catalog", True):
            writers.counts["unchanged"] += 1


def _store(row: Row, source: Source, writers: _Writers, decoder: GuardedDecoder, *, remote: bool) -> None:
    """Write one image that was read, or why it cannot be used."""
    counts, record = writers.counts, _record(source)
    try:
        if source.rejection is not None:
            raise source.rejection
        if source.data is None:  # the server answered that the image has not changed: there is nothing to record
            counts["unchanged"] += 1
            return
        counts["source_bytes"] += len(source.data)
        record["image_sha256"] = hashlib.sha256(source.data).hexdigest()
        known = record["image_sha256"] == row["known_sha256"]
        if known or record["image_sha256"] in (row.get("former_sha256s") or ()):
            if not known or not remote or source.version != row["known_source_version"]:
                writers.seen.add({**row, **record, "outcome": "unchanged"})
            _add_new_row(row, writers)
            counts["unchanged"] += 1
            return
        image = decoder.normalise(source.data)
    except Rejected as rejection:
        _reject(row, record, rejection, writers, remote=remote)
        return
    writers.images.add({**row, **record, "width_px": image.width_px, "height_px": image.height_px, "jpeg": image.jpeg})
    counts["stored"] += 1


def _reject(row: Row, record: Row, rejection: Rejected, writers: _Writers, *, remote: bool) -> None:
    """Write why an image cannot be used."""
    if remote and rejection.reason == row["known_reason"]:
        writers.counts["unchanged"] += 1  # a link that fails as before is not recorded again every night
        return
    rejected = {"outcome": "rejected", "reason": rejection.reason, "detail": rejection.detail}
    writers.seen.add({**row, **record, **rejected})
    _add_new_row(row, writers)
    writers.counts["rejected"] += 1


def _add_new_row(row: Row, writers: _Writers) -> None:
    """Write the catalog row of a position that is new and gets no image: one in images/ has the row with it."""
    if not row.get("is_known") and not row["catalog_row_changed"]:
        writers.catalog_rows.add(row)


def _record(source: Source) -> dict[str, Any]:
    """Return the columns that record the source, the time of reading and (to be filled in) the outcome."""
    return {
        "source_size_bytes": source.size_bytes,
        "source_mtime_ns": source.mtime_ns,
        "source_version": source.version,
        "image_sha256": None,
        "seen_at_utc": datetime.now(UTC),
        "reason": None,
        "detail": None,
        "counts_from": None,
    }

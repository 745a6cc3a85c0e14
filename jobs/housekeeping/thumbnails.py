"""Thumbnails that nobody needs any more: those of runs whose prediction files are deleted too.

A file of thumbnails stays while one of its pictures belongs to an answer that waits for a person. It is deleted by a
later prune, when the last of them is decided, replaced or gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path

from jobs.dataset.thumbnails import parse_picture_at
from jobs.housekeeping.files import remove
from jobs.housekeeping.records import Records
from jobs.storage.places import Place, Places
from jobs.storage.stores import children


def unneeded_thumbnails(places: Places, records: Records, published: Collection[str]) -> Iterator[list[Place]]:
    """Yield the files of thumbnails that nobody needs, by run and date.

    Args:
        places: Directories and stores of the home.
        records: The product database.
        published: run_id of the runs whose prediction files are deleted.
    """
    runs = children(places.thumbnails("").parent, "run_id=*")
    old = {run_id: directory for directory in runs if (run_id := directory.name.removeprefix("run_id=")) in published}
    if not old:
        return
    needed: defaultdict[tuple[str, date], set[str]] = defaultdict(set)
    for run_id, day, picture_at in records.waiting_pictures(old):
        with suppress(ValueError):  # not written by predict, so that there is no thumbnail
            at = parse_picture_at(picture_at)
            if at.thumbnail_row is not None:
                needed[run_id, day].add(at.shard)
    for run_id, directory in old.items():
        for partition in children(directory, "ingest_date=*"):
            kept = needed[run_id, date.fromisoformat(partition.name.removeprefix("ingest_date="))]
            files = [file for file in children(partition, "part-*.parquet") if file.name not in kept]
            if files:
                yield files


def delete_thumbnails(file: Place) -> None:
    """Delete a file of thumbnails, and the local directories of its date and run if they are empty then."""
    remove([file])
    if isinstance(file, Path):
        with suppress(OSError):  # another date is in it
            file.parent.parent.rmdir()

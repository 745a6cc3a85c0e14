"""Which full catalogs were read for which night: the directory catalogs/ of the home.

A full catalog leaves one small file a night, named by the hash of the catalog's name. So one look at a file's name
answers whether a catalog was read in full for a night.
"""

from __future__ import annotations

import hashlib
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.dataset.partitions import dates_below
from jobs.dataset.schema import CATALOGS
from jobs.dataset.shards import read_errors_explained, shards, whole_file, whole_table
from jobs.storage.places import Place, Places
from jobs.storage.stores import is_file

_NAMES_SHOWN = 10


def keep_full_catalog(places: Places, day: date, catalog_name: str) -> None:
    """Record that a full catalog was read for a night; a file that is there stays as it is."""
    file = _file(places, day, catalog_name)
    if not is_file(file):
        with whole_file(file, CATALOGS) as writer:
            writer.write_table(pa.Table.from_pylist([{"catalog_name": catalog_name}], CATALOGS))


def next_full_night(places: Places, day: date, catalog_name: str) -> date | None:
    """Return the earliest later night for which a catalog was read in full; None if `day` is not late."""
    later = (night for night in _nights(places) if night > day)
    return next((night for night in later if is_file(_file(places, night, catalog_name))), None)


def last_full_night(places: Places, day: date, catalog_name: str) -> date | None:
    """Return the latest night up to `day` for which a catalog was read in full; None if there is none."""
    earlier = (night for night in reversed(_nights(places)) if night <= day)
    return next((night for night in earlier if is_file(_file(places, night, catalog_name))), None)


def was_read_in_full(places: Places, catalog_name: str) -> bool:
    """Return whether a catalog was ever read in full."""
    return last_full_night(places, date.max, catalog_name) is not None


def full_catalog_names(places: Places) -> list[str]:
    """Return the names of the catalogs that were read in full, at most ten, those of the latest nights."""
    names: dict[str, None] = {}
    for night in reversed(_nights(places)):
        for file in shards(places.catalogs, [night]):
            with read_errors_explained(file):
                names |= dict.fromkeys(whole_table(file, pq.read_table)["catalog_name"].to_pylist())
        if len(names) >= _NAMES_SHOWN:
            break
    return sorted(list(names)[:_NAMES_SHOWN])


def _nights(places: Places) -> list[date]:
    return dates_below(places.catalogs)


def _file(places: Places, day: date, catalog_name: str) -> Place:
    digest = hashlib.sha256(catalog_name.encode()).hexdigest()
    return places.partition(places.catalogs, day) / f"part-{digest[:16]}.parquet"

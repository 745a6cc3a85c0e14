"""Pictures of a run's products, out of the dataset: few row groups are read, however many images there are.

Of each dataset file only the columns that name an image are read, and of at most `FILES` files, the newest dates
first; then the row groups that hold a chosen image. What is shown is encoded anew, small, within a budget of bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from upath import UPath

from jobs.dataset.shards import shards
from jobs.pages.html import thumbnail
from jobs.storage.places import Places
from sql.named_queries import run_query
from sql.store import ProductDatabase

log = logging.getLogger(__name__)

FILES = 256
"""Dataset files that are looked through; of 64 MB each, half a million photographs."""

SAMPLE = 20_000
"""Products among which the examples of the categories are chosen."""

LONGEST_PX = 144
_KEYS = ["product_id", "image_no", "title"]
_ASK = 1000


@dataclass(frozen=True)
class Place:
    """Where an image lies: in which file, in which of its row groups, and in which row of that."""

    file: Path | UPath
    group: int
    row: int
    image_no: int
    title: str


@dataclass
class Found:
    """What looking through the dataset gave.

    Attributes:
        places: By product_id, where its first image is.
        sample: Products of the newest date, in the dataset's order.
        files: Files of the dates in question.
        files_read: How many of them were looked through.
    """

    places: dict[str, Place] = field(default_factory=dict)
    sample: list[str] = field(default_factory=list)
    files: int = 0
    files_read: int = 0


@dataclass(frozen=True)
class Picture:
    """A product to look at: a small image as a data: URI, and the catalog's title, which may be empty."""

    uri: str
    title: str


def look_up(places: Places, dates: Iterable[date], wanted: Collection[str], *, newest: date) -> Found:
    """Find where the images of some products lie, and some of a date's products.

    Args:
        places: Where state lives.
        dates: Ingest dates to look at, the newest first.
        wanted: Products to find.
        newest: The date of whose products a sample is taken.

    Returns:
        What was found; nothing where the images are no longer on disk.
    """
    found, missing = Found(), set(wanted)
    every = [file for day in sorted(set(dates), reverse=True) for file in shards(places.images, [day])]
    found.files = len(every)
    for file in every[:FILES]:
        sampling = file.parent.name == f"ingest_date={newest}" and len(found.sample) < SAMPLE
        if not missing and not sampling:
            continue
        found.files_read += 1
        for product_id, place in _keys(file, None if sampling else missing):
            known = found.places.get(product_id)
            if known is None and sampling:
                found.sample.append(product_id)
            if known is None or place.image_no < known.image_no:
                found.places[product_id] = place
        missing -= found.places.keys()
    return found


def _keys(file: Path | UPath, wanted: Collection[str] | None) -> Iterator[tuple[str, Place]]:
    """Yield each image's product and place, or only those of some products; a file that cannot be read has none."""
    try:
        with file.open("rb") as source, pq.ParquetFile(source) as parquet:
            sizes = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
            table = parquet.read(columns=_KEYS)
    except (OSError, pa.ArrowException) as error:
        log.warning("report: %s cannot be read (%s); its images are left out", file, error)
        return
    at = [(group, row) for group, size in enumerate(sizes) for row in range(size)]
    if wanted is not None:
        mask = pc.is_in(table.column("product_id"), value_set=pa.array(sorted(wanted), pa.string()))
        at = [place for place, chosen in zip(at, mask.to_pylist(), strict=True) if chosen]
        table = table.filter(mask)
    columns = (table.column(name).to_pylist() for name in _KEYS)
    for (group, row), product_id, image_no, title in zip(at, *columns, strict=True):
        yield product_id, Place(file, group, row, image_no, title or "")


def pictures(found: Found, products: Sequence[str], *, budget_bytes: int) -> dict[str, Picture]:
    """Make small pictures.

    Args:
        found: Of `look_up`.
        products: The most important first.
        budget_bytes: Of all their data: URIs; what comes after it is spent has no picture.

    Returns:
        By product.
    """
    chosen = [product_id for product_id in dict.fromkeys(products) if product_id in found.places]
    groups: dict[tuple[Path | UPath, int], list[str]] = {}
    for product_id in chosen:
        place = found.places[product_id]
        groups.setdefault((place.file, place.group), []).append(product_id)
    made: dict[str, Picture] = {}
    for (file, group), members in groups.items():
        for product_id, jpeg in zip(members, _images(file, group, [found.places[m].row for m in members]), strict=True):
            uri = thumbnail(jpeg, longest_px=LONGEST_PX)
            if uri:
                made[product_id] = Picture(uri, found.places[product_id].title)
    within: dict[str, Picture] = {}
    for product_id in chosen:
        picture = made.get(product_id)
        if picture is None:
            continue
        budget_bytes -= len(picture.uri)
        if budget_bytes < 0:
            break
        within[product_id] = picture
    return within


def _images(file: Path | UPath, group: int, rows: Sequence[int]) -> list[bytes]:
    try:
        with file.open("rb") as source, pq.ParquetFile(source) as parquet:
            column = parquet.read_row_group(group, columns=["jpeg"]).column("jpeg")
            return [column[row].as_py() for row in rows]
    except (OSError, IndexError, pa.ArrowException) as error:
        log.warning("report: %s cannot be read (%s); its images are left out", file, error)
        return [b""] * len(rows)


def examples(
    database: ProductDatabase, sample: Sequence[str], categories: Sequence[str], *, each: int
) -> Mapping[str, list[dict[str, Any]]]:
    """Choose products of each category by what they are now.

    Args:
        database: Asked for some thousand products by their key at most.
        sample: Products to choose from.
        categories: Whose examples are wanted.
        each: Of each category at most.

    Returns:
        By category, rows of `current_of_products`.
    """
    chosen: dict[str, list[dict[str, Any]]] = {category_id: [] for category_id in categories}
    lacking = set(categories)
    for start in range(0, len(sample), _ASK):
        if not lacking:
            break
        result = run_query(database, "current_of_products", {"product_ids": list(sample[start : start + _ASK])})
        rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
        order = {product_id: place for place, product_id in enumerate(sample[start : start + _ASK])}
        for row in sorted(rows, key=lambda row: order[row["product_id"]]):
            if row["category_id"] in lacking:
                chosen[row["category_id"]].append(row)
                if len(chosen[row["category_id"]]) == each:
                    lacking.discard(row["category_id"])
    return chosen

"""The gallery of a report: which categories and products it shows, and small pictures of these from the dataset.

The search reads only the key columns of at most `FILES` dataset files, newest dates first. Then the few row groups with
the selected images are read, and the images are encoded again as thumbnails within a byte budget. A product is shown
with a picture of the report's dates that it has now, or with that of its night if it has none of them any more; a
product that has left has no picture. Files that cannot be read are noted, and the report is written without them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.dataset.schema import IMAGE_KEY
from jobs.dataset.shards import shards
from jobs.dataset.stored_images import cells, opened, positions, why_unreadable
from jobs.pages.html import thumbnail
from jobs.report.facts import CategoryShare, Facts
from jobs.storage.faults import masked
from jobs.storage.places import Place, Places
from sql.named_queries import run_query
from sql.selection import present_pictures
from sql.store import ProductDatabase

log = logging.getLogger(__name__)

FILES = 256
"""Most dataset files that are searched; with 64 MB each they contain half a million photographs."""

SAMPLE = 20_000
"""Most products from which the examples of the categories are selected."""

PICTURE_BYTES = 2_200_000
"""Bytes of all pictures of a page, so that the page stays below 3 MB: its texts are limited in number and length."""

CATEGORIES = 40
_FEW_CATEGORIES, _EXAMPLES_OF_FEW, _EXAMPLES_OF_MANY = 16, 8, 5

LONGEST_PX = 144
_COLUMNS = [*IMAGE_KEY, "title"]
_ASK = 1000


@dataclass(frozen=True)
class ImageLocation:
    """Where the search for a report's pictures found an image: file, row group and row; with its key and title."""

    file: Place
    group: int
    row: int
    image_no: int
    image_sha256: str
    title: str


@dataclass
class FoundImages:
    """Result of the search for a report's pictures in the dataset.

    Attributes:
        places: Maps product_id to the location of its first image; after `show_current`, of the first that it has now.
        images: Maps product_id to the locations of all its images, the newest date first.
        sample: Products of the newest date, in the order of the dataset.
        files: Number of dataset files of the given dates.
        files_read: Number of these files that were searched.
        unreadable: Maps what could not be read to the reason: a file by its date and name, or the directory of images.
        away: Whether a store did not answer; then no further file in it is tried, because each try takes seconds.
    """

    places: dict[str, ImageLocation] = field(default_factory=dict)
    images: dict[str, list[ImageLocation]] = field(default_factory=dict)
    sample: list[str] = field(default_factory=list)
    files: int = 0
    files_read: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    away: bool = False

    @contextmanager
    def noting(self, where: Place, part: str = "") -> Iterator[None]:
        """Note a file or directory that a block cannot read, because it is damaged or its store is away, and go on.

        Args:
            where: File or directory that the block reads.
            part: Which part of it the block reads; by default all of it.
        """
        try:
            yield
        except Exception as error:
            why = why_unreadable(error, where)
            if why is None:
                raise  # a bug of this program
            name = f"{part} of {masked(where)}" if part else masked(where)
            log.warning("report: %s cannot be read (%s); its images are left out", name, why.reason)
            self.unreadable.setdefault("/".join(where.parts[-2:]), why.reason)
            self.away = self.away or why.away

    def show_current(self, present: Mapping[str, Sequence[str]]) -> None:
        """Replace the picture of each product by the first of the found ones that it has now.

        A product that has left has none. One whose present pictures are all of other dates keeps that of its night.

        Args:
            present: Maps product_id to the image_sha256 of its pictures, in order; other products keep theirs.
        """
        for product_id, contents in present.items():
            found = {place.image_sha256: place for place in reversed(self.images.get(product_id, []))}
            current = next((found[content] for content in contents if content in found), None)
            if current is not None:
                self.places[product_id] = current
            elif not contents:
                self.places.pop(product_id, None)


@dataclass(frozen=True)
class Picture:
    """Picture of a product in a report: a thumbnail as a data: URI, and the catalog's title, which may be empty."""

    uri: str
    title: str


@dataclass(frozen=True)
class Gallery:
    """The gallery of a report: categories and product pictures.

    Attributes:
        shares: Categories to show.
        examples: Maps category_id to products of this category that have a picture.
        pictures: Maps product_id to its picture.
        search: Result of the search in the dataset, with the number of files that were searched.
    """

    shares: Sequence[CategoryShare]
    examples: Mapping[str, Sequence[Mapping[str, Any]]]
    pictures: Mapping[str, Picture]
    search: FoundImages


def build_gallery(database: ProductDatabase, places: Places, facts: Facts) -> Gallery:
    """Select the categories and products that a report shows, and make the pictures of the products."""
    shown = _shown(facts)
    highlights = [*facts.moved, *facts.least_certain]
    wanted = list(dict.fromkeys(row["product_id"] for row in highlights))
    newest = max([row["ingest_date"] for row in highlights], default=facts.run["run_date"])
    newest = newest if facts.run["kind"] != "nightly" else facts.run["run_date"]
    dates = {facts.run["run_date"], *(row["ingest_date"] for row in highlights)}
    found = find_images(places, dates, wanted, newest=newest) if facts.published else FoundImages()
    each = _EXAMPLES_OF_FEW if len(shown) <= _FEW_CATEGORIES else _EXAMPLES_OF_MANY
    ids = [share.category_id for share in shown if share.category_id and share.images]
    chosen = examples(database, found.sample, ids, each=each)
    # One product of each category in turn: if the byte budget ends early, every category has some pictures.
    turns = [rows[turn]["product_id"] for turn in range(each) for rows in chosen.values() if turn < len(rows)]
    found.show_current(present_pictures(database, [*wanted, *turns]))
    made = pictures(found, [*wanted, *turns], budget_bytes=PICTURE_BYTES)
    with_pictures = {
        category_id: [row for row in rows if row["product_id"] in made] for category_id, rows in chosen.items()
    }
    return Gallery(shown, with_pictures, made, found)


def _shown(facts: Facts) -> list[CategoryShare]:
    """Return the categories with an unusual share, and the largest other ones, at most `CATEGORIES`."""
    unusual = facts.unusual[: CATEGORIES // 4]
    largest = [share for share in facts.shares if share not in unusual and (share.images or not facts.images)]
    chosen = [*unusual, *largest[: CATEGORIES - len(unusual)]]
    return sorted(chosen, key=lambda share: (-share.images, -share.reference_images, share.category_id or ""))


def find_images(places: Places, dates: Iterable[date], wanted: Collection[str], *, newest: date) -> FoundImages:
    """Find the images of products to picture in a report, and a sample of one date's products, in the dataset.

    Args:
        places: Directories and stores of the home.
        dates: Ingest dates to search; the newest are searched first.
        wanted: product_id of the products to find.
        newest: Date whose products are sampled.

    Returns:
        The locations and the sample; both are empty if the images are no longer on disk.
    """
    found, missing = FoundImages(), set(wanted)
    every: list[Place] = []
    with found.noting(places.images):
        every += [file for day in sorted(set(dates), reverse=True) for file in shards(places.images, [day])]
    found.files = len(every)
    for file in every[:FILES]:
        if found.away:
            break
        sampling = file.parent.name == f"ingest_date={newest}" and len(found.sample) < SAMPLE
        if not missing and not sampling:
            continue
        found.files_read += 1
        keys: list[tuple[str, ImageLocation]] = []
        with found.noting(file):
            keys = _keys(file, None if sampling else missing)
        for product_id, place in keys:
            found.images.setdefault(product_id, []).append(place)
            earlier = found.places.get(product_id)
            if earlier is None and sampling:
                found.sample.append(product_id)
            if earlier is None or place.image_no < earlier.image_no:
                found.places[product_id] = place
        missing -= found.places.keys()
    return found


def _keys(file: Place, wanted: Collection[str] | None) -> list[tuple[str, ImageLocation]]:
    """Return product and location of each image of a file, or of `wanted` products only."""
    with opened(file) as parquet:
        at, table = positions(parquet), parquet.read(columns=_COLUMNS)
    if wanted is not None:
        mask = pc.is_in(table.column("product_id"), value_set=pa.array(sorted(wanted), pa.string()))
        at = [place for place, chosen in zip(at, mask.to_pylist(), strict=True) if chosen]
        table = table.filter(mask)
    columns = (table.column(name).to_pylist() for name in _COLUMNS)
    return [
        (product_id, ImageLocation(file, group, row, image_no, content, title or ""))
        for (group, row), product_id, image_no, content, title in zip(at, *columns, strict=True)
    ]


def pictures(found: FoundImages, products: Sequence[str], *, budget_bytes: int) -> dict[str, Picture]:
    """Make the thumbnails of the products that a report shows.

    Args:
        found: Result of the search.
        products: product_id of the products, the most important first.
        budget_bytes: Size of all data: URIs together; once it is used up, further products get no picture.

    Returns:
        Maps product_id to its picture.
    """
    chosen = [product_id for product_id in dict.fromkeys(products) if product_id in found.places]
    rows: dict[Place, dict[int, dict[str, int]]] = {}
    for product_id in chosen:
        place = found.places[product_id]
        rows.setdefault(place.file, {}).setdefault(place.group, {})[product_id] = place.row
    made: dict[str, Picture] = {}
    for file, groups in rows.items():
        if found.away:
            break
        for product_id, jpeg in _images(found, file, groups):
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


def _images(found: FoundImages, file: Place, groups: Mapping[int, Mapping[str, int]]) -> Iterator[tuple[str, bytes]]:
    """Yield the stored image of each product; what cannot be read is noted and skipped.

    Args:
        found: Result of the search, which notes what cannot be read.
        file: File of the dataset; opened once.
        groups: Maps the number of a row group to its rows by product_id.
    """
    made: list[tuple[str, bytes]] = []
    with found.noting(file), opened(file) as parquet:
        for group, rows in groups.items():
            if found.away:
                break
            with found.noting(file, f"row group {group}"):
                stored = cells(parquet, group, list(rows.values()), ["jpeg"])
                made += [(product_id, jpeg) for product_id, (jpeg,) in zip(rows, stored, strict=True)]
    yield from made


def examples(
    database: ProductDatabase, sample: Sequence[str], categories: Sequence[str], *, each: int
) -> Mapping[str, list[dict[str, Any]]]:
    """Select the products that a report shows as examples of each category, by their present category.

    Args:
        database: Product database; at most the products of the sample are queried, by their key.
        sample: product_id of the products to select from.
        categories: category_id of the categories that need examples.
        each: Most examples per category.

    Returns:
        Maps category_id to rows of the query `current_of_products`.
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

"""Selection of the categories and product pictures that a report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.report.facts import CategoryShare, Facts
from jobs.report.pictures import FoundImages, Picture, examples, find_images, pictures
from jobs.storage.places import Places
from sql.store import ProductDatabase

PICTURE_BYTES = 2_200_000
"""Bytes of all pictures of a page, so that the page stays below 3 MB: its texts are limited in number and length."""

CATEGORIES = 40
_FEW_CATEGORIES, _EXAMPLES_OF_FEW, _EXAMPLES_OF_MANY = 16, 8, 5


@dataclass(frozen=True)
class Gallery:
    """Categories and product pictures of a page.

    Attributes:
        shares: Categories to show.
        examples: Maps category_id to products of this category that have a picture.
        pictures: Maps product_id to its picture.
        found: Result of the search in the dataset, with the number of files that were searched.
    """

    shares: Sequence[CategoryShare]
    examples: Mapping[str, Sequence[Mapping[str, Any]]]
    pictures: Mapping[str, Picture]
    found: FoundImages


def build_gallery(database: ProductDatabase, places: Places, facts: Facts) -> Gallery:
    """Select the categories and products to show, and make the pictures of the products."""
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

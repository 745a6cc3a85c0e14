"""What a report shows beside figures: which categories, and pictures of which products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.report.facts import CategoryShare, Facts
from jobs.report.pictures import Found, Picture, examples, look_up, pictures
from jobs.storage.places import Places
from sql.store import ProductDatabase

PICTURE_BYTES = 2_200_000
"""Bytes of all pictures of a page, so that the page stays below 3 MB: its texts are limited in number and length."""

CATEGORIES = 40
_FEW_CATEGORIES, _EXAMPLES_OF_FEW, _EXAMPLES_OF_MANY = 16, 8, 5


@dataclass(frozen=True)
class Gallery:
    """What a page shows beside figures.

    Attributes:
        shares: The categories that are shown.
        examples: By category_id, products that are there, with a picture each.
        pictures: By product_id.
        found: How far the dataset was looked through.
    """

    shares: Sequence[CategoryShare]
    examples: Mapping[str, Sequence[Mapping[str, Any]]]
    pictures: Mapping[str, Picture]
    found: Found


def hang(database: ProductDatabase, places: Places, facts: Facts) -> Gallery:
    """Choose the categories and products that are shown, and make their pictures."""
    shown = _shown(facts)
    highlights = [*facts.moved, *facts.least_certain]
    wanted = list(dict.fromkeys(row["product_id"] for row in highlights))
    newest = max([row["ingest_date"] for row in highlights], default=facts.run["run_date"])
    newest = newest if facts.run["kind"] != "nightly" else facts.run["run_date"]
    dates = {facts.run["run_date"], *(row["ingest_date"] for row in highlights)}
    found = look_up(places, dates, wanted, newest=newest) if facts.published else Found()
    each = _EXAMPLES_OF_FEW if len(shown) <= _FEW_CATEGORIES else _EXAMPLES_OF_MANY
    ids = [share.category_id for share in shown if share.category_id and share.images]
    chosen = examples(database, found.sample, ids, each=each)
    # In turns, so that a budget that ends early leaves every category some pictures.
    turns = [rows[turn]["product_id"] for turn in range(each) for rows in chosen.values() if turn < len(rows)]
    made = pictures(found, [*wanted, *turns], budget_bytes=PICTURE_BYTES)
    with_pictures = {
        category_id: [row for row in rows if row["product_id"] in made] for category_id, rows in chosen.items()
    }
    return Gallery(shown, with_pictures, made, found)


def _shown(facts: Facts) -> list[CategoryShare]:
    """Return the largest categories, and those whose share is unusual however small they are."""
    unusual = facts.unusual[: CATEGORIES // 4]
    largest = [share for share in facts.shares if share not in unusual and (share.images or not facts.images)]
    chosen = [*unusual, *largest[: CATEGORIES - len(unusual)]]
    return sorted(chosen, key=lambda share: (-share.images, -share.reference_images, share.category_id or ""))

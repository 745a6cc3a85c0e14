"""Nights of products that have the same picture, and what is held back because of it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from sql.records import SharedPictures
from sql.run_history import find_run
from sql.store import ProductDatabase
from tests.sql.runs import answer, picture_of, prediction, product

SHARED = picture_of("", "shared")
NO_IMAGE = SharedPictures(groups=3, categories=2)


def status_of(database: ProductDatabase, product_id: str) -> tuple[str, str | None]:
    found = answer(database, product_id)
    return found["status"], found["review_reason"]


def held_pictures(database: ProductDatabase) -> dict[tuple[str, str], str | None]:
    """Return why each prediction is held back by its run, by product and content."""
    statement = sa.text("SELECT product_id, image_sha256, held_by FROM category_predictions")
    with database.engine.connect() as connection:
        return {(row[0], row[1]): row[2] for row in connection.execute(statement)}


def shop(products: int, *, content: str = "shared", **more: Any) -> dict[str, Any]:
    """Return a night of products with the same picture, each of an own article and of one of three categories."""
    names = [f"p{number}" for number in range(products)]
    return {
        "predictions": [prediction(name, content=content) for name in names],
        "products": [
            product(name, f"article-{name}", **{"category": f"kind {number % 3}", **more})
            for number, name in enumerate(names)
        ],
    }


def shared_of(database: ProductDatabase, run_id: str = "nightly-2026-11-01") -> dict[str, Any]:
    run = find_run(database, run_id)
    assert run is not None
    return dict(run["summary"]["gates"]["shared_pictures"])

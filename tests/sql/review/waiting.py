"""A small shop whose answers wait for people, for the tests of the review pages."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from sql.review.queue import page
from sql.review.records import Choice, Filter, QueueItem
from sql.schema.tables import metadata
from sql.store import ProductDatabase
from tests.sql.runs import BOOT, OUTLET, SHIRT, T_SHIRT, dump, prediction, product, publish

HOSTILE = "'; DROP TABLE overrides; -- <script>alert(1)</script> % _ \\ \" :p 한"


def fill(database: ProductDatabase) -> None:
    """Publish 4 shirts and a hostile boot that wait, an unknown one, 2 surely answered, and a product that has left."""
    publish(
        database,
        [
            *(prediction(f"s{n}", SHIRT, round(0.5 + n / 100, 2), status="review") for n in range(4)),
            prediction(HOSTILE, BOOT, 0.4, status="review", reason="foreign_image"),
            prediction("u", None, 0.1, status="unknown", reason="foreign_image"),
            prediction("sure", SHIRT, 0.995),
            prediction("boot", BOOT, 0.999),
            prediction("t", T_SHIRT, 0.6, status="review"),
            prediction("o", OUTLET, 0.6, status="review"),
        ],
        products=[
            *(product(f"s{n}", f"Grünes Hemd {n}", category="Tops") for n in range(4)),
            product(HOSTILE, HOSTILE),
            product("bare", "never read"),
        ],
    )


def choose(item: QueueItem, action: str = "accept", category_id: str | None = None, why: str = "") -> Choice:
    """Choose for a product that a page shows; accepting takes its suggestion."""
    return Choice(item.product_id, item.seen, action, item.category_id if action == "accept" else category_id, why)


def shown(
    database: ProductDatabase, category_id: str | None = SHIRT, which: Filter | None = None, **more: Any
) -> list[QueueItem]:
    """Open a page, surest first unless told otherwise."""
    return page(database, which or Filter(), category_id, **{"order": "surest", "size": 60, **more})


def ids(items: Any) -> list[str]:
    """Return the product_id of each item."""
    return [item.product_id for item in items]


def change(database: ProductDatabase, product_id: str, **values: Any) -> None:
    """Write into a current answer."""
    table = metadata.tables["product_categories"]
    with database.engine.begin() as connection:
        connection.execute(table.update().where(table.c.product_id == product_id).values(**values))


def decisions(database: ProductDatabase) -> list[tuple[Any, ...]]:
    """Return (product_id, action, category_id, decided_by) of each decision, in their order."""
    return [(row[1], row[2], row[3], row[4]) for row in dump(database)["overrides"]]


def scalar(database: ProductDatabase, statement: str) -> Any:
    """Return the only value of a SELECT."""
    with database.engine.connect() as connection:
        return connection.execute(sa.text(statement)).scalar_one()

"""Reading the `products` table as a catalog."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sql.tables import products

if TYPE_CHECKING:
    from sql.store import ProductDatabase

_FETCH_ROWS = 10_000


def catalog_rows(database: ProductDatabase) -> Iterator[tuple[Any, ...]]:
    """Stream the table's rows as a catalog has them.

    Args:
        database: Migrated.

    Yields:
        (product_id, image_no, image_uri, title, category, updated_at), in order of the first two; the driver holds a
        bounded number at a time.
    """
    columns = (
        products.c.product_id,
        products.c.image_no,
        products.c.image_uri,
        products.c.title,
        products.c.category,
        products.c.updated_at,
    )
    statement = sa.select(*columns).order_by(products.c.product_id, products.c.image_no)
    with database.engine.connect().execution_options(yield_per=_FETCH_ROWS) as connection:
        for row in connection.execute(statement):
            yield tuple(row)

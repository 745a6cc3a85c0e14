"""Merge the categories of a release into the taxonomy of the database, and refuse predictions of unknown categories."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.errors import DatabaseError
from sql.publishing.releases import newer_releases
from sql.records import CategoryRecord, ReleaseRecord
from sql.schema.releases import categories


def merge_categories(
    connection: Connection, records: Iterable[CategoryRecord], release: ReleaseRecord, *, rename: bool = True
) -> None:
    """Add a release's new categories to the taxonomy; with `rename`, if none outranks it, also change known paths."""
    stored = {row.category_id: row.category_path for row in connection.execute(sa.select(categories))}
    outranked = not rename or bool(newer_releases(connection, release.release_id))
    for record in records:
        values = {"category_path": record.category_path, "taxonomy_version": release.taxonomy_version}
        if record.category_id not in stored:
            connection.execute(categories.insert().values(category_id=record.category_id, **values))
        elif stored[record.category_id] != record.category_path and not outranked:
            same = categories.c.category_id == record.category_id
            connection.execute(categories.update().where(same).values(**values))


def refuse_unknown_categories(connection: Connection, table: str, release_id: str) -> None:
    """Raise DatabaseError if a temporary table has a category that is not in the database's taxonomy."""
    unknown = connection.execute(
        sa.text(
            f"SELECT category_id, min(product_id) AS product_id FROM {table} "  # noqa: S608 - a name of ours
            "WHERE category_id IS NOT NULL AND category_id NOT IN (SELECT category_id FROM categories) "
            "GROUP BY category_id ORDER BY category_id LIMIT 1"
        )
    ).first()
    if unknown is not None:
        raise DatabaseError(
            f"The prediction of product {unknown.product_id!r} has category {unknown.category_id!r}, which release "
            f"{release_id!r} does not list: publish with the release that made the predictions."
        )

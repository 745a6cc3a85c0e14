"""Write what a run has besides its answers: the release, its taxonomy, and the catalog rows that it read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.errors import DatabaseError
from sql.records import CategoryRecord, ReleaseRecord
from sql.schema.releases import categories, releases
from sql.schema.runs import runs


def register_release(connection: Connection, release: ReleaseRecord, moment: datetime) -> None:
    """Add a release to the database, if it is not registered; a registered one does not change.

    Raises:
        DatabaseError: If another release with that name is registered. Fields that only one of the two manifests has
            are not compared: another version of this project may have written it.
    """
    known = connection.execute(
        sa.select(releases.c.manifest).where(releases.c.release_id == release.release_id)
    ).first()
    given = json.loads(json.dumps(dict(release.manifest)))
    if known is not None:
        both = known.manifest.keys() & given.keys()
        differs = sorted(name for name in both if _contradict(known.manifest[name], given[name]))
        if differs:
            raise DatabaseError(
                f"Another release is known as {release.release_id!r}, of other {', '.join(differs)}; a release is "
                "never changed, so give this one another name."
            )
    else:
        connection.execute(
            releases.insert().values(
                release_id=release.release_id,
                taxonomy_version=release.taxonomy_version,
                manifest=dict(release.manifest),
                registered_at_utc=moment,
            )
        )


def _contradict(one: Any, other: Any) -> bool:
    """Return whether two values of a manifest differ in a field that both have."""
    if isinstance(one, dict) and isinstance(other, dict):
        return any(_contradict(one[name], other[name]) for name in one.keys() & other.keys())
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return any(map(_contradict, one, other))
    return bool(one != other)


def promote_release(connection: Connection, release_id: str, moment: datetime) -> None:
    """Make a release's answers win against those of every release promoted earlier or never."""
    connection.execute(releases.update().where(releases.c.release_id == release_id).values(promoted_at_utc=moment))


def newer_releases(connection: Connection, release_id: str) -> list[str]:
    """Return the releases whose answers this one may not replace: promoted later, or registered later if none was.

    Releases that have only answered as challenger are not among them.
    """
    ranked, hidden = _ranked(connection), shadow_releases(connection)
    return [other for other in ranked[ranked.index(release_id) + 1 :] if other not in hidden]


def older_releases(connection: Connection, release_id: str) -> list[str]:
    """Return the releases whose answers this one may replace; an empty list if it is not registered."""
    ranked = _ranked(connection)
    return ranked[: ranked.index(release_id)] if release_id in ranked else []


def _ranked(connection: Connection) -> list[str]:
    """Return the releases in order of rank; the last one's answers win."""
    table = releases.c
    order = (sa.nulls_first(table.promoted_at_utc), table.registered_at_utc, table.release_id)
    return list(connection.execute(sa.select(table.release_id).order_by(*order)).scalars())


def shadow_releases(connection: Connection) -> set[str]:
    """Return the releases that were never promoted and have no run of their own: they only answered as challenger."""
    own_run = sa.select(runs.c.run_id).where(runs.c.release_id == releases.c.release_id).exists()
    unheard = sa.select(releases.c.release_id).where(releases.c.promoted_at_utc.is_(None), ~own_run)
    return set(connection.execute(unheard).scalars())


def merge_categories(
    connection: Connection, records: Iterable[CategoryRecord], release: ReleaseRecord, *, rename: bool = True
) -> None:
    """Add new categories; with `rename`, a release that no newer one outranks also changes the paths of known ones."""
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
    """Raise a DatabaseError if a temporary table has a category that is not in the taxonomy."""
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


_PRODUCTS = sa.text("""
INSERT INTO products (product_id, image_no, image_uri, title, category, updated_at, ingest_date, ingest_no)
SELECT product_id, image_no, image_uri, title, category, updated_at, ingest_date, ingest_no
FROM (
    SELECT
        staged.*,
        row_number() OVER (
            PARTITION BY product_id, image_no
            ORDER BY ingest_date DESC, ingest_no DESC, updated_at DESC, image_uri, title, category
        ) AS place
    FROM staged_products AS staged
) AS ranked
WHERE place = 1
ORDER BY product_id, image_no
ON CONFLICT (product_id, image_no) DO UPDATE SET
    image_uri = excluded.image_uri,
    title = excluded.title,
    category = excluded.category,
    updated_at = excluded.updated_at,
    ingest_date = excluded.ingest_date,
    ingest_no = excluded.ingest_no
WHERE
    products.ingest_date IS NULL
    OR (excluded.ingest_date, excluded.ingest_no) > (products.ingest_date, products.ingest_no)
    OR (
        (excluded.ingest_date, excluded.ingest_no) = (products.ingest_date, products.ingest_no)
        AND (
            excluded.image_uri <> products.image_uri
            OR excluded.title IS DISTINCT FROM products.title
            OR excluded.category IS DISTINCT FROM products.category
            OR excluded.updated_at IS DISTINCT FROM products.updated_at
        )
    )
""")


def merge_products(connection: Connection) -> int:
    """Merge `staged_products`; a row of a newer ingest stays. Return the rows added or changed."""
    return connection.execute(_PRODUCTS).rowcount

"""Merge what a run read of the catalog into `product_images` and `catalog_changes`: pictures by position, and who left.

A position is a (product_id, image_no). Runs may be published in any order, so each fact is kept with the night and
the number of the ingest that it comes from, and the newest one counts:

- the last usable picture of a position, with the ingest that read it;
- why a newer picture could not be used, with the ingest that rejected it;
- for each catalog whether it names the position. The catalog that named it first has no row in `catalog_changes` until
  it ceases to.

A position has left while no catalog names it. The temporary table `affected_products` gets the products whose answer
may be another one because of this, beside those that the run has predicted.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeEngine

from sql.publishing.staging import analyze, analyze_grown, create_temporary
from sql.schema.columns import key_text

AFFECTED = "affected_products"
"""Temporary table of the products to settle."""

_STAGED = """
    SELECT
        product_id, image_no, image_sha256, CAST(NULL AS TEXT) AS reason, coalesce(catalog_name, '') AS catalog_name,
        ingest_date, ingest_no
    FROM staged_predictions
    UNION ALL
    SELECT product_id, image_no, image_sha256, NULL, coalesce(catalog_name, ''), changed_on, ingest_no
    FROM staged_image_changes
    WHERE outcome = 'unchanged' AND image_sha256 IS NOT NULL
    UNION ALL
    SELECT product_id, image_no, NULL, reason, coalesce(catalog_name, ''), ingest_date, ingest_no
    FROM staged_rejections
"""
"""What the run read of each position: a usable picture, or the reason of a rejection."""

_COUNT = sa.text("""
SELECT
    (SELECT coalesce(sum(image_count), 0) FROM staged_counts)
    + (SELECT count(*) FROM staged_image_changes WHERE outcome = 'unchanged' AND image_sha256 IS NOT NULL)
    + (SELECT count(*) FROM staged_rejections)
""")

# Of an image that an unpublished night has read, the first that is published may be that a catalog names it no longer.
_NAMED_OR_LEFT = """
    SELECT
        product_id, image_no, CAST(NULL AS TEXT) AS image_sha256, CAST(NULL AS TEXT) AS reason,
        coalesce(catalog_name, '') AS catalog_name, changed_on AS ingest_date, ingest_no
    FROM staged_image_changes
    WHERE outcome IN ('named', 'left')
"""

# A night may read a position for the first time, and a later one of the same run may have left it.
_READ_AND_LEFT = sa.text(f"""
SELECT 1
FROM ({_STAGED}) AS staged
INNER JOIN ({_NAMED_OR_LEFT}) AS change ON change.product_id = staged.product_id AND change.image_no = staged.image_no
LIMIT 1
""")  # noqa: S608 - texts of our own

# A usable picture first: a position has one row, and a rejection is added to it below. Of the writers only the one that
# holds the lock adds rows, so that they need no ON CONFLICT, which is slower.
_ADD = """
INSERT INTO product_images (
    product_id, image_no, image_sha256, ingest_date, ingest_no, reason, rejected_on, rejected_no, catalog_name
)
SELECT
    product_id,
    image_no,
    image_sha256,
    CASE WHEN image_sha256 IS NOT NULL THEN ingest_date END,
    CASE WHEN image_sha256 IS NOT NULL THEN ingest_no END,
    reason,
    CASE WHEN reason IS NOT NULL THEN ingest_date END,
    CASE WHEN reason IS NOT NULL THEN ingest_no END,
    catalog_name
FROM ({first}) AS position
ORDER BY product_id, image_no
"""

_NEW_POSITIONS = """
    FROM ({rows}) AS staged
    WHERE
        NOT EXISTS (
            SELECT 1
            FROM product_images AS stored
            WHERE stored.product_id = staged.product_id AND stored.image_no = staged.image_no
        )
"""
_FIRST = "image_sha256 IS NULL, reason IS NULL, ingest_date DESC, ingest_no DESC, image_sha256 DESC"

# SQLite has no DISTINCT ON, which needs a tenth less of the statement's time than a window.
_ADD_POSTGRESQL = _ADD.format(
    first=f"""
    SELECT DISTINCT ON (product_id, image_no) staged.*
    {_NEW_POSITIONS}
    ORDER BY product_id, image_no, {_FIRST}
"""
)
_ADD_SQLITE = _ADD.format(
    first=f"""
    SELECT ranked.*
    FROM (
        SELECT staged.*, row_number() OVER (PARTITION BY product_id, image_no ORDER BY {_FIRST}) AS place
        {_NEW_POSITIONS}
    ) AS ranked
    WHERE place = 1
"""  # noqa: S608 - texts of our own
)

_NEWER_PICTURE = """
(
    staged.image_sha256 IS NOT NULL
    AND (
        stored.image_sha256 IS NULL
        OR (staged.ingest_date, staged.ingest_no, staged.image_sha256)
        > (stored.ingest_date, stored.ingest_no, stored.image_sha256)
    )
)
"""
_NEWER_REJECTION = """
(
    staged.reason IS NOT NULL
    AND (
        stored.image_sha256 IS NULL OR (staged.ingest_date, staged.ingest_no) > (stored.ingest_date, stored.ingest_no)
    )
    AND (
        stored.reason IS NULL
        OR (staged.ingest_date, staged.ingest_no) > (stored.rejected_on, stored.rejected_no)
        OR ((staged.ingest_date, staged.ingest_no) = (stored.rejected_on, stored.rejected_no)
            AND staged.reason <> stored.reason)
    )
)
"""

# One join over all rows of the run finds the few that change something; what follows reads only those. It finds older
# pictures too: each predicted picture without a row here is the one that its position has, and a catalog names it.
_NEWS = f"""
INSERT INTO position_news (
    product_id, image_no, image_sha256, reason, catalog_name, ingest_date, ingest_no, picture, rejection, other_catalog,
    other_picture
)
SELECT
    staged.product_id,
    staged.image_no,
    staged.image_sha256,
    staged.reason,
    staged.catalog_name,
    staged.ingest_date,
    staged.ingest_no,
    {_NEWER_PICTURE},
    {_NEWER_REJECTION},
    staged.catalog_name <> stored.catalog_name,
    {_NEWER_PICTURE} AND staged.image_sha256 IS DISTINCT FROM stored.image_sha256
FROM ({_STAGED}) AS staged
INNER JOIN product_images AS stored
    ON stored.product_id = staged.product_id AND stored.image_no = staged.image_no
WHERE
    {_NEWER_PICTURE}
    OR {_NEWER_REJECTION}
    OR staged.catalog_name <> stored.catalog_name
    OR staged.image_sha256 <> stored.image_sha256
    OR (staged.product_id, staged.image_no) IN (SELECT product_id, image_no FROM catalog_changes)
"""  # noqa: S608 - texts of our own

_NEWEST = """
UPDATE product_images
SET {values}
FROM (
    SELECT
        position_news.*,
        row_number() OVER (
            PARTITION BY product_id, image_no ORDER BY ingest_date DESC, ingest_no DESC, {last}
        ) AS place
    FROM position_news
    WHERE {kind}
) AS news
WHERE news.place = 1 AND news.product_id = product_images.product_id AND news.image_no = product_images.image_no
"""

_PICTURES = sa.text(
    _NEWEST.format(
        values="image_sha256 = news.image_sha256, ingest_date = news.ingest_date, ingest_no = news.ingest_no",
        last="image_sha256 DESC",
        kind="picture",
    )
)

_REJECTIONS = sa.text(
    _NEWEST.format(
        values="reason = news.reason, rejected_on = news.ingest_date, rejected_no = news.ingest_no",
        last="reason",
        kind="rejection",
    )
)

_OVERCOME_REJECTIONS = sa.text("""
UPDATE product_images
SET reason = NULL, rejected_on = NULL, rejected_no = NULL
WHERE
    reason IS NOT NULL
    AND (rejected_on, rejected_no) <= (ingest_date, ingest_no)
    AND (product_id, image_no) IN (SELECT product_id, image_no FROM position_news)
""")

_CHANGES = """
INSERT INTO catalog_changes AS stored (product_id, image_no, catalog_name, names_it, changed_on, ingest_no)
SELECT product_id, image_no, catalog_name, names_it, changed_on, ingest_no
FROM (
    SELECT
        events.*,
        row_number() OVER (
            PARTITION BY product_id, image_no, catalog_name ORDER BY changed_on DESC, ingest_no DESC, names_it DESC
        ) AS place
    FROM ({events}) AS events
) AS ranked
WHERE place = 1
ORDER BY product_id, image_no, catalog_name
ON CONFLICT (product_id, image_no, catalog_name) DO UPDATE SET
    names_it = excluded.names_it, changed_on = excluded.changed_on, ingest_no = excluded.ingest_no
WHERE
    (excluded.changed_on, excluded.ingest_no) > (stored.changed_on, stored.ingest_no)
    OR (
        (excluded.changed_on, excluded.ingest_no) = (stored.changed_on, stored.ingest_no)
        AND excluded.names_it
        AND NOT stored.names_it
    )
"""

_NAMED_AND_LEFT = """
    SELECT
        product_id,
        image_no,
        coalesce(catalog_name, '') AS catalog_name,
        outcome = 'named' AS names_it,
        changed_on,
        ingest_no
    FROM staged_image_changes
    WHERE outcome IN ('named', 'left')
"""

# Whoever has a picture stored or rejected names it.
_READ = """
    SELECT
        product_id, image_no, catalog_name, CAST(1 AS BOOLEAN) AS names_it, ingest_date AS changed_on, ingest_no
    FROM position_news
    WHERE
        other_catalog
        OR (product_id, image_no, catalog_name) IN (SELECT product_id, image_no, catalog_name FROM catalog_changes)
"""

_LEFT = sa.text("""
UPDATE product_images
SET left_at = found.left_at
FROM (
    SELECT
        image.product_id,
        image.image_no,
        CASE
            WHEN max(CASE WHEN change.names_it THEN 1 ELSE 0 END) = 1 THEN NULL
            WHEN max(CASE WHEN change.catalog_name = image.catalog_name THEN 1 ELSE 0 END) = 0 THEN NULL
            ELSE max(change.changed_on)
        END AS left_at
    FROM product_images AS image
    INNER JOIN catalog_changes AS change
        ON change.product_id = image.product_id AND change.image_no = image.image_no
    WHERE
        (image.product_id, image.image_no) IN (
            SELECT product_id, image_no FROM staged_image_changes WHERE outcome <> 'unchanged'
            UNION
            SELECT product_id, image_no FROM position_news
        )
    GROUP BY image.product_id, image.image_no
) AS found
WHERE
    found.product_id = product_images.product_id
    AND found.image_no = product_images.image_no
    AND found.left_at IS DISTINCT FROM product_images.left_at
""")

# The run predicts nothing for a picture that the product had before, at another position.
_MOVED = sa.text("""
INSERT INTO affected_products (product_id)
SELECT DISTINCT product_id
FROM staged_image_changes AS change
WHERE
    outcome = 'unchanged'
    AND NOT EXISTS (
        SELECT 1
        FROM product_images AS stored
        WHERE stored.product_id = change.product_id AND stored.image_no = change.image_no
    )
""")

# A product that had left may return with a position that is new, of which no change of a catalog says anything.
_AFFECTED = sa.text("""
INSERT INTO affected_products (product_id)
SELECT product_id
FROM (
    SELECT product_id FROM staged_image_changes WHERE outcome <> 'unchanged'
    UNION
    SELECT product_id
    FROM position_news
    WHERE
        other_picture
        OR other_catalog
        OR (product_id, image_no) IN (SELECT product_id, image_no FROM catalog_changes)
    UNION
    SELECT product_id
    FROM product_categories
    WHERE
        left_at IS NOT NULL
        AND (
            product_id IN (SELECT product_id FROM staged_predictions)
            OR product_id IN (SELECT product_id FROM staged_rejections)
        )
    EXCEPT
    SELECT product_id FROM affected_products
) AS affected
""")


def merge_positions(connection: Connection) -> int:
    """Merge the staged rows into `product_images` and `catalog_changes`, and list the affected products.

    Args:
        connection: In a transaction that holds the writers' lock; the run's rows are staged.

    Returns:
        Number of rows added or changed in both tables.
    """
    _prepare(connection)
    connection.execute(_MOVED)
    add = _ADD_POSTGRESQL if connection.dialect.name == "postgresql" else _ADD_SQLITE
    read, named = (connection.exec_driver_sql(add.format(rows=rows)).rowcount for rows in (_STAGED, _NAMED_OR_LEFT))
    changed = read + named
    analyze_grown(connection, "product_images", changed)
    changed += connection.exec_driver_sql(_CHANGES.format(events=_NAMED_AND_LEFT)).rowcount
    if read < int(connection.execute(_COUNT).scalar_one()) or connection.execute(_READ_AND_LEFT).first() is not None:
        changed += _merge_news(connection)
    connection.execute(_LEFT)
    connection.execute(_AFFECTED)
    analyze(connection, AFFECTED)
    return changed


def _merge_news(connection: Connection) -> int:
    """Merge the staged rows of positions that are known, or that have several rows. Return the number of changes."""
    connection.exec_driver_sql(_NEWS)
    analyze(connection, "position_news")
    changed = connection.execute(_PICTURES).rowcount
    changed += connection.execute(_REJECTIONS).rowcount
    connection.execute(_OVERCOME_REJECTIONS)
    return changed + connection.exec_driver_sql(_CHANGES.format(events=_READ)).rowcount


def _prepare(connection: Connection) -> None:
    key: dict[str, TypeEngine[Any]] = {"product_id": key_text(), "image_no": sa.Integer()}
    read: dict[str, TypeEngine[Any]] = {
        "image_sha256": key_text(),
        "reason": sa.Text(),
        "catalog_name": key_text(),
        "ingest_date": sa.Date(),
        "ingest_no": sa.Integer(),
    }
    marks: dict[str, TypeEngine[Any]] = {
        name: sa.Boolean() for name in ("picture", "rejection", "other_catalog", "other_picture")
    }
    create_temporary(connection, "position_news", {**key, **read, **marks})
    prepare_affected(connection)


def prepare_affected(connection: Connection) -> None:
    """Create an empty temporary table `affected_products`."""
    create_temporary(connection, AFFECTED, {"product_id": key_text()})

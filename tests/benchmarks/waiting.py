"""A database of any size in which a quarter of the products waits, made by SQL without publishing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from sql.schema.releases import categories, releases
from sql.schema.runs import runs
from sql.schema.tables import metadata
from sql.store import ProductDatabase
from tests.benchmarks.nights import NIGHT, RELEASE

CATEGORIES = 2000
BIG = "dept0.group0.c0"
"""The category that has half of the products."""

RUNS = tuple(f"nightly-{NIGHT + timedelta(days=day)}" for day in range(100))
"""The first run gave half of the answers, the others the same number each."""

# Products in the order of no key: each number's draw is its own, and those of neighbours have nothing in common.
_DRAWN = """
    SELECT
        n,
        (n * 48271 % 2147483647) AS a,
        (n * 69621 % 2147483647) AS b,
        (n * 40692 % 2147483399) AS c
    FROM numbers
"""

_DESCRIBED = f"""
    SELECT
        n,
        CASE WHEN a % 2 = 0 THEN 0 ELSE a / 2 % {CATEGORIES} END AS k,
        b / 7 % 100000 / 100000.0 AS x,
        a / 3 % 3 AS colour,
        CASE WHEN c / 1000 % 100 < 25 THEN 'review' WHEN c / 1000 % 100 < 28 THEN 'unknown' ELSE 'auto' END AS status,
        CASE
            WHEN c / 1000 % 100 >= 28 THEN NULL
            WHEN c / 100000 % 100 < 80 THEN 'below_threshold'
            WHEN c / 100000 % 100 < 99 THEN 'taxonomy'
            ELSE 'foreign_image'
        END AS review_reason,
        CASE WHEN c % 2 = 0 THEN 0 ELSE 1 + b / 1000 % 99 END AS run
    FROM ({_DRAWN}) AS drawn
"""

_TABLES = {
    "products": """
        (product_id, image_no, image_uri, title, ingest_date, ingest_no)
        SELECT {product}, 0, 's3://shop/images/' || n || '.jpg',
            CASE colour WHEN 0 THEN 'Blue' WHEN 1 THEN 'Red' ELSE 'Green' END || ' cotton article ' || (n % 1000),
            {night}, 1
    """,
    "product_images": """
        (product_id, image_no, image_sha256, ingest_date, ingest_no, catalog_name)
        SELECT {product}, 0, {picture}, {night}, 1, 'shop'
    """,
    "category_predictions": """
        (product_id, release_id, image_sha256, image_no, image_uri, ingest_date, ingest_no, category_id, confidence,
        status, review_reason, top_k, by_network, run_id, predicted_at_utc)
        SELECT {product}, 'release-1', {picture}, 0, 's3://shop/images/' || n || '.jpg', {night}, 1, {category},
            {confidence}, status, review_reason, {top}, '{{}}', {run}, {moment}
    """,
    "product_categories": """
        (product_id, category_id, confidence, status, review_reason, release_id, image_count, ingest_date, ingest_no,
        run_id, updated_at_utc)
        SELECT {product}, {category}, {confidence}, status, review_reason, 'release-1', 1, {night}, 1, {run}, {moment}
    """,
}

_SAME = {
    "category": "'dept' || (k % 20) || '.group' || (k % 200) || '.c' || k",
    "confidence": "CASE status WHEN 'auto' THEN 0.8 + x / 5 ELSE 0.3 + x / 2 END",
}
_SQLITE = {
    "product": "'product-' || substr('00000000' || n, -9)",
    "picture": "substr('00000000' || n, -9) || hex(substr('a picture of the product', 1, 24)) || 'abcdef0'",
    "run": "'nightly-' || date('2026-11-01', '+' || run || ' days')",
    "night": "'2026-11-01'",
    "moment": "'2026-11-01 02:00:00.000000'",
    "top": "json_array(json_array('dept0.group0.c0', 0.5))",
}
_POSTGRESQL = {
    "product": "'product-' || lpad(CAST(n AS TEXT), 9, '0')",
    "picture": "md5(CAST(n AS TEXT)) || md5(CAST(-n AS TEXT))",
    "run": "'nightly-' || (date '2026-11-01' + CAST(run AS INTEGER))",
    "night": "date '2026-11-01'",
    "moment": "timestamptz '2026-11-01 02:00:00+00'",
    "top": "json_build_array(json_build_array('dept0.group0.c0', 0.5))",
}

_TOTALS = """
INSERT INTO category_totals
SELECT
    category_id, status, coalesce(review_reason, ''), count(*), count(confidence),
    coalesce(sum(CAST(round(confidence * 1000000000) AS BIGINT)), 0)
FROM product_categories
GROUP BY category_id, status, coalesce(review_reason, '')
"""

_CHANGED = """
UPDATE product_categories
SET
    status = 'manual', decided = (1 = 1), confidence = NULL, review_reason = 'changed_picture', release_id = NULL,
    run_id = NULL, suggested_category_id = category_id, suggested_confidence = confidence,
    suggested_release_id = 'release-1'
WHERE status = 'auto' AND product_id IN (SELECT product_id FROM products WHERE title = 'Red cotton article 77')
"""


def fill(database: ProductDatabase, products: int) -> None:
    """Create the tables with this many products: answers, titles and pictures of all, predictions of what waits."""
    database.upgrade()
    is_sqlite = database.engine.dialect.name == "sqlite"
    names = {**_SAME, **(_SQLITE if is_sqlite else _POSTGRESQL)}
    numbers = (
        f"numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {products - 1})"
        if is_sqlite
        else f"numbers AS (SELECT CAST(n AS BIGINT) AS n FROM generate_series(0, {products - 1}) AS n)"
    )
    filled = [metadata.tables[table] for table in _TABLES]
    indexes = [index for table in filled for index in sorted(table.indexes, key=lambda one: str(one.name))]
    with database.engine.connect() as connection:
        if is_sqlite:
            for pragma in ("journal_mode = OFF", "foreign_keys = OFF", "synchronous = OFF", "cache_size = -1000000"):
                _driver(connection).execute(f"PRAGMA {pragma}")
        connection.commit()
        _fill_small(connection)
        for index in indexes:  # made once all rows are there, which is faster by far
            index.drop(connection)
        for table, columns in _TABLES.items():
            which = "WHERE status <> 'auto'" if table == "category_predictions" else ""
            head, _, selected = columns.format(**names).partition(")\n")
            statement = (
                f"INSERT INTO {table} {head}) WITH RECURSIVE {numbers} "
                f"{selected} FROM ({_DESCRIBED}) AS described {which}"
            )
            connection.exec_driver_sql(statement.replace("%", "%%") if not is_sqlite else statement)
        connection.exec_driver_sql(_CHANGED)
        connection.exec_driver_sql(_TOTALS)
        for index in indexes:
            index.create(connection)
        connection.commit()
    if not is_sqlite:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


def _driver(connection: Connection) -> Any:
    """Return the connection of the driver; pragmas count only outside a transaction."""
    return connection.connection.driver_connection


def _fill_small(connection: Connection) -> None:
    moment = datetime(2026, 11, 1, 2, tzinfo=UTC)
    connection.execute(
        categories.insert(),
        [
            {
                "category_id": f"dept{k % 20}.group{k % 200}.c{k}",
                "category_path": f"Department {k % 20} > Group {k % 200} > Category {k}",
                "taxonomy_version": "taxonomy-1",
            }
            for k in range(CATEGORIES)
        ],
    )
    connection.execute(
        releases.insert().values(
            release_id=RELEASE.release_id, taxonomy_version="taxonomy-1", manifest={}, registered_at_utc=moment
        )
    )
    connection.execute(
        runs.insert(),
        [
            {
                "run_id": run_id,
                "kind": "nightly",
                "run_date": NIGHT + timedelta(days=day),
                "release_id": RELEASE.release_id,
                "state": "published",
                "counts": {},
                "seconds": {},
                "summary": {},
                "started_at_utc": moment + timedelta(days=day),
                "finished_at_utc": moment + timedelta(days=day, hours=1),
            }
            for day, run_id in enumerate(RUNS)
        ],
    )

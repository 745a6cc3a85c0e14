"""What people ask of ten million products, against a bare primary-key lookup, on PostgreSQL.

    python -m tests.benchmarks.bench_queries --products 10000000

Starts a PostgreSQL of its own, or uses the one of SHELFWISE_TEST_POSTGRES_URL. `--partitions N` cuts
`category_predictions` into N parts by the hash of product_id, to see whether that pays.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from sql.named_queries import find_query, prepare
from sql.prune import prune
from sql.store import ProductDatabase
from tests.benchmarks.nights import CATEGORIES, NIGHT, batches, benchmark_server, migrated, product_id, publish, seconds
from tests.sql.servers import Server

REPEATS = 300


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=10_000_000)
    parser.add_argument("--partitions", type=int, default=0)
    with benchmark_server(parser) as (server, options):
        measure_queries(server, options.products, options.partitions)
    return 0


def measure_queries(server: Server, products: int, partitions: int) -> None:
    """Medians of what people ask of a database of this many products and twice as many predictions."""
    name = server.create()
    database = migrated(server, name)
    if partitions:
        partition(database, partitions)
    publish(database, batches(1000))
    print(f"filled in {seconds(fill, database, products):.0f} s")
    chosen = random.Random(3)
    pick = [product_id(chosen.randrange(1000, products)) for _ in range(REPEATS)]
    with database.engine.connect() as connection:
        lookup = sa.text("SELECT * FROM product_categories WHERE product_id = :id")
        bare = median_ms(connection, [(lookup, {"id": p}) for p in pick])
        print(f"bare primary-key lookup: {bare:.3f} ms")
        view = sa.text("SELECT * FROM current_categories WHERE product_id = :id")
        current = median_ms(connection, [(view, {"id": p}) for p in pick])
        print(f"current_categories of a product: {current:.3f} ms, {current / bare:.2f} times the lookup")
        first = {"after_category_id": "", "after_product_id": ""}
        pages = [{"category_id": category.category_id.rpartition(".")[0], **first} for category in CATEGORIES] * 3
        asked: tuple[tuple[str, list[dict[str, Any]], int | None], ...] = (
            ("current_of_products", [{"product_ids": [p]} for p in pick], None),
            ("product_history", [{"product_id": p} for p in pick], None),
            ("review_queue", [{}] * REPEATS, 100),
            ("subtree", pages, 100),
            ("category_counts", [{}] * REPEATS, None),
        )
        for query, parameters, limit in asked:
            found = find_query(query)
            median = median_ms(connection, [prepare(found, values, "postgresql", limit) for values in parameters])
            print(f"{query}: {median:.3f} ms, {median / bare:.2f} times the lookup")
    print(f"a night of 100,000 products published in {seconds(publish, database, batches(100_000, 2), 2):.1f} s")
    took = seconds(lambda: print(prune(database, keep_runs=1)))
    print(f"pruned in {took:.0f} s")
    server.drop(name)


def median_ms(connection: sa.Connection, asked: list[tuple[sa.TextClause, dict[str, Any]]]) -> float:
    """Median milliseconds of these statements, after a first round that fills the caches."""
    for statement, values in asked:
        connection.execute(statement, values).fetchall()
    return 1000 * statistics.median(
        seconds(lambda: connection.execute(statement, values).fetchall())  # noqa: B023 - called at once
        for statement, values in asked
    )


def partition(database: ProductDatabase, parts: int) -> None:
    """Cut the empty history into parts, its key as it was."""
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE category_predictions RENAME TO whole")
        connection.exec_driver_sql(
            "CREATE TABLE category_predictions (LIKE whole INCLUDING DEFAULTS INCLUDING CONSTRAINTS, "
            "PRIMARY KEY (product_id, release_id, image_sha256)) PARTITION BY HASH (product_id)"
        )
        for number in range(parts):
            connection.exec_driver_sql(
                f"CREATE TABLE part_{number} PARTITION OF category_predictions "
                f"FOR VALUES WITH (MODULUS {parts}, REMAINDER {number})"
            )
    database.upgrade()


def fill(database: ProductDatabase, products: int) -> None:
    """Write the tables as publishing two nights would leave them, without waiting for it."""
    listed = ", ".join(f"'{category.category_id}'" for category in CATEGORIES)
    category = f"(ARRAY[{listed}])[1 + mod(n, {len(CATEGORIES)})]"
    status = "CASE WHEN mod(n, 5) = 0 THEN 'review' ELSE 'auto' END"
    reason = "CASE WHEN mod(n, 5) = 0 THEN 'below_threshold' END"
    answer = f"{category}, 0.5 + mod(n, 5000) / 10000.0, {status}, {reason}"
    with database.engine.begin() as connection:
        for night in range(2):
            connection.exec_driver_sql(
                "INSERT INTO category_predictions (product_id, release_id, image_sha256, image_no, image_uri, "
                "ingest_date, ingest_no, category_id, confidence, status, review_reason, top_k, by_network, run_id, "
                "predicted_at_utc) "
                "SELECT 'product-' || lpad(n::text, 9, '0'), 'release-1', "
                f"encode(sha256((n::text || 'night {night}')::bytea), 'hex'), 0, "
                "'s3://shop/images/' || lpad(n::text, 9, '0') || '.jpg', "
                f"date '{NIGHT + timedelta(days=night)}', 1, {answer}, "
                f"json_build_array(json_build_array({category}, 0.9)), "
                f"json_build_object('xception', json_build_array({category}, 0.9)), 'nightly-{NIGHT}', now() "
                f"FROM generate_series(1000, {products - 1}) AS n"
            )
        connection.exec_driver_sql(
            "INSERT INTO product_categories (product_id, category_id, confidence, status, review_reason, release_id, "
            "image_count, ingest_date, ingest_no, run_id, updated_at_utc) "
            f"SELECT 'product-' || lpad(n::text, 9, '0'), {answer}, 'release-1', 1, "
            f"date '{NIGHT + timedelta(days=1)}', 1, 'nightly-{NIGHT}', now() "
            f"FROM generate_series(1000, {products - 1}) AS n"
        )
        connection.exec_driver_sql("DELETE FROM category_totals")
        connection.exec_driver_sql(
            "INSERT INTO category_totals SELECT category_id, status, coalesce(review_reason, ''), count(*), "
            "count(confidence), sum(round(confidence * 1000000000)::bigint) FROM product_categories "
            "GROUP BY category_id, status, coalesce(review_reason, '')"
        )
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")


if __name__ == "__main__":
    sys.exit(main())

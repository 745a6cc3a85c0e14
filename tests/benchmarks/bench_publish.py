"""Publishing against a bare COPY, its memory, reads at full size, and readers during a publish, on PostgreSQL.

    python -m tests.benchmarks.bench_publish publish --rows 1000000
    python -m tests.benchmarks.bench_publish memory --rows 10000000
    python -m tests.benchmarks.bench_publish readers --rows 1000000
    python -m tests.benchmarks.bench_publish queries --products 10000000

Starts a PostgreSQL of its own with its default settings and those of `--set shared_buffers=2GB`, or uses the one of
SHELFWISE_TEST_POSTGRES_URL.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, LiteralString

import psycopg
import sqlalchemy as sa

from sql.named_queries import find_query
from sql.records import PREDICTION_COLUMNS, CategoryRecord, Decision, PublishCounts, ReleaseRecord, Rows, RunRecord
from sql.store import ProductDatabase, open_database
from tests.sql.servers import Server, started_server

CATEGORIES = tuple(
    CategoryRecord(f"{group}.{part}.{leaf}", f"{group} > {part} > {leaf}".title())
    for group in ("apparel", "home", "shoes", "toys")
    for part in ("one", "two", "three", "four", "five")
    for leaf in ("a", "b", "c", "d", "e")
)
RELEASE = ReleaseRecord("release-1", "taxonomy-1")
NIGHT = date(2026, 11, 1)
BATCH = 10_000
REPEATS = 300


def main() -> int:
    """Run one of the measurements and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("publish", "memory", "readers", "queries"))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--products", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3, help="of `publish`")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the server")
    options = parser.parse_args()
    with started_server(dict(setting.split("=", 1) for setting in options.set)) as server:
        cores = multiprocessing.cpu_count()
        print(", ".join([f"# {datetime.now(UTC):%Y-%m-%d}", f"{cores} cores", version(server), *options.set]))
        if options.what == "publish":
            measure_publish(server, options.rows, options.repeats)
        elif options.what == "memory":
            measure_memory(server, options.rows)
        elif options.what == "readers":
            measure_readers(server, options.rows)
        else:
            measure_queries(server, options.products)
    return 0


def version(server: Server) -> str:
    """Return what the server says it is."""
    with psycopg.connect(server.database_url("postgres")) as link:
        row = link.execute("SHOW server_version").fetchone()
    return f"PostgreSQL {row[0] if row else '?'}"


def measure_publish(server: Server, rows: int, repeats: int) -> None:
    """Rows a second of new and of unchanged predictions, over those of a bare COPY of the same rows."""
    data = list(batches(rows))
    for _ in range(repeats):
        name = server.create()
        database = migrated(server, name)
        bare = seconds(bare_copy, server.database_url(name), data)
        new = seconds(publish, database, iter(data))
        unchanged = seconds(publish, database, iter(data))
        print(
            f"{rows} rows: bare COPY {rows / bare:8.0f} rows/s, new {rows / new:8.0f} rows/s ({bare / new:.3f} of it), "
            f"unchanged {rows / unchanged:8.0f} rows/s ({bare / unchanged:.3f})"
        )
        server.drop(name)


def measure_memory(server: Server, rows: int) -> None:
    """Peak memory of a process that publishes, for a hundredth, a tenth and all of the rows."""
    for part in (rows // 100, rows // 10, rows):
        name = server.create()
        migrated(server, name)
        url = server.database_url(name)
        parent, child = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(target=publish_and_report, args=(url, part, child))
        process.start()
        peak_mib, took = parent.recv()
        process.join()
        print(f"{part:9d} rows: peak {peak_mib:6.0f} MiB, {part / took:8.0f} rows/s")
        server.drop(name)


def publish_and_report(url: str, rows: int, connection: Any) -> None:
    """Publish in this process, rows made up on the way, and send what it took."""
    took = seconds(publish, open_database(url), batches(rows))
    connection.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, took))


def measure_readers(server: Server, rows: int) -> None:
    """The longest time that a reader waited while a night of changed images was published, and while none was."""
    name = server.create()
    database = migrated(server, name)
    publish(database, batches(rows))
    context = multiprocessing.get_context("spawn")
    for label, work in (
        ("idle", lambda: time.sleep(10)),
        ("publishing", lambda: publish(database, batches(rows, night=1), night=1)),
    ):
        parent, child = context.Pipe()
        stop = context.Event()
        reader = context.Process(target=read_until, args=(server.database_url(name), rows, stop, child))
        reader.start()
        parent.recv()
        took = seconds(work)
        stop.set()
        waits = parent.recv()
        reader.join()
        print(
            f"{label} for {took:5.1f} s: {len(waits)} queries, median {1000 * statistics.median(waits):.2f} ms, "
            f"99 % {1000 * statistics.quantiles(waits, n=100)[98]:.2f} ms, longest {1000 * max(waits):.1f} ms"
        )
    server.drop(name)


def read_until(url: str, rows: int, stop: Any, connection: Any) -> None:
    """Ask for products, review pages and counts in turn, as fast as they are answered."""
    waits = []
    chosen = random.Random(2)
    with psycopg.connect(url, autocommit=True) as link:
        connection.send("ready")
        while not stop.is_set():
            product = product_id(chosen.randrange(rows))
            for statement, values in (
                ("SELECT * FROM current_categories WHERE product_id = %s", [product]),
                ("SELECT * FROM category_predictions WHERE product_id = %s", [product]),
                ("SELECT * FROM review_queue ORDER BY confidence, product_id LIMIT 100", []),
                ("SELECT * FROM category_counts", []),
            ):
                waits.append(seconds(fetch, link, statement, values))
    connection.send(waits)


def fetch(link: psycopg.Connection[Any], statement: LiteralString, values: list[str]) -> None:
    """Run a statement and take all its rows."""
    link.execute(statement, values).fetchall()


def measure_queries(server: Server, products: int) -> None:
    """Medians of what people ask of a database of this many products and twice as many predictions."""
    name = server.create()
    database = migrated(server, name)
    publish(database, batches(1000))
    print(f"filled in {seconds(fill, database, products):.0f} s")
    chosen = random.Random(3)
    pick = [product_id(chosen.randrange(1000, products)) for _ in range(REPEATS)]
    with database.engine.connect() as connection:
        bare = median_ms(
            connection, "SELECT * FROM product_categories WHERE product_id = :id", [{"id": p} for p in pick]
        )
        print(f"bare primary-key lookup: {bare:.3f} ms")
        view = "SELECT * FROM current_categories WHERE product_id = :id"
        current = median_ms(connection, view, [{"id": p} for p in pick])
        print(f"current_categories of a product: {current:.3f} ms, {current / bare:.2f} times the lookup")
        first = {"after_category_id": "", "after_product_id": ""}
        pages = [{"category_id": category.category_id.rpartition(".")[0], **first} for category in CATEGORIES] * 3
        asked: tuple[tuple[str, list[dict[str, Any]], str], ...] = (
            ("current_of_products", [{"product_ids": [p]} for p in pick], ""),
            ("product_history", [{"product_id": p} for p in pick], ""),
            ("review_queue", [{}] * REPEATS, "\nLIMIT 100"),
            ("subtree", pages, "\nLIMIT 100"),
            ("category_counts", [{}] * REPEATS, ""),
        )
        for query, parameters, limit in asked:
            median = median_ms(connection, find_query(query).statement + limit, parameters)
            print(f"{query}: {median:.3f} ms, {median / bare:.2f} times the lookup")
    server.drop(name)


def median_ms(connection: sa.Connection, statement: str, parameters: list[dict[str, Any]]) -> float:
    """Median milliseconds of a statement over these parameters, after a first round that fills the caches."""
    text = sa.text(statement)
    if any(isinstance(value, list) for value in parameters[0].values()):
        text = text.bindparams(sa.bindparam("product_ids", expanding=True))
    for values in parameters:
        connection.execute(text, values).fetchall()
    return 1000 * statistics.median(
        seconds(lambda: connection.execute(text, values).fetchall())  # noqa: B023 - called at once
        for values in parameters
    )


def fill(database: ProductDatabase, products: int) -> None:
    """Write the tables as publishing two nights would leave them, without waiting for it."""
    listed = ", ".join(f"'{category.category_id}'" for category in CATEGORIES)
    category = f"(ARRAY[{listed}])[1 + mod(n, {len(CATEGORIES)})]"
    answer = f"{category}, 0.5 + mod(n, 5000) / 10000.0, CASE WHEN mod(n, 5) = 0 THEN 'review' ELSE 'auto' END"
    with database.engine.begin() as connection:
        for night in range(2):
            connection.exec_driver_sql(
                "INSERT INTO category_predictions (product_id, release_id, image_sha256, image_no, image_uri, "
                "ingest_date, category_id, confidence, status, top_k, by_network, run_id, predicted_at_utc) "
                "SELECT 'product-' || lpad(n::text, 9, '0'), 'release-1', "
                f"encode(sha256((n::text || 'night {night}')::bytea), 'hex'), 0, "
                "'s3://shop/images/' || lpad(n::text, 9, '0') || '.jpg', "
                f"date '{NIGHT + timedelta(days=night)}', {answer}, "
                f"json_build_array(json_build_array({category}, 0.9)), "
                f"json_build_object('xception', json_build_array({category}, 0.9)), 'nightly-{NIGHT}', now() "
                f"FROM generate_series(1000, {products - 1}) AS n"
            )
        connection.exec_driver_sql(
            "INSERT INTO product_categories (product_id, category_id, confidence, status, release_id, image_count, "
            "ingest_date, run_id, updated_at_utc) "
            f"SELECT 'product-' || lpad(n::text, 9, '0'), {answer}, 'release-1', 1, "
            f"date '{NIGHT + timedelta(days=1)}', 'nightly-{NIGHT}', now() "
            f"FROM generate_series(1000, {products - 1}) AS n"
        )
        connection.exec_driver_sql("DELETE FROM category_totals")
        connection.exec_driver_sql(
            "INSERT INTO category_totals SELECT category_id, status, count(*), count(confidence), "
            "sum(round(confidence * 1000000000)::bigint) FROM product_categories GROUP BY category_id, status"
        )
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")


def batches(rows: int, night: int = 0) -> Iterator[Rows]:
    """Make up predictions of one image a product, in the order of no key; one in five for review."""
    categories = [category.category_id for category in CATEGORIES]
    day = NIGHT + timedelta(days=night)
    for start in range(0, rows, BATCH):
        batch: list[tuple[Any, ...]] = []
        for place in range(start, min(start + BATCH, rows)):
            number = place * 7_368_787 % rows
            category, second = categories[number % 100], categories[(number + 7) % 100]
            confidence = round(0.5 + number % 5000 / 10_000, 4)
            batch.append(
                (
                    product_id(number),
                    hashlib.sha256(b"%d/%d" % (number, night)).hexdigest(),
                    0,
                    f"s3://shop/images/{number:09d}.jpg",
                    day,
                    category,
                    confidence,
                    "review" if number % 5 == 0 else "auto",
                    json.dumps([[category, confidence], [second, 0.01], [category, 0.005]]),
                    json.dumps({"xception": [category, confidence], "efficientnetb0": [second, 0.4]}),
                )
            )
        yield batch


def product_id(number: int) -> str:
    """Return the identifier of the n-th product."""
    return f"product-{number:09d}"


def migrated(server: Server, name: str) -> ProductDatabase:
    """Return a database with the tables in it."""
    database = open_database(server.database_url(name))
    database.upgrade()
    return database


def publish(database: ProductDatabase, rows: Iterator[Rows], night: int = 0) -> PublishCounts:
    """Publish a night."""
    started = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=night)
    day = NIGHT + timedelta(days=night)
    return database.publish(
        RunRecord(f"nightly-{day}", "nightly", day, RELEASE.release_id, started),
        predictions=rows,
        rejections=[],
        products=[],
        categories=CATEGORIES,
        release=RELEASE,
        combine=lambda images: Decision(images[0][0][0], 0.5, "review"),
    )


def bare_copy(url: str, data: list[Rows]) -> None:
    """COPY the rows into a table without any index and commit."""
    types = ("text", "text", "int", "text", "date", "text", "float8", "text", "json", "json")
    columns = ", ".join(f"{name} {type_}" for name, type_ in zip(PREDICTION_COLUMNS, types, strict=True))
    with psycopg.connect(url) as link:
        link.execute(f"CREATE TABLE bare ({columns})")
        link.commit()
        with link.cursor() as cursor, cursor.copy("COPY bare FROM STDIN") as copy:
            for rows in data:
                for row in rows:
                    copy.write_row(row)
        link.commit()


def seconds(work: Callable[..., object], *arguments: object) -> float:
    """Return how long it took."""
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())

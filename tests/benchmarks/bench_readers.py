"""How long readers wait while a night is published, on PostgreSQL.

    python -m tests.benchmarks.bench_readers --rows 1000000

Starts a PostgreSQL of its own, or uses the one of SHELFWISE_TEST_POSTGRES_URL.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import statistics
import sys
import time
from typing import Any, LiteralString

import psycopg

from tests.benchmarks.nights import batches, benchmark_server, migrated, product_id, publish, seconds
from tests.sql.servers import Server


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    with benchmark_server(parser) as (server, options):
        measure_readers(server, options.rows)
    return 0


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


if __name__ == "__main__":
    sys.exit(main())

"""The review pages on ten million products: a page opened with each filter, and sixty decisions written.

    python -m tests.benchmarks.bench_review --products 10000000
    python -m tests.benchmarks.bench_review --products 300000 --engine sqlite

A quarter of the products waits, in 2,000 categories and one more that has half of them. Starts a PostgreSQL of its own
with its default settings and those of `--set`, or uses the one of SHELFWISE_TEST_POSTGRES_URL; the SQLite file lies in
a temporary directory, of which `TMPDIR` names the place.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from sql.review.planted import planted
from sql.review.product import product
from sql.review.progress import progress
from sql.review.queue import examples, examples_of_each, page, waiting
from sql.review.records import Choice, Filter, QueueItem
from sql.review.writing import take_back, write_page
from sql.store import ProductDatabase, open_database
from tests.benchmarks.nights import benchmark_server, seconds
from tests.benchmarks.waiting import BIG, RUNS, fill
from tests.sql.runs import combine_by

SIZE = 60

GROUP_OF_NINE = [BIG, *(f"dept0.group0.c{200 * number}" for number in range(1, 9))]
"""Categories of one group, as many as have a key."""

FILTERS = {
    "status review": Filter(),
    "status unknown": Filter(status="unknown"),
    "status auto": Filter(status="auto"),
    "reason of many": Filter(review_reason="below_threshold"),
    "reason of few": Filter(review_reason="foreign_image"),
    "changed picture": Filter(review_reason="changed_picture"),
    "category": Filter(category_id=BIG),
    "category above": Filter(category_id=BIG.partition(".")[0]),
    "run of half": Filter(run_id=RUNS[0]),
    "run of a night": Filter(run_id=RUNS[-1]),
    "title": Filter(title="blue 7"),
    "title in a category": Filter(title="blue 7", category_id=BIG),
    "run and title": Filter(run_id=RUNS[0], title="blue"),
    "run and reason": Filter(run_id=RUNS[0], review_reason="foreign_image"),
    "unknown of a run": Filter(status="unknown", run_id=RUNS[-1]),
    "auto of a run": Filter(status="auto", run_id=RUNS[0]),
}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--engine", choices=("sqlite", "postgresql", "both"), default="both")
    with benchmark_server(parser) as (server, options):
        if options.engine != "sqlite":
            name = server.create()
            measure(open_database(server.database_url(name), keep_connections=True), options.products, options.repeats)
            server.drop(name)
        if options.engine != "postgresql":
            with tempfile.TemporaryDirectory() as directory:
                url = f"sqlite:///{Path(directory, 'shelfwise.db')}"
                measure(open_database(url), options.products, options.repeats)
    return 0


def measure(database: ProductDatabase, products: int, repeats: int) -> None:
    """Print milliseconds of the pages of each filter, and of what people write."""
    engine = database.engine.dialect.name
    print(f"{engine}: {products} products filled in {seconds(fill, database, products):.0f} s", flush=True)
    for name, which in FILTERS.items():
        for order in ("surest", "least_sure"):
            opened = [open_page(database, which, order) for _ in range(repeats)]
            listed, shown = opened[0][2:]
            report(
                f"{engine}: {name}, {order}", [sum(times[:2]) for times in opened], f"{listed} listed, {shown} shown"
            )
            if order == "surest":
                report(f"{engine}:   of it the list", [times[0] for times in opened], "")
    rng = random.Random(5)
    for label, work in (
        ("a planted product", lambda: planted(database, BIG, count=1, rng=rng)),
        ("examples", lambda: examples(database, BIG, count=6)),
        ("examples of a group", lambda: examples_of_each(database, GROUP_OF_NINE)),
        ("one product", lambda: product(database, page(database, Filter(), BIG, order="surest", size=1)[0].product_id)),
        ("progress", lambda: progress(database, since=datetime(2026, 11, 1, tzinfo=UTC))),
    ):
        report(f"{engine}: {label}", [seconds(work) for _ in range(repeats)], "")
    measure_writing(database, repeats)


def measure_writing(database: ProductDatabase, repeats: int) -> None:
    """Print milliseconds of a page of sixty decisions, of half a page with other categories, and of taking it back."""
    engine = database.engine.dialect.name
    written, sent, back = [], [], []
    for _ in range(repeats):
        items, page_id = page(database, Filter(), BIG, order="surest", size=SIZE), uuid.uuid4().hex
        choices = [choice(item) for item in items]
        write = partial(write_page, database, choices, decided_by="ada", came_by="page", page_id=page_id)
        written.append(seconds(write))
        sent.append(seconds(write))
        back.append(seconds(partial(take_back, database, page_id, decided_by="ada", combine_by=combine_by)))
    report(f"{engine}: {SIZE} decisions written", written, "")
    report(f"{engine}: sent again", sent, "")
    report(f"{engine}: taken back", back, "")


def open_page(database: ProductDatabase, which: Filter, order: str) -> tuple[float, float, int, int]:
    """Open the list and a page of its first category; return the seconds of both, and how many they show."""
    found: list[list[object]] = []

    def keep(work: Callable[[], list[object]]) -> None:
        found.append(work())

    listing = seconds(keep, lambda: list(waiting(database, which)))
    first = found[0][0].category_id if found[0] else None  # type: ignore[attr-defined]
    paging = seconds(keep, lambda: list(page(database, which, first, order=order, size=SIZE)))
    return listing, paging, len(found[0]), len(found[1])


def choice(item: QueueItem) -> Choice:
    """Accept what a page suggests."""
    return Choice(item.product_id, item.seen, "accept", item.category_id)


def report(label: str, took: list[float], more: str) -> None:
    """Print the median and the longest in milliseconds."""
    print(
        f"{label}: {1000 * statistics.median(took):.0f} ms, longest {1000 * max(took):.0f} ms{more and '; ' + more}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())

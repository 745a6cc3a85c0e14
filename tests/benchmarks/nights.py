"""Nights of made-up predictions at any size, and the server that takes them, for the benchmarks of the database."""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg

from sql.records import CategoryRecord, Decision, PublishCounts, ReleaseRecord, Rows, RunRecord
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


@contextmanager
def benchmark_server(parser: argparse.ArgumentParser) -> Iterator[tuple[Server, argparse.Namespace]]:
    """Read the command line, start a server with its `--set` settings and print what the figures were measured on."""
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the server")
    options = parser.parse_args()
    with started_server(dict(setting.split("=", 1) for setting in options.set)) as server:
        cores = multiprocessing.cpu_count()
        print(", ".join([f"# {datetime.now(UTC):%Y-%m-%d}", f"{cores} cores", version(server), *options.set]))
        yield server, options


def version(server: Server) -> str:
    """Return what the server says it is."""
    with psycopg.connect(server.database_url("postgres")) as link:
        row = link.execute("SHOW server_version").fetchone()
    return f"PostgreSQL {row[0] if row else '?'}"


def migrated(server: Server, name: str) -> ProductDatabase:
    """Return a database with the tables in it."""
    database = open_database(server.database_url(name))
    database.upgrade()
    return database


def publish(
    database: ProductDatabase, rows: Iterable[Rows], night: int = 0, changes: Iterable[Rows] = ()
) -> PublishCounts:
    """Publish a night with its predictions and its changes of what the catalog names."""
    started = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=night)
    day = NIGHT + timedelta(days=night)
    return database.publish(
        RunRecord(f"nightly-{day}", "nightly", day, RELEASE.release_id, started),
        predictions=rows,
        rejections=[],
        products=[],
        image_changes=changes,
        categories=CATEGORIES,
        release=RELEASE,
        combine=lambda images: Decision(images[0].top[0][0], 0.5, "review", "below_threshold"),
    )


def batches(rows: int, night: int = 0, start: int = 0) -> Iterator[Rows]:
    """Make up predictions of one image a product, in the order of no key; one in five for review.

    The products are numbered from `start` on.
    """
    categories = [category.category_id for category in CATEGORIES]
    day = NIGHT + timedelta(days=night)
    for first in range(0, rows, BATCH):
        batch: list[tuple[Any, ...]] = []
        for place in range(first, min(first + BATCH, rows)):
            number = start + place * 7_368_787 % rows
            category, second = categories[number % 100], categories[(number + 7) % 100]
            confidence = round(0.5 + number % 5000 / 10_000, 4)
            batch.append(
                (
                    product_id(number),
                    hashlib.sha256(b"%d/%d" % (number, night)).hexdigest(),
                    0,
                    f"s3://shop/images/{number:09d}.jpg",
                    day,
                    1,
                    category,
                    confidence,
                    "review" if number % 5 == 0 else "auto",
                    json.dumps([[category, confidence], [second, 0.01], [category, 0.005]]),
                    json.dumps({"xception": [category, confidence], "efficientnetb0": [second, 0.4]}),
                    "shop",
                    "below_threshold" if number % 5 == 0 else None,
                    None,
                    None,
                    picture_at(number) if number % 5 == 0 else None,
                )
            )
        yield batch


def picture_at(number: int) -> str:
    """Make up where the picture of a product lies, in shards of 2,000 images."""
    shard, place = divmod(number, 2000)
    return f"part-{shard:016x}-002000.parquet#{place // 64}#{place % 64}#{place // 5}"


def changes(numbers: Iterable[int], outcome: str, night: int) -> list[tuple[Any, ...]]:
    """Make up rows of what the catalog names: `named` or `left`, for the n-th products."""
    day = NIGHT + timedelta(days=night)
    return [(product_id(number), 0, "shop", outcome, None, day, 1) for number in numbers]


def product_id(number: int) -> str:
    """Return the identifier of the n-th product."""
    return f"product-{number:09d}"


def seconds(work: Callable[..., object], *arguments: object) -> float:
    """Return how long it took."""
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started

"""Two nights over a real catalog, from nothing: what a new user runs first.

    shelfwise demo
    python -P -m jobs.demo.nights articles

Night one tags 2,000 of Fashion-MNIST's test articles, which the shipped release has never seen. Then 20 images change,
50 products arrive and 5 files are broken, and night two shows that only these are touched.

The second command writes all 10,000 test articles as a catalog, to measure a release on.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from jobs.demo.shop import Shop
from jobs.errors import RunFailed
from jobs.runs.config import RunConfig, Workshop
from jobs.runs.night import nightly
from jobs.settings import Settings
from jobs.spark.session import check_java
from jobs.storage.places import Places
from models import fashion_mnist
from models.release import SHIPPED, load_release
from sql import named_queries
from sql.store import ProductDatabase, open_database

NIGHTS = (date(2026, 1, 1), date(2026, 1, 2))
RUN_IDS = ("demo-night-1", "demo-night-2")


@dataclass(frozen=True)
class DemoReport:
    """What the demo shows.

    Attributes:
        home: Where its state is; `SHELFWISE_HOME` for asking further questions.
        nights: The two runs' summaries.
        seconds: Wall seconds of each night, Spark's start and the model load included.
        accuracy: Shares in [0, 1] of the labelled products: whose category is right, who were offered no more than a
            group of it, who were published automatically, and of these who are right.
        answers: Column names and ten rows of `current_categories`.
        rejections: Column names and rows of what could not be used.
    """

    home: Path
    nights: tuple[dict[str, Any], dict[str, Any]]
    seconds: tuple[float, float]
    accuracy: dict[str, float]
    answers: tuple[Sequence[str], list[Sequence[Any]]]
    rejections: tuple[Sequence[str], list[Sequence[Any]]]


def run(settings: Settings, *, products: int) -> DemoReport:
    """Run the demo in an embedded database, whatever database is set.

    Args:
        settings: Where state lives and how Spark is started.
        products: How many articles night one has, 20 to 9,930.

    Returns:
        What to show.
    """
    check_java()
    home = demo_home(Places(settings.places.local_home))
    try:
        articles = fashion_mnist.load("t10k", cache_dir=settings.places.local_home / "downloads")
    except (FileNotFoundError, ValueError) as error:
        raise RunFailed(str(error)) from error
    shop = Shop(home / "demo" / "catalog", articles)
    own = settings.model_copy(update={"home": home, "database_url": ""})
    workshop = Workshop(own.places, own.spark, load_release(SHIPPED), SHIPPED, own.products)
    database = open_database(own.url)
    database.upgrade()
    shop.open(products)
    summaries: list[dict[str, Any]] = []
    seconds: list[float] = []
    for night, run_id in zip(NIGHTS, RUN_IDS, strict=True):
        if summaries:
            shop.change(products)
        started = time.perf_counter()
        config = RunConfig(run_id=run_id, kind="nightly", run_date=night, dates=(night,))
        summaries.append(nightly(workshop, database, str(shop.directory / "catalog.csv"), config))
        seconds.append(round(time.perf_counter() - started, 1))
    return DemoReport(
        home=home,
        nights=(summaries[0], summaries[1]),
        seconds=(seconds[0], seconds[1]),
        accuracy=_accuracy(database, shop),
        answers=_asked(database, "current_categories", limit=10),
        rejections=_asked(database, "rejections", {"run_id": RUN_IDS[1]}),
    )


def demo_home(places: Places) -> Path:
    """Return an empty home for the demo: the usual one if only an earlier demo used it, else one of its own.

    Args:
        places: The usual home.

    Returns:
        The directory; what an earlier demo left there is removed.
    """
    own = places.local_home / "demo" / "home"
    usual = places.local_home if _only_demo(places) else own
    for place in (*Places(usual).of_runs, usual / "scratch", usual / "demo" / "catalog"):
        shutil.rmtree(str(place), ignore_errors=True)
    for suffix in ("", "-wal", "-shm"):
        (usual / f"shelfwise.db{suffix}").unlink(missing_ok=True)
    return usual


def clear(places: Places) -> None:
    """Remove what demos wrote in the usual home, if nobody else used it, and in their own."""
    demo_home(places)
    shutil.rmtree(places.local_home / "demo", ignore_errors=True)


def _only_demo(places: Places) -> bool:
    """Say whether nobody but the demo has used a home."""
    nights = {f"ingest_date={night}" for night in NIGHTS}
    runs = {f"run_id={run_id}" for run_id in RUN_IDS}
    found = [path.name for place in Places(places.local_home).of_runs for path in place.glob("*")]
    return set(found) <= nights | runs and not _used_by_others(places.local_home / "shelfwise.db")


def _used_by_others(database: Path) -> bool:
    """Say whether an embedded database, of whatever version, holds an alias, or a run that is not the demo's."""
    if not database.exists():
        return False
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        names = connection.execute("SELECT run_id FROM runs").fetchall() if "runs" in tables else []
        aliases = "release_aliases" in tables and connection.execute("SELECT 1 FROM release_aliases").fetchone()
    return bool(aliases) or any(name not in RUN_IDS for (name,) in names)


def _asked(
    database: ProductDatabase, name: str, params: Mapping[str, str] | None = None, *, limit: int | None = None
) -> tuple[Sequence[str], list[Sequence[Any]]]:
    result = named_queries.run_query(database, name, params, limit)
    return result.columns, list(result.rows)


def _accuracy(database: ProductDatabase, shop: Shop) -> dict[str, float]:
    """Compare the answers with the known categories of the shop."""
    known = {row["product_id"]: row["category"] for row in shop.rows if row["category"]}
    columns, rows = _asked(database, "current_categories")
    answers = [dict(zip(columns, row, strict=True)) for row in rows]
    hits = [answer["category_id"] == known[answer["product_id"]] for answer in answers]
    groups = [known[answer["product_id"]].startswith(f"{answer['category_id']}.") for answer in answers]
    automatic = [hit for hit, answer in zip(hits, answers, strict=True) if answer["status"] == "auto"]
    return {
        "products": len(known),
        "tagged": len(answers),
        "accuracy": sum(hits) / len(known),
        "right_group": sum(groups) / len(known),
        "published_automatically": len(automatic) / len(known),
        "accuracy_of_these": sum(automatic) / max(len(automatic), 1),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the official test articles as a catalog."""
    parser = argparse.ArgumentParser(description="Write Fashion-MNIST's 10,000 test articles as a catalog.")
    parser.add_argument("directory", type=Path, help="where catalog.csv and images/ go; must not hold any yet")
    directory = parser.parse_args(arguments).directory
    try:
        with tempfile.TemporaryDirectory() as cache:
            articles = fashion_mnist.load("t10k", cache_dir=Path(cache))
            Shop(directory, articles).open(len(articles.images))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{directory / 'catalog.csv'}: {len(articles.images)} products\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The demo for new users: two nightly runs over a real catalog, without any preparation.

    shelfwise demo
    python -P -m jobs.demo.nights articles

The first night tags 2,000 of Fashion-MNIST's test articles, on which the shipped release was not trained. Then 20
images change, 50 products are added and 5 files are broken. The second night shows that only these are processed.

The second command writes all 10,000 test articles as a catalog, to measure a release on.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import click

from jobs.demo.shop import Shop
from jobs.errors import RunFailed
from jobs.runs.config import RunConfig, RunContext
from jobs.runs.night import nightly
from jobs.settings import Settings
from jobs.spark.session import check_java
from jobs.storage.places import Places
from models import fashion_mnist
from models.options import HELP
from models.release import SHIPPED, load_release
from sql import named_queries
from sql.store import ProductDatabase, open_database

NIGHTS = (date(2026, 1, 1), date(2026, 1, 2))
RUN_IDS = ("demo-night-1", "demo-night-2")


@dataclass(frozen=True)
class DemoReport:
    """Result of the demo's two nights.

    Attributes:
        home: Home of the demo; set `SHELFWISE_HOME` to it for further queries.
        nights: Summaries of the two runs.
        seconds: Wall time of each night in seconds, with the start of Spark and the loading of the networks.
        accuracy: Shares of the labelled products, in [0, 1]: with the correct category, with only a correct category
            above it, published automatically, and correct among these; and the numbers of products.
        answers: Column names and ten rows of `current_categories`.
        rejections: Column names and rows of the rejected images.
    """

    home: Path
    nights: tuple[dict[str, Any], dict[str, Any]]
    seconds: tuple[float, float]
    accuracy: dict[str, float]
    answers: tuple[Sequence[str], list[Sequence[Any]]]
    rejections: tuple[Sequence[str], list[Sequence[Any]]]


def run(settings: Settings, *, products: int) -> DemoReport:
    """Run the two nights of the demo in an embedded database, also if another database is configured.

    Args:
        settings: Settings of the home and of Spark.
        products: Number of articles in the first night, 20 to 9,930.

    Returns:
        The result to show.

    Raises:
        RunFailed: If the Fashion-MNIST data is missing or differs from the published data.
    """
    check_java()
    home = demo_home(Places(settings.places.local_home))
    try:
        articles = fashion_mnist.load("t10k", cache_dir=settings.places.local_home / "downloads")
    except (FileNotFoundError, ValueError) as error:
        raise RunFailed(str(error)) from error
    shop = Shop(home / "demo" / "catalog", articles)
    demo_settings = settings.model_copy(update={"home": home, "database_url": ""})
    context = RunContext(
        demo_settings.places, demo_settings.spark, load_release(SHIPPED), SHIPPED, demo_settings.products
    )
    database = open_database(demo_settings.url)
    database.upgrade()
    shop.open(products)
    summaries: list[dict[str, Any]] = []
    seconds: list[float] = []
    for night, run_id in zip(NIGHTS, RUN_IDS, strict=True):
        if summaries:
            shop.change(products)
        started = time.perf_counter()
        config = RunConfig(run_id=run_id, kind="nightly", run_date=night, dates=(night,))
        summaries.append(nightly(context, database, str(shop.directory / "catalog.csv"), config))
        seconds.append(round(time.perf_counter() - started, 1))
    return DemoReport(
        home=home,
        nights=(summaries[0], summaries[1]),
        seconds=(seconds[0], seconds[1]),
        accuracy=_accuracy(database, shop),
        answers=_query(database, "current_categories", limit=10),
        rejections=_query(database, "rejections", {"run_id": RUN_IDS[1]}),
    )


def demo_home(places: Places) -> Path:
    """Return an empty home for the demo: the usual home if only demos have used it, otherwise a separate one.

    Args:
        places: The usual home.

    Returns:
        The directory; files of an earlier demo are deleted.
    """
    separate = places.local_home / "demo" / "home"
    home = places.local_home if _only_demo(places) else separate
    for directory in (*Places(home).of_runs, home / "scratch", home / "demo" / "catalog"):
        shutil.rmtree(str(directory), ignore_errors=True)
    for suffix in ("", "-wal", "-shm"):
        (home / f"shelfwise.db{suffix}").unlink(missing_ok=True)
    return home


def clear(places: Places) -> None:
    """Delete the files of demos: in the usual home if only demos have used it, and in the demo's separate home."""
    demo_home(places)
    shutil.rmtree(places.local_home / "demo", ignore_errors=True)


def _only_demo(places: Places) -> bool:
    """Return whether only demos have used a home."""
    nights = {f"ingest_date={night}" for night in NIGHTS}
    runs = {f"run_id={run_id}" for run_id in RUN_IDS}
    names = [path.name for place in Places(places.local_home).of_runs for path in place.glob("*")]
    names = [name for name in names if not name.endswith(".json")]  # marks of demos that were killed
    return set(names) <= nights | runs and not _used_by_others(places.local_home / "shelfwise.db")


def _used_by_others(database: Path) -> bool:
    """Return whether an embedded database of any version contains an alias, or a run that is not the demo's."""
    if not database.exists():
        return False
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        names = connection.execute("SELECT run_id FROM runs").fetchall() if "runs" in tables else []
        aliases = "release_aliases" in tables and connection.execute("SELECT 1 FROM release_aliases").fetchone()
    return bool(aliases) or any(name not in RUN_IDS for (name,) in names)


def _query(
    database: ProductDatabase, name: str, params: Mapping[str, str] | None = None, *, limit: int | None = None
) -> tuple[Sequence[str], list[Sequence[Any]]]:
    result = named_queries.run_query(database, name, params, limit)
    return result.columns, list(result.rows)


def _accuracy(database: ProductDatabase, shop: Shop) -> dict[str, float]:
    """Compare the published categories with the labels of the shop."""
    labels = {row["product_id"]: row["category"] for row in shop.rows if row["category"]}
    columns, rows = _query(database, "current_categories")
    answers = [dict(zip(columns, row, strict=True)) for row in rows]
    hits = [answer["category_id"] == labels[answer["product_id"]] for answer in answers]
    groups = [labels[answer["product_id"]].startswith(f"{answer['category_id']}.") for answer in answers]
    automatic = [hit for hit, answer in zip(hits, answers, strict=True) if answer["status"] == "auto"]
    return {
        "products": len(labels),
        "tagged": len(answers),
        "accuracy": sum(hits) / len(labels),
        "right_group": sum(groups) / len(labels),
        "published_automatically": len(automatic) / len(labels),
        "accuracy_of_these": sum(automatic) / max(len(automatic), 1),
    }


@click.command(context_settings=HELP)
@click.argument("directory", type=click.Path(path_type=Path))
def main(directory: Path) -> None:
    """Write Fashion-MNIST's 10,000 test articles as a catalog.

    DIRECTORY gets catalog.csv and images/; it must not contain images/ yet.

    \b
    Example:
      python -P -m jobs.demo.nights articles
    """
    try:
        with tempfile.TemporaryDirectory() as cache:
            articles = fashion_mnist.load("t10k", cache_dir=Path(cache))
            Shop(directory, articles).open(len(articles.images))
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{directory / 'catalog.csv'}: {len(articles.images)} products")


if __name__ == "__main__":
    main()

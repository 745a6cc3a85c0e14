"""The command `shelfwise`: parses, calls one job, prints one summary, and says with its exit code how it went.

0: done. 1: the run failed. 2: the call is wrong. With `--json` one document goes to stdout; all else goes to stderr.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click
from pydantic import ValidationError

from jobs import demo_output, output
from jobs.config import RunConfig, RunFailed, UsageError
from jobs.publish import default_run_id
from jobs.settings import Settings
from models.release import ReleaseError, load_release
from sql.errors import DatabaseError, UnknownNameError

Command = Callable[..., Any]

log = logging.getLogger("shelfwise")


class Date(click.ParamType[date]):
    """A calendar date, YYYY-MM-DD, not after tomorrow: a mistyped year would outrank every later night."""

    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Parse and check."""
        try:
            day = value if isinstance(value, date) else datetime.strptime(value, "%Y-%m-%d").date()
        except ValueError:
            self.fail(f"{value!r} is not a date; write it as 2026-11-01", param, ctx)
        if day > datetime.now(UTC).date() + timedelta(days=1):
            self.fail(f"{day} is in the future; give the date of a night that has begun", param, ctx)
        return day


def _json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(command)


def _release_option(command: Command) -> Command:
    text = "A release's directory or release_id; by default the one in SHELFWISE_RELEASE_DIR, or the shipped one."
    return click.option("--release", metavar="RELEASE", help=text)(command)


def _run_options(command: Command) -> Command:
    batch = click.option("--batch-size", type=click.IntRange(1, 4096), default=32, show_default=True)
    name = click.option(
        "--run-id", help="Name of the run; by default made of its kind and date, so a rerun resumes it."
    )
    return name(batch(_release_option(_json_option(command))))


_catalog_option = click.option(
    "--catalog",
    required=True,
    help="A directory with a folder a category, a .csv, .jsonl or .parquet file, or `products`, the database's table.",
)
_date_option = click.option("--run-date", type=Date(), required=True, help="The night; also the ingest date.")
_rejected_option = click.option(
    "--max-rejected",
    type=click.FloatRange(0.0, 1.0),
    default=0.2,
    show_default=True,
    help="Share of a night's new images that may be rejected before the run fails.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="shelfwise")
def main_group() -> None:
    """Put products into categories by their images, and say how sure it is.

    \b
    Example:
      shelfwise nightly --catalog shop.csv --run-date 2026-11-01
      shelfwise query category_counts
    """


@main_group.command()
@_catalog_option
@_date_option
@_rejected_option
@_run_options
def nightly(catalog: str, run_date: date, max_rejected: float, as_json: bool, **options: Any) -> None:
    """Ingest, predict and publish one night.

    \b
    Example:
      shelfwise nightly --catalog photos/ --run-date 2026-11-01 --json
    """
    from jobs import nightly as nights

    settings = Settings()
    run = _night(options, run_date, max_rejected)
    output.summary(nights.nightly(_workshop(settings, options), _database(settings), catalog, run), as_json)


@main_group.command()
@click.option("--from", "first", type=Date(), required=True, help="First ingest date.")
@click.option("--to", "last", type=Date(), required=True, help="Last ingest date, included.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@_run_options
def backfill(first: date, last: date, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Predict and publish partitions that are there already; no source image is read.

    \b
    Example:
      shelfwise backfill --from 2026-10-01 --to 2026-10-31 --dry-run
    """
    from jobs import nightly as nights

    settings = Settings()
    dates = nights.backfill_dates(settings.places, first, last)
    workshop = _workshop(settings, options)
    run_id = options["run_id"] or default_run_id("backfill", (first, last), workshop.release.release_id)
    run = RunConfig(run_id=run_id, kind="backfill", run_date=last, dates=dates)
    if dry_run:
        output.summary(nights.backfill_plan(workshop, run), as_json)
    else:
        output.summary(nights.backfill(workshop, _database(settings), run), as_json)


@main_group.command()
@_catalog_option
@_date_option
@_json_option
def ingest(catalog: str, run_date: date, as_json: bool) -> None:
    """Read, verify and store the catalog's new and changed images.

    \b
    Example:
      shelfwise ingest --catalog shop.jsonl --run-date 2026-11-01
    """
    from jobs import nightly as nights
    from jobs.catalog import PRODUCTS_TABLE

    settings = Settings()
    database = _database(settings) if catalog == PRODUCTS_TABLE else None
    step = nights.ingest_step(settings.places, settings.spark, catalog, run_date, database=database)
    output.summary({"ingest_date": run_date.isoformat(), **step}, as_json)


@main_group.command()
@_date_option
@_rejected_option
@_run_options
def predict(run_date: date, max_rejected: float, as_json: bool, **options: Any) -> None:
    """Predict a night's ingested images; finished shards are skipped.

    \b
    Example:
      shelfwise predict --run-date 2026-11-01
    """
    from jobs import nightly as nights
    from jobs.publish import check_rejected

    settings = Settings()
    run, workshop = _night(options, run_date, max_rejected), _workshop(settings, options)
    check_rejected(settings.places, run)
    step = nights.predict_step(workshop, run)
    output.summary({"run_id": run.run_id, "release_id": workshop.release.release_id, **step}, as_json)


@main_group.command()
@_date_option
@_rejected_option
@_run_options
def publish(run_date: date, max_rejected: float, as_json: bool, **options: Any) -> None:
    """Put a night's predictions and rejections into the product database, in one transaction.

    \b
    Example:
      shelfwise publish --run-date 2026-11-01
    """
    from jobs import nightly as nights
    from jobs.publish import check_rejected

    settings = Settings()
    run, workshop, database = _night(options, run_date, max_rejected), _workshop(settings, options), _database(settings)
    with nights.recorded(database, run) as started_at_utc:
        check_rejected(settings.places, run)
        step = nights.publish_step(workshop, database, run, started_at_utc=started_at_utc, steps={})
    output.summary({"run_id": run.run_id, "release_id": workshop.release.release_id, **step}, as_json)


@main_group.command()
@click.argument("name", required=False)
@click.option("--param", "-p", "params", multiple=True, metavar="NAME=VALUE", help="A parameter; may be repeated.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many rows.")
@click.option("--format", "form", type=click.Choice(output.FORMATS), help="By default a table.")
@click.option("--explain", is_flag=True, help="Show what the query is for and its SQL, and do not run it.")
def query(name: str | None, params: tuple[str, ...], limit: int | None, form: str | None, explain: bool) -> None:
    """Ask the product database; without a NAME, list what can be asked.

    \b
    Example:
      shelfwise query category_counts --format json
      shelfwise query current_categories --limit 10
    """
    from sql import named_queries

    if name is None:
        output.query_list(named_queries.list_queries(), form)
        return
    if explain:
        output.explain(named_queries.find_query(name))
        return
    pairs = [param.partition("=") for param in params]
    if not all(separator for _, separator, _ in pairs):
        raise UsageError("a parameter is written NAME=VALUE, as in --param category_id=apparel.tops.shirt")
    values = {key: value for key, _, value in pairs}
    database = _database(Settings())
    try:
        result = named_queries.run_query(database, name, values, limit)
    except ValueError as error:
        raise UsageError(str(error)) from error
    output.rows(result, form)


@main_group.group()
def db() -> None:
    """Look after the product database's schema.

    \b
    Example:
      shelfwise db upgrade
    """


@db.command()
@_json_option
def upgrade(as_json: bool) -> None:
    """Create the tables and views, or bring them up to this version; rows stay.

    \b
    Example:
      SHELFWISE_DATABASE_URL=postgresql://shop@db.example/products shelfwise db upgrade
    """
    from sql.store import open_database

    database = open_database(Settings().url)
    database.upgrade()
    output.summary({"database": str(database), "state": "up to date"}, as_json)


@main_group.command()
@click.option("--products", type=click.IntRange(20, 10_000), default=2000, show_default=True, help="In night one.")
@_json_option
def demo(products: int, as_json: bool) -> None:
    """Tag 2,000 real articles, change some, tag again, and show what happened; needs no data of yours.

    \b
    Example:
      shelfwise demo
    """
    from jobs import demo as demonstration

    demo_output.show(demonstration.run(Settings(), products=products), as_json)


def _night(options: dict[str, Any], run_date: date, max_rejected: float) -> RunConfig:
    run_id = options["run_id"] or default_run_id("nightly", (run_date,), "")
    return RunConfig(run_id=run_id, kind="nightly", run_date=run_date, dates=(run_date,), max_rejected=max_rejected)


def _workshop(settings: Settings, options: dict[str, Any]) -> Any:
    from jobs.nightly import Workshop

    release_dir = settings.find_release(options["release"])
    release = load_release(release_dir)
    return Workshop(settings.places, settings.spark, release, release_dir.absolute(), options["batch_size"])


def _database(settings: Settings) -> Any:
    """Open the database; the embedded default is made when it is not there yet, any other is left to `db upgrade`."""
    from sql.store import open_database

    database = open_database(settings.url)
    if not settings.database_url and not settings.embedded_database.exists():
        database.upgrade()
    database.check()
    return database


def main() -> None:
    """Run the command line; every expected fault becomes one sentence and an exit code."""
    output.configure_logging()
    try:
        main_group(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        _fail("interrupted; what was finished is kept, and the same command goes on from there", 1)
    except ValidationError as error:
        first = error.errors()[0]
        name = f"SHELFWISE_{str(first['loc'][0]).upper()}" if first["loc"] else "the environment"
        _fail(f"{name}: {first['msg']}", 2)
    except (UsageError, ReleaseError, UnknownNameError) as error:
        _fail(str(error), 2)
    except (RunFailed, DatabaseError) as error:
        _fail(str(error), 1)


def _fail(sentence: str, code: int) -> None:
    click.echo(f"shelfwise: {sentence}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()

"""What several commands take, and the objects that they make of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from jobs.errors import UsageError
from jobs.runs.config import RunConfig, nightly_run_id
from jobs.settings import Settings
from models.release import load_release

if TYPE_CHECKING:
    from jobs.runs.config import Workshop
    from sql.store import ProductDatabase

Command = Callable[..., Any]


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


class NumberRange(click.FloatRange):
    """A number within limits; `nan`, which is within all of them, and `inf` are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse and check."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


def json_option(command: Command) -> Command:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(command)


def release_option(command: Command) -> Command:
    """Add `--release`."""
    text = "A release's directory, id or alias; by default SHELFWISE_RELEASE_DIR, the champion, or the shipped one."
    return click.option("--release", metavar="RELEASE", help=text)(command)


def run_options(command: Command) -> Command:
    """Add what every run takes: `--json`, `--release`, `--batch-size` and `--run-id`."""
    return run_id_option(batch_option(release_option(master_option(json_option(command)))))


def master_option(command: Command) -> Command:
    """Add `--master`."""
    text = "Spark's master: local[4], spark://HOST:7077, yarn, k8s://...; by default SHELFWISE_MASTER."
    return click.option("--master", metavar="URL", help=text)(command)


def settings_of(options: dict[str, Any]) -> Settings:
    """Return the settings, with `--master` before the environment's.

    Raises:
        UsageError: If spark-submit has named another master already.
    """
    from jobs.spark.session import submitted

    master = options.get("master")
    if master and submitted():
        raise UsageError("spark-submit has a --master of its own, which holds; leave shelfwise's out")
    return Settings(master=master) if master else Settings()


catalog_option = click.option(
    "--catalog",
    required=True,
    help="A directory with a folder a category, a .csv, .jsonl or .parquet file, or `products`, the database's table.",
)
batch_option = click.option(
    "--batch-size", type=click.IntRange(1, 4096), help="Images a call; by default 32, on a GPU found by trying."
)
run_id_option = click.option(
    "--run-id", help="Name of the run; by default made of its kind and date, so a rerun resumes it."
)
date_option = click.option("--run-date", type=Date(), required=True, help="The night; also the ingest date.")
rejected_option = click.option(
    "--max-rejected",
    type=NumberRange(0.0, 1.0),
    default=0.2,
    show_default=True,
    help="Share of a night's new images that may be rejected before the run fails.",
)


def night_of(options: dict[str, Any], run_date: date, max_rejected: float) -> RunConfig:
    """Return the run of a night: its one date is the ingest date."""
    run_id = options["run_id"] or nightly_run_id(run_date)
    return RunConfig(run_id=run_id, kind="nightly", run_date=run_date, dates=(run_date,), max_rejected=max_rejected)


def workshop_of(settings: Settings, options: dict[str, Any]) -> Workshop:
    """Return what every step needs, with the release verified."""
    from jobs.releases.lookup import in_use, lasting_name
    from jobs.runs.config import Workshop
    from jobs.storage.stores import check_usable

    check_usable(settings.places.home)
    release_dir = in_use(settings, options["release"])
    release = load_release(release_dir)
    return Workshop(
        places=settings.places,
        spark=settings.spark,
        release=release,
        release_dir=release_dir.absolute(),
        products=settings.products,
        batch_size=options["batch_size"],
        http=settings.http,
        precision=settings.precision,
        release_name=lasting_name(settings, options["release"], release_dir),
    )


def database_of(settings: Settings) -> ProductDatabase:
    """Open the database; the embedded default is made while it has no table, any other is left to `db upgrade`."""
    from sql.store import open_database

    database = open_database(settings.url)
    if not settings.database_url:
        database.make()
    database.check()
    return database


def run_row(database: ProductDatabase, run_id: str) -> dict[str, Any]:
    """Return a run's row by column.

    Raises:
        UsageError: If there is no such run; lists the latest.
    """
    from sql.run_history import find_run, list_runs

    found = find_run(database, run_id)
    if found is None:
        latest = ", ".join(str(row[0]) for row in list_runs(database, limit=5))
        raise UsageError(f"no run {run_id!r}; the latest are: {latest or 'there is none yet'}")
    return found

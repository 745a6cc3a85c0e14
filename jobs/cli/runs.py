"""The commands that run jobs: nights, their single steps, backfills, and a challenger beside the champion."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from jobs.cli import output
from jobs.cli.options import (
    Date,
    batch_option,
    catalog_labels_option,
    catalog_option,
    context_of,
    database_of,
    date_option,
    description_of,
    description_options,
    json_option,
    leaving_of,
    leaving_options,
    master_option,
    night_of,
    rejected_option,
    run_id_option,
    run_options,
    run_row,
    settings_of,
    shift_option,
    step_options,
)
from jobs.cli.reading_database import reading_database_of
from jobs.cli.resume import FINISH_NIGHT, resumable
from jobs.ingest.config import IngestConfig
from jobs.runs.config import RunConfig
from jobs.runs.run_ids import backfill_run_id
from jobs.settings import Settings

if TYPE_CHECKING:
    from jobs.runs.config import RunContext
    from sql.store import ProductDatabase


@click.command()
@catalog_option
@leaving_options
@description_options
@date_option
@rejected_option
@shift_option
@click.option(
    "--shadow", is_flag=True, help="Also predict with the challenger; only the champion's answers are published."
)
@catalog_labels_option
@run_options
def nightly(
    catalog: str,
    run_date: date,
    max_rejected: float,
    shadow: bool,
    labels: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Ingest, predict and publish the night of --run-date.

    \b
    Example:
      shelfwise nightly --catalog photos/ --run-date 2026-11-01 --json
    """
    from jobs.cli.shipped_release import warn_of_shipped_release
    from jobs.dataset.label_map import read_label_map
    from jobs.runs import night as nights

    settings = settings_of(options)
    label_map = read_label_map(labels) if labels is not None else None
    run, context = night_of(options, run_date, max_rejected), context_of(settings, options)
    database = database_of(settings)
    warn_of_shipped_release(settings, options["release"], context.release_dir, catalog)
    done = nights.nightly(
        context,
        database,
        catalog,
        resumable(run, context),
        labels=label_map,
        description=description_of(options),
        **leaving_of(options),
    )
    if shadow:
        done["shadow"] = _challenge(settings, options, context, database, run)
    output.summary(done, as_json)


@click.command()
@click.option("--from", "first", type=Date(), required=True, help="First ingest date.")
@click.option("--to", "last", type=Date(), required=True, help="Last ingest date, included.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@click.option(
    "--force", is_flag=True, help="Also replace answers of newer releases; answers of a person are never replaced."
)
@click.option("--category", default="", help="Predict only products that are now in this category or below it.")
@click.option("--only-missing", is_flag=True, help="Predict only images that have no answer of this release yet.")
@click.option("--include-left", is_flag=True, help="Also predict products that no catalog names any more.")
@shift_option
@run_options
def backfill(
    first: date,
    last: date,
    dry_run: bool,
    force: bool,
    category: str,
    only_missing: bool,
    include_left: bool,
    allow_shift: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Predict and publish the partitions --from to --to again. Reads the stored dataset and no source image.

    Products that no catalog names any more are left out. One that returns later keeps its answer of the older release,
    until a backfill predicts it.

    \b
    Example:
      shelfwise backfill --from 2026-10-01 --to 2026-10-31 --dry-run
      shelfwise backfill --from 2026-10-01 --to 2026-10-31 --category apparel.tops --only-missing
    """
    from jobs.runs import backfill as backfills
    from sql.store import open_database

    settings = settings_of(options)
    dates = backfills.backfill_dates(settings.places, first, last)
    context = context_of(settings, options)
    part: dict[str, Any] = {"category": category, "only_missing": only_missing, "include_left": include_left}
    run_id = options["run_id"] or backfill_run_id(first, last, context.release.release_id, **part)
    run = RunConfig(
        run_id=run_id,
        kind="backfill",
        run_date=last,
        dates=dates,
        force=force,
        allow_shift=allow_shift,
        **part,
    )
    if dry_run:
        has_database = settings.database_url or not open_database(settings.url).is_new()
        database = database_of(settings) if has_database else None  # a dry run must not create the tables
        output.summary(backfills.backfill_plan(context, database, run), as_json)
    else:
        output.summary(backfills.backfill(context, database_of(settings), resumable(run, context)), as_json)


@click.command()
@catalog_option
@leaving_options
@description_options
@date_option
@catalog_labels_option
@master_option
@json_option
def ingest(catalog: str, run_date: date, labels: str | None, as_json: bool, **options: Any) -> None:
    """Store the new and changed images of --catalog. Each is read, verified and normalised first.

    \b
    Example:
      shelfwise ingest --catalog shop.jsonl --run-date 2026-11-01
    """
    from jobs.dataset.label_map import read_label_map
    from jobs.ingest.catalog import PRODUCTS_TABLE
    from jobs.runs import night as nights
    from jobs.storage.stores import check_usable

    settings = settings_of(options)
    label_map = read_label_map(labels) if labels is not None else None
    check_usable(settings.places.home)
    if catalog == PRODUCTS_TABLE and not settings.products_url:
        database_of(settings)
    config = IngestConfig(
        catalog,
        run_date,
        settings.places,
        products=settings.products,
        http=settings.http,
        max_megapixels=settings.max_megapixels,
        labels=label_map,
        description=description_of(options),
        **leaving_of(options),
    )
    step, _ = nights.ingest_step(settings.spark, config)
    output.summary({"ingest_date": run_date.isoformat(), **step}, as_json)


@click.command("ingest-refusal", hidden=True)
@date_option
@json_option
def ingest_refusal(run_date: date, as_json: bool) -> None:
    """Print why the last ingest of --run-date was refused. Airflow calls it after an ingest that failed.

    \b
    Example:
      shelfwise ingest-refusal --run-date 2026-11-01 --json
    """
    from jobs.ingest.reports import last_refusal

    output.summary({"ingest_date": run_date.isoformat(), **last_refusal(Settings().places, run_date)}, as_json)


@click.command()
@step_options
def predict(**options: Any) -> None:
    """Predict the ingested images of the night of --run-date. Finished shards are skipped.

    \b
    Example:
      shelfwise predict --run-date 2026-11-01
    """
    from jobs.cli.shipped_release import warn_of_ingested_night
    from jobs.runs import night as nights

    def predict_night(context: RunContext, database: ProductDatabase, run: RunConfig) -> dict[str, Any]:
        warn_of_ingested_night(Settings(), options["release"], context.release_dir, run.run_date)
        return nights.predict_night(context, database, run)

    _step(predict_night, options)


@click.command()
@step_options
def publish(**options: Any) -> None:
    """Publish the night of --run-date: write predictions and rejections to the product database, in one transaction.

    \b
    Example:
      shelfwise publish --run-date 2026-11-01
    """
    from jobs.runs import night as nights

    _step(nights.publish_night, options)


@click.command(name=FINISH_NIGHT, hidden=True)
@step_options
def finish_night(**options: Any) -> None:
    """Predict and publish the ingested night of --run-date. `shelfwise runs resume` calls it for separate steps.

    \b
    Example:
      shelfwise finish-night --run-date 2026-11-01
    """
    from jobs.runs import night as nights

    _step(nights.finish_night, options)


def _step(step: Callable[[RunContext, ProductDatabase, RunConfig], dict[str, Any]], options: dict[str, Any]) -> None:
    """Run a step of an ingested night and print its summary; the run remembers the command that is being executed."""
    settings = settings_of(options)
    run = night_of(options, options["run_date"], options["max_rejected"])
    context = context_of(settings, options)
    output.summary(step(context, database_of(settings), resumable(run, context)), options["as_json"])


@click.command()
@date_option
@shift_option
@run_id_option
@batch_option
@master_option
@json_option
def shadow(run_date: date, as_json: bool, **options: Any) -> None:
    """Predict the published night of --run-date with the challenger. Published answers stay, even if this fails.

    \b
    Example:
      shelfwise shadow --run-date 2026-11-01
    """
    from jobs.runs.shadow import publisher

    settings = settings_of(options)
    run = night_of(options, run_date, max_rejected=1.0)  # the share was checked before the night was published
    database = reading_database_of(settings)  # without a database there is no published night
    row = run_row(database, run.run_id)
    champion = context_of(settings, {**options, "release": publisher(row, run)})
    done = _challenge(settings, options, champion, database, run)
    output.summary({"run_id": run.run_id, "champion": row["release_id"], **done}, as_json)


def _challenge(
    settings: Settings, options: dict[str, Any], champion: RunContext, database: ProductDatabase, run: RunConfig
) -> dict[str, Any]:
    """Predict a night with the challenger after the champion has published it."""
    from jobs.runs.shadow import try_challenger

    def challenger() -> RunContext:
        return context_of(settings, {**options, "release": "challenger"})

    return try_challenger(champion, challenger, database, run)

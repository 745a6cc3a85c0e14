"""The commands on runs that are recorded: list, show, resume, retract."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from jobs.cli import output
from jobs.cli.options import database_of, json_option, run_row
from jobs.cli.person_options import by_option, refused_values_explained, why_option
from jobs.cli.reading_database import reading_database_of
from jobs.settings import Settings


@click.group()
def runs() -> None:
    """List and show runs, resume one that stopped, and take one back that was published.

    \b
    Example:
      shelfwise runs list --state failed
      shelfwise runs resume nightly-2026-11-01
    """


@runs.command("list")
@click.option("--state", type=click.Choice(("running", "published", "failed")), help="List only runs in this state.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Most runs to list.")
@json_option
def list_(state: str | None, limit: int, as_json: bool) -> None:
    """Print the latest runs, newest first. A run whose driver died stays `running` until it is resumed.

    \b
    Example:
      shelfwise runs list --state failed
    """
    from sql.run_history import LISTED, list_runs

    rows = list_runs(reading_database_of(Settings()), state=state, limit=limit)
    if as_json:
        output.summary({"runs": [dict(zip(LISTED, map(_plain, row), strict=True)) for row in rows]}, as_json)
    else:
        output.table(LISTED, rows)


@runs.command()
@click.argument("run_id", metavar="RUN_ID")
@json_option
def show(run_id: str, as_json: bool) -> None:
    """Print a run's command and results: counts, seconds of each stage, devices, the slowest stage.

    \b
    Example:
      shelfwise runs show nightly-2026-11-01 --json
    """
    output.summary(
        {name: _plain(value) for name, value in run_row(reading_database_of(Settings()), run_id).items()}, as_json
    )


@runs.command()
@click.argument("run_id", metavar="RUN_ID")
@json_option
@click.pass_context
def resume(context: click.Context, run_id: str, as_json: bool) -> None:
    """Resume a run that stopped, or publish one again that was retracted.

    It uses the same catalog, release and options; finished shards are not computed again.

    \b
    Example:
      shelfwise runs resume nightly-2026-11-01
    """
    from jobs.cli.resume import call_again

    row = run_row(reading_database_of(Settings()), run_id)
    call = row["summary"].get("call") or []
    stands = row["state"] == "published" and row["retracted_at_utc"] is None
    if stands and "--shadow" not in call:  # the shadow step may be unfinished: it runs last
        output.summary({"run_id": run_id, "state": "published", "resumed": False}, as_json)
        return
    call_again(context.find_root().command, run_id, call, as_json=as_json)


@runs.command()
@click.argument("run_id", metavar="RUN_ID")
@by_option
@why_option
@json_option
def retract(run_id: str, decided_by: str, why: str | None, as_json: bool) -> None:
    """Take a published run back: delete its predictions, and answer its products by what remains.

    Predictions of earlier runs that it had overwritten come back. Decisions of people, answers of other runs and
    rejected images stay. What the catalog named stays too: a product whose picture only this run predicted has no
    answer then, as `shelfwise query without_answer` shows, and what has left stays away. History that was pruned does
    not come back. `shelfwise runs resume RUN_ID` publishes the run again.

    \b
    Example:
      shelfwise runs retract nightly-2026-11-01 --by ada --why "the photographs of two suppliers were swapped"
    """
    from jobs.releases.records import decider
    from sql.retract import retract_run

    with refused_values_explained():
        counts = retract_run(database_of(Settings()), run_id, by=decided_by, why=why, combine_by=decider)
    output.summary({"run_id": run_id, "retracted_by": decided_by, **asdict(counts)}, as_json)


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value

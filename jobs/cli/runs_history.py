"""The commands that list and show runs, and resume one that stopped."""

from __future__ import annotations

from typing import Any

import click

from jobs.cli import output
from jobs.cli.options import database_of, json_option, run_row
from jobs.settings import Settings


@click.group()
def runs() -> None:
    """List and show runs, and resume one that stopped.

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
    """List the latest runs, newest first. A run whose driver died stays `running` until it is resumed.

    \b
    Example:
      shelfwise runs list --state failed
    """
    from sql.run_history import LISTED, list_runs

    rows = list_runs(database_of(Settings()), state=state, limit=limit)
    if as_json:
        output.summary({"runs": [dict(zip(LISTED, map(_plain, row), strict=True)) for row in rows]}, as_json)
    else:
        output.table(LISTED, rows)


@runs.command()
@click.argument("run_id", metavar="RUN_ID")
@json_option
def show(run_id: str, as_json: bool) -> None:
    """Show a run's command and results: counts, seconds of each stage, devices, the slowest stage.

    \b
    Example:
      shelfwise runs show nightly-2026-11-01 --json
    """
    output.summary({name: _plain(value) for name, value in run_row(database_of(Settings()), run_id).items()}, as_json)


@runs.command()
@click.argument("run_id", metavar="RUN_ID")
@json_option
@click.pass_context
def resume(context: click.Context, run_id: str, as_json: bool) -> None:
    """Resume a run that stopped. Uses the same catalog, release and options; finished shards are not computed again.

    \b
    Example:
      shelfwise runs resume nightly-2026-11-01
    """
    from jobs.cli.resume import call_again

    row = run_row(database_of(Settings()), run_id)
    call = row["summary"].get("call") or []
    if row["state"] == "published" and "--shadow" not in call:  # the shadow step may be unfinished: it runs last
        output.summary({"run_id": run_id, "state": "published", "resumed": False}, as_json)
        return
    call_again(context.find_root().command, run_id, call, as_json=as_json)


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value

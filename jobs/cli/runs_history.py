"""The commands that look at runs, and go on with one that stopped."""

from __future__ import annotations

from typing import Any

import click

from jobs.cli import output
from jobs.cli.options import database_of, json_option, run_row
from jobs.settings import Settings


@click.group()
def runs() -> None:
    """Look at runs, and go on with one that stopped.

    \b
    Example:
      shelfwise runs list --state failed
      shelfwise runs resume nightly-2026-11-01
    """


@runs.command("list")
@click.option("--state", type=click.Choice(("running", "published", "failed")), help="Only these.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@json_option
def list_(state: str | None, limit: int, as_json: bool) -> None:
    """List the latest runs, the latest first. One whose driver died stays `running` until it is resumed.

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
    """Show what a run was called with, did and told: counts, seconds of each stage, devices, its slowest stage.

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
    """Go on with a run that stopped. Same catalog, release and options; finished shards are not computed again.

    \b
    Example:
      shelfwise runs resume nightly-2026-11-01
    """
    from jobs.cli.resume import again

    found = run_row(database_of(Settings()), run_id)
    call = found["summary"].get("call") or []
    if found["state"] == "published" and "--shadow" not in call:  # a shadow comes after the publishing
        output.summary({"run_id": run_id, "state": "published", "resumed": False}, as_json)
        return
    again(context.find_root().command, run_id, call, as_json=as_json)


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value

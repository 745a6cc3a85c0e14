"""The command that writes the report page of a run."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from jobs.cli import output
from jobs.cli.options import json_option
from jobs.cli.reading_database import reading_database_of
from jobs.settings import Settings
from jobs.storage.modes import usual_files


@click.command()
@click.option("--run-id", required=True, help="Id of the run, as `shelfwise query run_summary` lists it.")
@click.option(
    "--output",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    help="HTML file to write; by default reports/RUN_ID.html in SHELFWISE_HOME.",
)
@json_option
def report(run_id: str, target: Path | None, as_json: bool) -> None:
    """Write an HTML page about the run --run-id, of any kind and state. The file needs no other file and no server.

    \b
    Example:
      shelfwise report --run-id nightly-2026-11-01
      shelfwise report --run-id nightly-2026-11-01 --output night.html --json
    """
    from jobs.report import job as job

    settings = Settings()
    database = reading_database_of(settings)
    with usual_files() if target else nullcontext():
        done = job.write(database, settings.places, run_id, target)
    output.summary(done if as_json else _short(done), as_json)


def _short(done: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that fit a terminal: the result of the run and the path of the page."""
    shown = ("run_id", "state", "headline", "sentence", "unusual", "error", "pictures_missing", "report")
    return {name: done[name] for name in shown if done[name]}

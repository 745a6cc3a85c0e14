"""Record the command line of a run, so that `shelfwise runs resume` can repeat it from any directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.errors import UsageError
from jobs.ingest.catalog import PRODUCTS_TABLE
from jobs.runs.config import RunConfig

if TYPE_CHECKING:
    from jobs.runs.config import RunContext

FINISH_NIGHT = "finish-night"
"""Command that resumes a night whose steps are called as separate commands; it takes the same options as a step."""

STEPS = ("predict", "publish")
_NOT_RECORDED = ("as_json",)


def resumable(run: RunConfig, context: RunContext) -> RunConfig:
    """Return a run's configuration with the current command line recorded in it, by which the run is resumed.

    Values that could mean something else later are written out: the run_id, the release in use (another may become
    champion meanwhile) and the absolute paths of the catalog and of the label map.
    """
    command = click.get_current_context()
    pinned = {"run_id": run.run_id, "release": context.release_name or str(context.release_dir)}
    catalog = command.params.get("catalog")
    if catalog and catalog != PRODUCTS_TABLE and Path(catalog).exists():
        pinned["catalog"] = str(Path(catalog).absolute())
    labels = command.params.get("labels")
    if labels and Path(labels).exists():
        pinned["labels"] = str(Path(labels).absolute())
    return replace(run, call=tuple(arguments(command, pinned)))


def arguments(context: click.Context, pinned: dict[str, str]) -> list[str]:
    """Return the arguments with which a command line is resumed: `["nightly", "--run-date", "2026-11-01", ...]`.

    Args:
        context: Click context of the command, whose parameters are all options.
        pinned: Values that replace those of the command line, by parameter name.
    """
    repeated = [str(context.command.name)]
    for option in context.command.params:
        name = str(option.name)
        value: Any = pinned.get(name, context.params.get(name))
        if not isinstance(option, click.Option) or name in _NOT_RECORDED or value is None:
            continue
        if option.is_flag:
            repeated += option.opts[:1] if value else option.secondary_opts[:1]
        else:
            values = value if option.multiple else [value]
            repeated += [word for each in values for word in (option.opts[0], str(each))]
    return repeated


def call_again(root: click.Command, run_id: str, call: object, *, as_json: bool) -> None:
    """Execute the recorded command line of a run again, to resume the run.

    Args:
        root: The click command `shelfwise`.
        run_id: Id of the run.
        call: Arguments that `resumable` stored in the run's row.
        as_json: Whether to print the result as one JSON document.

    Raises:
        UsageError: If no command line is stored for the run; run its command again instead.
    """
    if not isinstance(call, list) or not call:
        raise UsageError(f"run {run_id} does not say how it was called; run its command again, which goes on too")
    if call[0] in STEPS:  # finishing the night skips finished shards, and also publishes
        call = [FINISH_NIGHT, *call[1:]]
    root.main([*map(str, call), *(["--json"] if as_json else [])], prog_name="shelfwise", standalone_mode=False)

"""How a run was called, so that `shelfwise runs resume` can call it again from anywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.errors import UsageError
from jobs.ingest.catalog import PRODUCTS_TABLE
from jobs.runs.config import RunConfig

if TYPE_CHECKING:
    from jobs.runs.config import Workshop

FINISH_NIGHT = "finish-night"
"""The command that goes on with a night of which a step of its own was called; it takes the same options."""

STEPS = ("predict", "publish")
_ABOUT_PRINTING = ("as_json",)


def resumable(run: RunConfig, workshop: Workshop) -> RunConfig:
    """Return a run that remembers the command that is being executed.

    What the run depends on is written out: its name, the release that it uses whatever becomes champion meanwhile, and
    where a relative catalog lies.
    """
    context = click.get_current_context()
    pinned = {"run_id": run.run_id, "release": workshop.release_name or str(workshop.release_dir)}
    catalog = context.params.get("catalog")
    if catalog and catalog != PRODUCTS_TABLE and Path(catalog).exists():
        pinned["catalog"] = str(Path(catalog).absolute())
    return replace(run, call=tuple(arguments(context, pinned)))


def arguments(context: click.Context, pinned: dict[str, str]) -> list[str]:
    """Return the arguments that call a command as it was called: `["nightly", "--run-date", "2026-11-01", ...]`.

    Args:
        context: Of the command; all that it takes are options.
        pinned: Values to write in place of those given, by parameter name.
    """
    said = [str(context.command.name)]
    for option in context.command.params:
        name = str(option.name)
        value: Any = pinned.get(name, context.params.get(name))
        if not isinstance(option, click.Option) or name in _ABOUT_PRINTING or value is None:
            continue
        if option.is_flag:
            said += option.opts[:1] if value else option.secondary_opts[:1]
        else:
            said += [word for each in (value if option.multiple else [value]) for word in (option.opts[0], str(each))]
    return said


def again(root: click.Command, run_id: str, call: object, *, as_json: bool) -> None:
    """Execute a call once more.

    Args:
        root: The command `shelfwise`.
        run_id: Whose call it is.
        call: As `resumable` left it in the run's row.
        as_json: Whether one JSON document shall be printed.

    Raises:
        UsageError: If the run does not say how it was called.
    """
    if not isinstance(call, list) or not call:
        raise UsageError(f"run {run_id} does not say how it was called; run its command again, which goes on too")
    if call[0] in STEPS:  # what is finished of it is not done again, and the night is to be published
        call = [FINISH_NIGHT, *call[1:]]
    root.main([*map(str, call), *(["--json"] if as_json else [])], prog_name="shelfwise", standalone_mode=False)

"""The option `--labels-from`: whose labels a training learns, and where the decisions of people are read."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from jobs.dataset.decided_labels import BOTH, LABELS_FROM, Decided, ReadDecisions, no_decisions
from jobs.dataset.labels import CATALOG
from jobs.settings import Settings


def labels_from_option(command: Any) -> Any:
    """Add the option `--labels-from`."""
    return click.option(
        "--labels-from",
        type=click.Choice(LABELS_FROM),
        default=BOTH,
        show_default=True,
        help="Whose labels to learn: the catalog's categories, people's decisions, or both, people's first. What is "
        "measured and promised rests on the catalog's labels alone.",
    )(command)


def decisions_of(settings: Settings, labels_from: str) -> ReadDecisions:
    """Return what reads the decisions of people for a training; the database is opened when it is called.

    Args:
        settings: Settings of this process.
        labels_from: Value of `--labels-from`; with the catalog alone, no database is opened.
    """
    return no_decisions if labels_from == CATALOG else partial(_read, settings)


def _read(settings: Settings, until: int | None) -> Decided:
    """Read the decisions; none if the embedded database does not exist yet."""
    from jobs.training.decisions import decisions_in
    from sql.store import open_database

    database = open_database(settings.url)
    if not settings.database_url and database.is_new():
        return Decided()
    return decisions_in(database, until)

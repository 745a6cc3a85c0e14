"""Options of the commands by which a person decides, and the errors of values that the database refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from jobs.errors import UsageError

by_option = click.option("--by", "decided_by", required=True, metavar="NAME", help="Name of the person who decides.")
why_option = click.option("--why", metavar="TEXT", help="Reason for the decision; stored in the history.")


@contextmanager
def refused_values_explained() -> Iterator[None]:
    """Raise UsageError for a command's value that the database layer refuses."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise UsageError(f"{error.object!r} is not text in UTF-8; write it as the database spells it") from error
    except ValueError as error:
        raise UsageError(str(error)) from error

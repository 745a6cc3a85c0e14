"""What people and programs read: one summary or result on stdout, everything else on stderr."""

from __future__ import annotations

import csv
import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

FORMATS = ("table", "csv", "json")
_NOISY = ("py4j", "petastorm", "alembic", "absl")


def configure_logging() -> None:
    """Send the log to stderr, a line a fact; libraries speak up only from warnings on."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


def summary(document: Mapping[str, Any], as_json: bool) -> None:
    """Print a run's summary: a JSON document, or its parts line by line."""
    if as_json:
        click.echo(json.dumps(document, default=_plain))
        return
    for line in _lines(document):
        click.echo(line)


def rows(result: Any, form: str | None) -> None:
    """Print a query's result.

    Args:
        result: Has `columns` and `rows`.
        form: One of `FORMATS`; None is a table.
    """
    match form:
        case "json":
            documents = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
            click.echo(json.dumps(documents, default=_plain, indent=2))
        case "csv":
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(result.columns)
            writer.writerows([[_plain(value) if value is not None else "" for value in row] for row in result.rows])
        case _:
            table(result.columns, result.rows)


def query_list(queries: Iterable[Any], form: str | None) -> None:
    """List what can be asked: each query's name, parameters and purpose."""
    listed = [(each.name, " ".join(each.parameters), each.purpose) for each in queries]
    names = ("query", "parameters", "purpose")
    if form == "json":
        click.echo(json.dumps([dict(zip(names, row, strict=True)) for row in listed], indent=2))
    else:
        table(names, listed)


def explain(query: Any) -> None:
    """Show what a query is for, what it takes, what one row is, and its SQL."""
    click.echo(f"-- {query.name}: {query.purpose}\n-- Grain: {query.grain}")
    for parameter in query.parameters.values():
        need = "required" if parameter.required else f"default {parameter.default}"
        click.echo(f"-- :{parameter.name} ({parameter.type}, {need}) {parameter.meaning}")
    click.echo(query.statement)


def table(columns: Sequence[str], values: Iterable[Sequence[Any]], *, title: str | None = None) -> None:
    """Print a table; what a catalog says is shown as it is, never read as markup or as terminal commands."""
    shown = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD)
    for name in columns:
        shown.add_column(name, overflow="fold")
    for row in values:
        shown.add_row(*(escape(_printable(value)) for value in row))
    _console().print(shown)


def line(text: str) -> None:
    """Print one line of a report."""
    _console().print(escape(_printable(text)), highlight=False, soft_wrap=True)


def _console() -> Console:
    width = None if sys.stdout.isatty() else 140
    return Console(file=sys.stdout, width=width)


def _printable(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.4f}" if isinstance(value, float) else str(_plain(value))
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _plain(value: Any) -> Any:
    """Return a value that JSON and CSV can hold."""
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return json.dumps(value, default=str) if isinstance(value, (dict, list)) else str(value)


def _lines(document: Mapping[str, Any], indent: str = "") -> Iterable[str]:
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent}{name}: {_printable(value) or '-'}"

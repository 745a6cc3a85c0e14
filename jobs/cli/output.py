"""Printed output for people and programs: one summary or result on stdout, everything else on stderr."""

from __future__ import annotations

import csv
import json
import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TextIO

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jobs.wording import one_line, printable

_WIDE = 1000
"""Line width in characters if the output is not a terminal: wide enough that no table row is wrapped."""

FORMATS = ("table", "csv", "json", "parquet")
_SHA256 = re.compile("[0-9a-f]{64}")
_NOISY = ("py4j", "petastorm", "alembic", "absl", "urllib3")  # the last one's lines have whole links
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Starts of cells that spreadsheets take for formulas: https://owasp.org/www-community/attacks/CSV_Injection"""
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


class PrintableFormatter(logging.Formatter):
    """Formats log lines; texts of catalogs in them cannot command a terminal, nor write a second line."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line of a record without the traceback."""
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, and its traceback below it."""
        return printable(super().format(record))


def configure_logging() -> None:
    """Send log lines to stderr; libraries log warnings and errors only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


def summary(document: Mapping[str, Any], as_json: bool) -> None:
    """Print the summary of a command, as one JSON document or as lines of `name: value`."""
    if as_json:
        click.echo(json.dumps(document, default=_plain))
        return
    for line in _lines(document):
        click.echo(one_line(line))


def message(text: str) -> None:
    """Print a message to stderr; texts of catalogs in it cannot command a terminal."""
    click.echo(printable(text), err=True)


def rows(result: Any, form: str | None, target: Path | None = None, *, safe: bool = False, bom: bool = False) -> None:
    """Print a query's result rows, or write them to a file.

    Args:
        result: Query result with `columns` and `rows`.
        form: One of `FORMATS`; None prints a table.
        target: File to write; None writes to stdout.
        safe: Whether texts in CSV that a spreadsheet would take for a formula get an apostrophe in front.
        bom: Whether CSV begins with a byte order mark, without which some spreadsheets do not read it as UTF-8.
    """
    if form == "parquet":
        _parquet(result, target)
        return
    with _opened(target) as stream:
        match form:
            case "json":
                documents = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
                stream.write(json.dumps(documents, default=_plain, indent=2) + "\n")
            case "csv":
                if bom:
                    stream.write("\ufeff")
                writer = csv.writer(_Lines(stream), lineterminator="\r\n")
                writer.writerow(result.columns)
                clean = printable if stream.isatty() else str  # a file or a program gets the texts as they are
                writer.writerows([clean(str(_cell(value, safe=safe))) for value in row] for row in result.rows)
            case _:
                table(result.columns, result.rows, stream=stream)


class _Lines:
    """Ends each line of CSV in a newline alone; the writer then also quotes values with a carriage return."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> None:
        self._stream.write(line.removesuffix("\r\n") + "\n")


@contextmanager
def _opened(target: Path | None) -> Iterator[TextIO]:
    if target is None:
        yield sys.stdout
        return
    with target.open("w", encoding="utf-8", newline="") as stream:
        yield stream


def _cell(value: Any, *, safe: bool) -> Any:
    """Return a value as a cell of CSV; with `safe`, a text that begins like a formula gets an apostrophe in front."""
    cell = "" if value is None else _plain(value)
    formula = safe and isinstance(cell, str) and cell.startswith(_FORMULA) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if formula else cell


def _parquet(result: Any, target: Path | None) -> None:
    """Write a result as Parquet; lists and dictionaries become JSON text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    nested = (dict, list)
    columns = list(zip(*result.rows, strict=True)) or [()] * len(result.columns)
    arrays = [pa.array([json.dumps(x) if isinstance(x, nested) else x for x in column]) for column in columns]
    pq.write_table(pa.table(arrays, names=list(result.columns)), target)


def query_list(queries: Iterable[Any], form: str | None) -> None:
    """Print the available queries: the name, parameters and purpose of each."""
    listed = [(each.name, " ".join(each.parameters), each.purpose) for each in queries]
    names = ("query", "parameters", "purpose")
    if form == "json":
        click.echo(json.dumps([dict(zip(names, row, strict=True)) for row in listed], indent=2))
    else:
        table(names, listed)


def explain(query: Any) -> None:
    """Print a query's purpose, the meaning of one result row, its parameters and its SQL."""
    click.echo(f"-- {query.name}: {query.purpose}\n-- Grain: {query.grain}")
    for parameter in query.parameters.values():
        need = "required" if parameter.required else f"default {parameter.default}"
        click.echo(f"-- :{parameter.name} ({parameter.type}, {need}) {parameter.meaning}")
    click.echo(query.statement)


def table(
    columns: Sequence[str],
    values: Iterable[Sequence[Any]],
    *,
    title: str | None = None,
    stream: TextIO | None = None,
) -> None:
    """Print a table on the terminal.

    Values may come from a catalog, which is not trusted: they are never interpreted as markup or terminal commands.

    Args:
        columns: Column names.
        values: Rows with one value for each column.
        title: Text above the table.
        stream: File to write to; None writes to stdout.
    """
    shown = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD)
    for name in columns:
        shown.add_column(escape(_printable(name)), overflow="fold")
    for row in values:
        shown.add_row(*(escape(_printable(value)) for value in row))
    _console(stream).print(shown)


def line(text: str) -> None:
    """Print one line of a command's report."""
    _console().print(escape(_printable(text)), highlight=False, soft_wrap=True)


def _console(stream: TextIO | None = None) -> Console:
    file = stream or sys.stdout
    return Console(file=file, width=None if file.isatty() else _WIDE, emoji=False)


def _printable(value: Any) -> str:
    if value is None:
        return ""
    match value:
        case float():
            text = f"{value:.4f}"
        case datetime():
            text = f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
        case str() if _SHA256.fullmatch(value):
            text = (
                f"{value[:12]}\N{HORIZONTAL ELLIPSIS}"  # enough to distinguish two; the other formats print it in full
            )
        case _:
            text = str(_plain(value))
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _plain(value: Any) -> Any:
    """Return a value in a form that JSON and CSV can hold."""
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
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            yield f"{indent}{name}: {len(value)}, listed with --json"
        else:
            yield f"{indent}{name}: {_printable(value) or '-'}"

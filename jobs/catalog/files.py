"""The parts of a catalog, each of which one task reads, and the reader of each form."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from jobs.catalog.divisions import ranges_of
from jobs.catalog.errors import catalog_error, read_errors_explained, refusals_point_to_check
from jobs.catalog.forms.csv import csv_names, read_csv
from jobs.catalog.forms.folders import read_folders
from jobs.catalog.forms.json import json_names, read_json
from jobs.catalog.forms.json_lines import json_line_names, read_json_lines
from jobs.catalog.forms.parquet import parquet_names, read_parquet
from jobs.catalog.forms.xml import read_xml, xml_names
from jobs.catalog.layout import Layout
from jobs.catalog.passed_over import PassedOver
from jobs.catalog.rows import MAX_PARTS, Batches, Part
from jobs.catalog.tables import Table, tables_in
from jobs.catalog.text import refuse_utf_8
from jobs.storage.places import Place
from jobs.storage.stores import is_dir, on_disk, place, reading, uri

log = logging.getLogger(__name__)


def _read_xlsx(path: Path, where: str, layout: Layout, part: Part) -> Batches:
    from jobs.catalog.forms.xlsx import read_xlsx  # a command that reads no workbook need not wait for openpyxl

    return read_xlsx(path, where, layout, part)


def _xlsx_names(path: Path, where: str, layout: Layout) -> list[str]:
    from jobs.catalog.forms.xlsx import xlsx_names

    return xlsx_names(path, where, layout)


_READERS: dict[str, Callable[[Path, str, Layout, Part], Batches]] = {
    "csv": read_csv,
    "json": read_json,
    "jsonl": read_json_lines,
    "parquet": read_parquet,
    "xlsx": _read_xlsx,
    "xml": read_xml,
}
_NAMES: dict[str, Callable[[Path, str, Layout], list[str]]] = {
    "csv": csv_names,
    "json": json_names,
    "jsonl": json_line_names,
    "xlsx": _xlsx_names,
    "xml": xml_names,
}


def parts_of(where: Place, layout: Layout, tell: Callable[[PassedOver], None] | None = None) -> list[Part]:
    """Divide a file or directory into the parts that tasks read.

    Args:
        where: The catalog.
        layout: How it is read.
        tell: Called with what a directory of tables has beside them; by default that is logged.

    Raises:
        UsageError: If a directory has more tables than the positions of their rows have room for, or a large text file
            is damaged or gone.
        RunFailed: If its disk fails.
    """
    tables = [Table(where)]
    if layout.form == "parquet" and is_dir(where):
        passed_over = PassedOver()
        tables = list(tables_in(where, passed_over))
        if len(tables) > MAX_PARTS:
            raise catalog_error(
                where, f"has {len(tables):,} tables, and {MAX_PARTS:,} at most are read; write fewer and larger ones"
            )
        if tell:
            tell(passed_over)
        elif sentences := passed_over.sentences():
            log.info("catalog %s: %s", where, "; ".join(sentences))
    if layout.form == "csv" and isinstance(where, Path):
        with read_errors_explained(where):
            return [Part(uri(where.absolute()), 0, start, end) for start, end in ranges_of(where, layout)]
    names = [uri(table.file.absolute() if isinstance(table.file, Path) else table.file) for table in tables]
    return [
        Part(name, number, columns=table.columns)
        for number, (name, table) in enumerate(zip(names, tables, strict=True))
    ]


def read_part(part: Part, layout: Layout, tell: Callable[[PassedOver], None] | None = None) -> Batches:
    """Yield the rows of a part as record batches with the columns of `rows.ROW_SCHEMA`.

    Args:
        part: The part.
        layout: How it is read.
        tell: Called once at the end with what was passed over, if the part is a directory of pictures.

    Raises:
        UsageError: If the file cannot be read in this layout; one sentence names the place and the remedy.
        RunFailed: If its disk or store fails.
    """
    where = place(part.file)
    with refusals_point_to_check():
        if layout.form == "folders":
            passed_over = PassedOver()
            yield from read_folders(where, layout, part, passed_over)
            if tell:
                tell(passed_over)
            return
        with read_errors_explained(where), on_disk(where) as path:
            if layout.is_encoding_written:
                refuse_utf_8(path, part.file, layout.encoding)
            yield from _READERS[layout.form](path, part.file, layout, part)


def names_of(where: Place, layout: Layout) -> list[str]:
    """Return the names of the columns of a file, as far as its first records show them.

    Those of a directory of tables are the names of its first table.
    """
    if layout.form == "parquet":
        table = (next(tables_in(where), None) if is_dir(where) else None) or Table(where)
        with read_errors_explained(table.file):
            names = reading(table.file, parquet_names)
        own = {name.strip().lower() for name in names}
        return [*names, *(name for name, _ in table.columns if name.strip().lower() not in own)]
    with read_errors_explained(where):
        if layout.form != "xlsx":
            return reading(where, lambda source: _NAMES[layout.form](source, uri(where), layout))
    with read_errors_explained(where), on_disk(where) as path:
        return _NAMES[layout.form](path, uri(where), layout)

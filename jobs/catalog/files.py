"""The parts of a catalog, each of which one task reads, and the reader of each form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jobs.catalog.divisions import ranges_of
from jobs.catalog.errors import read_errors_explained
from jobs.catalog.forms.csv import csv_names, read_csv
from jobs.catalog.forms.folders import read_folders
from jobs.catalog.forms.json import json_names, read_json
from jobs.catalog.forms.json_lines import json_line_names, read_json_lines
from jobs.catalog.forms.parquet import parquet_names, read_parquet
from jobs.catalog.forms.xml import read_xml, xml_names
from jobs.catalog.layout import Layout
from jobs.catalog.rows import Batches, Part
from jobs.storage.places import Place
from jobs.storage.stores import children, is_dir, on_disk, place, reading, uri


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


def tables_in(directory: Place) -> list[Place]:
    """Return the Parquet files of a directory; hidden ones are no data, as other programs keep their own there."""
    return [file for file in children(directory, "*.parquet") if not file.name.startswith(".")]


def parts_of(where: Place, layout: Layout) -> list[Part]:
    """Divide a file or directory into the parts that tasks read.

    Raises:
        UsageError: If a large text file is damaged or gone.
        RunFailed: If its disk fails.
    """
    files = tables_in(where) if layout.form == "parquet" and is_dir(where) else [where]
    names = [uri(file.absolute() if isinstance(file, Path) else file) for file in files]
    if layout.form == "csv" and isinstance(where, Path):
        with read_errors_explained(where):
            return [Part(names[0], 0, start, end) for start, end in ranges_of(where, layout)]
    return [Part(name, number) for number, name in enumerate(names)]


def read_part(part: Part, layout: Layout) -> Batches:
    """Yield the rows of a part as record batches with the columns of `rows.ROW_SCHEMA`.

    Raises:
        UsageError: If the file cannot be read in this layout; one sentence names the place and the remedy.
        RunFailed: If its disk or store fails.
    """
    where = place(part.file)
    if layout.form == "folders":
        yield from read_folders(where, layout, part)
        return
    with read_errors_explained(where), on_disk(where) as path:
        yield from _READERS[layout.form](path, part.file, layout, part)


def names_of(where: Place, layout: Layout) -> list[str]:
    """Return the names of the columns of a file, as far as its first records show them."""
    with read_errors_explained(where):
        if layout.form == "parquet":
            return reading(where, parquet_names)
        if layout.form != "xlsx":
            return reading(where, lambda source: _NAMES[layout.form](source, uri(where), layout))
    with read_errors_explained(where), on_disk(where) as path:
        return _NAMES[layout.form](path, uri(where), layout)

"""Read catalogs in Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.catalog.errors import read_errors_explained
from jobs.catalog.layout import Layout
from jobs.catalog.rows import BATCH_ROWS, Batches, Part, RowMaker, column_places, in_batches


def parquet_names(file: Any) -> list[str]:
    """Return the names of the columns of a Parquet file.

    Args:
        file: Path of the Parquet file, or the opened file.
    """
    return list(pq.read_schema(file).names)


def read_parquet(path: Path, where: str, layout: Layout, part: Part) -> Batches:
    """Read a catalog's Parquet file in batches of rows.

    Args:
        path: Local path of the file, or of its local copy.
        where: Name of the file for error messages.
        layout: How it is read.
        part: Which part of it.

    Raises:
        UsageError: If the file is damaged, lacks a required column, or has values that are no texts or numbers.
    """
    with read_errors_explained(where), pq.ParquetFile(path) as file:
        names = list(file.schema_arrow.names)
        used = sorted({index for indices in column_places(names, layout, where).values() for index in indices})
        maker = RowMaker([names[index] for index in used], layout, where, unit="row")
        position = part.first_position
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=[names[index] for index in used]):
            columns = [_values(batch.column(batch.schema.get_field_index(names[index]))) for index in used]
            first = position - part.first_position + 1
            yield from in_batches(
                row
                for index, values in enumerate(zip(*columns, strict=True))
                for row in maker.rows(values, first + index, position + index)
            )
            position += len(batch)


def _values(column: pa.Array) -> list[Any]:
    """Return the texts of a column's values; lists stay lists."""
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    if pa.types.is_nested(column.type):
        values: list[Any] = column.to_pylist()
        return values
    if pa.types.is_timestamp(column.type):
        # Finer times are truncated, for an unsafe cast does not raise.
        column = column.cast(pa.timestamp("us"), safe=False)
    texts: list[Any] = column.cast(pa.string()).to_pylist()
    return texts

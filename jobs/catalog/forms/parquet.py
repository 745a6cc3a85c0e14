"""Read catalogs in Parquet: each file by its own schema, only the columns that count, a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.catalog.errors import catalog_error, read_errors_explained
from jobs.catalog.layout import Layout
from jobs.catalog.rows import BATCH_ROWS, Batches, Part, RowMaker, column_places, in_batches
from jobs.catalog.values import Number, RoundedNumber

_BATCH_BYTES = 2**26
_BUFFER_BYTES = 2**20
_EXACT_BELOW = {pa.float16(): 2.0**11, pa.float32(): 2.0**24, pa.float64(): 2.0**53}
"""From these values on, floats of the type skip whole numbers."""


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
        part: Which part of it; the columns that its folders stand for have one value in all rows. A column of the file
            with the same name takes their place.

    Raises:
        UsageError: If the file is damaged, lacks a required column, or has a column whose values are no texts, numbers,
            times or lists of texts.
    """
    with read_errors_explained(where):
        with pq.ParquetFile(path) as file:
            metadata, schema = file.metadata, file.schema_arrow
        own = {name.strip().lower() for name in schema.names}
        constant = [(name, value) for name, value in part.columns if name.strip().lower() not in own]
        names = [*schema.names, *(name for name, _ in constant)]
        places = column_places(names, layout, where)
        used = sorted({index for indices in places.values() for index in indices})
        read = [index for index in used if index < len(schema)]
        for index in read:
            _check(schema.field(index), where)
        values_of_folders = [constant[index - len(schema)][1] for index in used if index >= len(schema)]
        maker = RowMaker([names[index] for index in used], layout, where, unit="row")
        columns = [names[index] for index in read]
        texts = _paths_of_texts(metadata, columns)
        first = 1
        with pq.ParquetFile(path, metadata=metadata, read_dictionary=texts, buffer_size=_BUFFER_BYTES) as file:
            for batch in file.iter_batches(batch_size=_rows_a_batch(metadata, columns), columns=columns):
                values = [_values(batch.column(batch.schema.get_field_index(name))) for name in columns]
                values += [[each] * len(batch) for each in values_of_folders]
                yield from in_batches(
                    row
                    for index, record in enumerate(zip(*values, strict=True))
                    for row in maker.rows(record, first + index, part.first_position + first - 1 + index)
                )
                first += len(batch)


def _check(field: pa.Field, where: str) -> None:
    """Refuse a column whose values have no text of their own."""
    kind = field.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_nested(kind) or pa.types.is_duration(kind) or pa.types.is_interval(kind):
        raise catalog_error(
            where,
            f"has the column {field.name[:80]} of the type {str(field.type)[:200]}; "
            "write texts, numbers, times or lists of texts, or name another column",
        )


def _paths_of_texts(metadata: pq.FileMetaData, columns: Sequence[str]) -> list[str]:
    """Return the paths of the texts to read as dictionaries, in which a text that many rows share is kept once.

    Otherwise a small file could hold more text than memory has room for.
    """
    leaves = [metadata.schema.column(index) for index in range(metadata.num_columns)]
    return [
        leaf.path
        for leaf in leaves
        if leaf.path.partition(".")[0] in columns
        and leaf.physical_type == "BYTE_ARRAY"
        and leaf.logical_type.type in ("STRING", "NONE")
    ]


def _rows_a_batch(metadata: pq.FileMetaData, columns: Sequence[str]) -> int:
    """Return how many rows are read at once, so that their values have about 64 MiB in memory."""
    largest = 1.0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        chunks = [group.column(index) for index in range(group.num_columns)]
        used = [each for each in chunks if each.path_in_schema.partition(".")[0] in columns]
        size_bytes = sum(max(each.total_uncompressed_size, 8 * each.num_values) for each in used)
        largest = max(largest, size_bytes / max(1, group.num_rows))
    return max(1, min(BATCH_ROWS, int(_BATCH_BYTES / largest)))


def _values(column: pa.Array) -> list[Any]:
    """Return a column's values as texts, bytes, numbers, booleans, or lists of these; None for null."""
    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        if kind.extension_name == "arrow.uuid":
            return [None if each is None else str(each) for each in column.to_pylist()]
        return _values(column.storage)
    if pa.types.is_dictionary(kind):
        return _values_of_dictionary(column)
    if pa.types.is_fixed_size_list(kind):
        return _values(column.cast(pa.list_(kind.value_type)))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _lists(column)
    if pa.types.is_floating(kind):
        return _floats(column)
    if pa.types.is_timestamp(kind):
        return _times(column)
    if pa.types.is_time(kind) or pa.types.is_date(kind):
        return [_without_zeros(text) for text in column.cast(pa.string()).to_pylist()]
    values: list[Any] = column.to_pylist()
    return values


def _values_of_dictionary(column: pa.DictionaryArray) -> list[Any]:
    """Return the values of a column; those that are the same are one object in memory."""
    used = column.indices.unique().drop_null()
    values = [*_values(column.dictionary.take(used)), None]
    places = pc.fill_null(pc.index_in(column.indices, value_set=used), len(used)).to_pylist()
    return [values[place] for place in places]


def _lists(column: pa.Array) -> list[Any]:
    offsets = column.offsets.to_pylist()
    start, end = (offsets[0], offsets[-1]) if len(column) else (0, 0)
    values = _values(column.values.slice(start, end - start))
    bounds = zip(offsets, offsets[1:], column.is_valid().to_pylist(), strict=False)
    return [values[low - start : high - start] if valid else None for low, high, valid in bounds]


def _floats(column: pa.Array) -> list[Any]:
    """Return the shortest texts that stand for these floats, as numbers."""
    limit = _EXACT_BELOW[column.type]
    texts = column.cast(pa.float32() if pa.types.is_float16(column.type) else column.type).cast(pa.string())
    return [
        None if text is None else RoundedNumber(text) if abs(value) >= limit else Number(text)
        for text, value in zip(texts.to_pylist(), column.to_pylist(), strict=True)
    ]


def _times(column: pa.Array) -> list[Any]:
    """Return times as Spark writes them: in UTC, with as many digits of a second as it has, at most six."""
    unit = column.type.unit
    column = column.cast(pa.int64()).cast(pa.timestamp(unit))  # a time with a zone is written as that of UTC
    if unit == "ns":
        column = column.cast(pa.timestamp("us"), safe=False)  # a safe cast refuses finer times
    return [_without_zeros(text) for text in column.cast(pa.string()).to_pylist()]


def _without_zeros(text: str | None) -> str | None:
    return text.rstrip("0").rstrip(".") if text and "." in text else text

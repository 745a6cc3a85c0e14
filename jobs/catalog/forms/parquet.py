"""Read catalogs in Parquet: each file by its own schema, only the columns that count, a batch of rows at a time.

Memory holds a batch of rows and one page of each column, which writers end at about 1 MiB. It grows neither with the
number of row groups nor with their size. Two kinds of columns are the exception: texts that the file's Arrow schema
declares as dictionaries (pandas' categories), and lists of which one row could take more than 512 MiB. Arrow keeps the
different texts of these until the end of a row group, so the size of the row groups bounds the memory. A row, however
long, is read whole; the number of values in its lists is limited.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.catalog.errors import catalog_error, read_errors_explained
from jobs.catalog.layout import Layout
from jobs.catalog.rows import (
    BATCH_ROWS,
    MAX_COLUMNS,
    Batches,
    Part,
    RowMaker,
    column_places,
    in_batches,
    too_many_columns,
)
from jobs.catalog.values import Number, RoundedNumber

_BATCH_BYTES = 2**26
_BUFFER_BYTES = 2**20
_LIST_VALUES = 2**16
_GROUP_LIST_VALUES = 2**27
"""Most values, with nulls, that the lists of one column may have in one row group beyond one a row. Nulls take no room
in a file, and all of a row's take their room in memory at once."""
_GROUP_LIST_BYTES = 2**29
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
        UsageError: If the file is damaged, has too many columns, lacks a required one, or has a column whose values are
            no texts, numbers, times or lists of texts.
    """
    with read_errors_explained(where):
        with pq.ParquetFile(path) as file:
            metadata, schema = file.metadata, file.schema_arrow
        if len(schema) > MAX_COLUMNS:
            raise too_many_columns(len(schema), where)
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
        _check_lists(metadata, columns, where)
        batch_rows, dictionaries = _rows_a_batch(path, metadata, columns)
        first = 1
        with _opened(path, metadata, dictionaries) as file:
            for batch in file.iter_batches(batch_size=batch_rows, columns=columns):
                read_columns = [batch.column(batch.schema.get_field_index(name)) for name in columns]
                for name, column in zip(columns, read_columns, strict=True):
                    _check_lengths(column, name, first, where)
                values = [_values(column) for column in read_columns]
                values += [[each] * len(batch) for each in values_of_folders]
                yield from in_batches(
                    row
                    for index, record in enumerate(zip(*values, strict=True))
                    for row in maker.rows(record, first + index, part.first_position + first - 1 + index)
                )
                first += len(batch)


def _opened(path: Path, metadata: pq.FileMetaData, dictionaries: Sequence[str]) -> pq.ParquetFile:
    """Open a file whose pages are read one after the other.

    Args:
        path: Local path of the file.
        metadata: Its metadata.
        dictionaries: Paths of the columns of texts to read as dictionaries.
    """
    # With `pre_buffer`, Arrow would read the row groups ahead and keep their bytes until the file is closed.
    return pq.ParquetFile(
        path, metadata=metadata, read_dictionary=dictionaries, buffer_size=_BUFFER_BYTES, pre_buffer=False
    )


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


def _check_lists(metadata: pq.FileMetaData, columns: Sequence[str], where: str) -> None:
    """Refuse a row group in which one row could have more values than memory has room for."""
    for number, group, leaves in _groups(metadata, columns):
        for index, leaf in leaves:
            count = group.column(index).num_values - group.num_rows
            if leaf.max_repetition_level and count > _GROUP_LIST_VALUES:
                raise catalog_error(
                    where,
                    f"has {group.column(index).num_values:,} values in the lists of {leaf.path[:80]} of row group "
                    f"{number + 1}, over the limit of {_GROUP_LIST_VALUES:,} beyond one a row; "
                    "write lists without nulls, or smaller row groups",
                )


def _check_lengths(column: pa.Array, name: str, first: int, where: str) -> None:
    """Refuse a list that is longer than any row's is; its values would each become an object of Python.

    Args:
        column: Values of a batch.
        name: Name of the column.
        first: Number of the batch's first row, from 1.
        where: Name of the file for error messages.
    """
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        return
    lengths = pc.list_value_length(column)
    if (pc.max(lengths).as_py() or 0) > _LIST_VALUES:
        row = pc.index(pc.greater(lengths, _LIST_VALUES), True).as_py()
        raise catalog_error(
            where,
            f"has in row {first + row} a list of {lengths[row].as_py():,} values as {name[:80]}, over the limit of "
            f"{_LIST_VALUES:,}; write a list without nulls, or a row for each image",
        )


def _rows_a_batch(path: Path, metadata: pq.FileMetaData, columns: Sequence[str]) -> tuple[int, list[str]]:
    """Find out how to read a file so that the values of a batch have about 64 MiB in memory.

    A small file can hold a long text that many rows share, since a page's dictionary has it once. Each row of a batch
    has a copy of it; so the longest text of the dictionaries counts where it is longer than a row's average share.

    Returns:
        How many rows to read at once, and the paths of the lists to read as dictionaries, in which each text is kept
        once: those of which a single row could be too large.
    """
    largest_bytes = 1.0
    dictionaries: set[str] = set()
    texts = _texts(metadata, columns)
    with _opened(path, metadata, texts) as file:
        for number, group, leaves in _groups(metadata, columns):
            row_bytes = 0.0
            for index, leaf in leaves:
                chunk = group.column(index)
                chunk_bytes = max(chunk.total_uncompressed_size, 8 * chunk.num_values)
                if leaf.path in texts and chunk.has_dictionary_page and chunk_bytes > _BATCH_BYTES / BATCH_ROWS:
                    texts_bytes = chunk.num_values * _longest_bytes(file, number, leaf.path)
                    if leaf.max_repetition_level and texts_bytes > _GROUP_LIST_BYTES:
                        dictionaries.add(leaf.path)
                    else:
                        chunk_bytes = max(chunk_bytes, texts_bytes)
                row_bytes += chunk_bytes / max(1, group.num_rows)
            largest_bytes = max(largest_bytes, row_bytes)
    return max(1, min(BATCH_ROWS, int(_BATCH_BYTES / largest_bytes))), sorted(dictionaries)


def _longest_bytes(file: pq.ParquetFile, number: int, path: str) -> int:
    """Return the length of the longest text in the dictionary of a column of a row group.

    The first value of a row group brings all of its dictionary. Lists may be empty in any number of rows before it.
    """
    for batch in file.iter_batches(batch_size=1024, row_groups=[number], columns=[path]):
        column = batch.column(0)
        texts = column if pa.types.is_dictionary(column.type) else column.values
        if len(texts.dictionary):
            return pc.max(pc.binary_length(texts.dictionary)).as_py() or 0
    return 0


def _groups(
    metadata: pq.FileMetaData, columns: Sequence[str]
) -> Iterator[tuple[int, pq.RowGroupMetaData, list[tuple[int, pq.ColumnSchema]]]]:
    """Yield the number of each row group, the row group, and the indices and schemas of the leaves of the columns."""
    leaves = _leaves(metadata, columns)
    for number in range(metadata.num_row_groups):
        yield number, metadata.row_group(number), leaves


def _leaves(metadata: pq.FileMetaData, columns: Sequence[str]) -> list[tuple[int, pq.ColumnSchema]]:
    leaves = [(index, metadata.schema.column(index)) for index in range(metadata.num_columns)]
    return [
        (index, leaf)
        for index, leaf in leaves
        if leaf.path in columns or (leaf.max_repetition_level and leaf.path.startswith(tuple(f"{n}." for n in columns)))
    ]


def _texts(metadata: pq.FileMetaData, columns: Sequence[str]) -> list[str]:
    """Return the paths of the texts, which can be read as dictionaries."""
    return [
        leaf.path
        for _, leaf in _leaves(metadata, columns)
        if leaf.physical_type == "BYTE_ARRAY" and leaf.logical_type.type in ("STRING", "NONE")
    ]


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

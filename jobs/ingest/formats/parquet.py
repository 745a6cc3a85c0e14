"""Catalogs in Parquet: one file, or the files of a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.dataset.schema import CATALOG_COLUMNS
from jobs.ingest.formats.rows import BATCH_ROWS, TEXTS, Batches, chosen, readable, text_of, texts, wrong


def parquet_schema(file: Any) -> pa.Schema:
    """Return the types of the catalog's columns in a file: numbers with a point, dates and times, and else text.

    Args:
        file: Its path, or the file opened.
    """
    there = pq.read_schema(file)
    found = {name.strip().lower(): there.field(index).type for index, name in enumerate(there.names)}
    return pa.schema([(name, _plain(found.get(name, pa.string()))) for name in CATALOG_COLUMNS])


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type that Spark is given of one that it does not know, or does not write as text as before."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC")
    if pa.types.is_date(kind):
        return pa.date32()
    if pa.types.is_float16(kind):
        return pa.float32()
    return kind if pa.types.is_floating(kind) or pa.types.is_decimal128(kind) else pa.string()


def read_parquet(path: Path, where: str, schema: pa.Schema = TEXTS) -> Batches:
    """Read a Parquet file; an optional column that it lacks is None.

    Args:
        path: The file, or its copy on this machine.
        where: The file, for messages.
        schema: The types to give, of `parquet_schema`.

    Raises:
        UsageError: If it is damaged, lacks a needed column, or has values that are none of the schema.
    """
    with readable(where), pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        found = chosen(names, where)
        theirs = {ours: names[index] for ours, index in found.items()}
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(theirs.values())):
            yield pa.RecordBatch.from_arrays(
                [
                    _given(batch.column(batch.schema.get_field_index(theirs[field.name])), field, where)
                    if field.name in theirs
                    else pa.nulls(len(batch), field.type)
                    for field in schema
                ],
                schema=schema,
            )


def _given(values: pa.Array, field: pa.Field, where: str) -> pa.Array:
    if isinstance(values, pa.DictionaryArray):
        values = values.dictionary_decode()
    if pa.types.is_nested(values.type):
        return texts([text_of(value, field.name, where, "in a row") for value in values.to_pylist()])
    try:
        # Times of a finer unit than Spark's lose what it cannot hold.
        return values.cast(field.type, safe=not pa.types.is_timestamp(field.type))
    except pa.ArrowNotImplementedError as error:
        raise wrong(where, f"has a column {field.name} of {values.type}; expected {field.type}") from error

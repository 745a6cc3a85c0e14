"""Read catalogs in Parquet: one file, or the files of a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.dataset.schema import CATALOG_COLUMNS
from jobs.ingest.formats.rows import (
    BATCH_ROWS,
    TEXTS,
    Batches,
    as_text,
    catalog_error,
    column_indices,
    read_errors_explained,
    text_array,
)


def parquet_schema(file: Any) -> pa.Schema:
    """Return the types in which to read a Parquet catalog: floats, decimals, dates, times as they are, else text.

    Args:
        file: Path of the Parquet file, or the opened file.
    """
    schema = pq.read_schema(file)
    types = {name.strip().lower(): schema.field(index).type for index, name in enumerate(schema.names)}
    return pa.schema([(name, _spark_type(types.get(name, pa.string()))) for name in CATALOG_COLUMNS])


def _spark_type(kind: pa.DataType) -> pa.DataType:
    """Return the type to pass to Spark for a column; text where Spark lacks the type or would format it differently."""
    if pa.types.is_dictionary(kind):
        return _spark_type(kind.value_type)
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC")
    if pa.types.is_date(kind):
        return pa.date32()
    if pa.types.is_float16(kind):
        return pa.float32()
    return kind if pa.types.is_floating(kind) or pa.types.is_decimal128(kind) else pa.string()


def read_parquet(path: Path, where: str, schema: pa.Schema = TEXTS) -> Batches:
    """Read a catalog's Parquet file in batches of rows; an optional column that it lacks becomes null.

    Args:
        path: Local path of the file, or of its local copy.
        where: Name of the file for error messages.
        schema: Types of the result, as `parquet_schema` returns them.

    Raises:
        UsageError: If the file is damaged, lacks a required column, or has values that cannot be cast to the schema.
    """
    with read_errors_explained(where), pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        theirs = {ours: names[index] for ours, index in column_indices(names, where).items()}
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(theirs.values())):
            yield pa.RecordBatch.from_arrays(
                [
                    _cast(batch.column(batch.schema.get_field_index(theirs[field.name])), field, where)
                    if field.name in theirs
                    else pa.nulls(len(batch), field.type)
                    for field in schema
                ],
                schema=schema,
            )


def _cast(values: pa.Array, field: pa.Field, where: str) -> pa.Array:
    if isinstance(values, pa.DictionaryArray):
        values = values.dictionary_decode()
    if pa.types.is_nested(values.type):
        return text_array([as_text(value, field.name, where, "in a row") for value in values.to_pylist()])
    try:
        # Spark's unit is the microsecond: an unsafe cast truncates finer times instead of raising.
        return values.cast(field.type, safe=not pa.types.is_timestamp(field.type))
    except pa.ArrowNotImplementedError as error:
        raise catalog_error(where, f"has a column {field.name} of {values.type}; expected {field.type}") from error

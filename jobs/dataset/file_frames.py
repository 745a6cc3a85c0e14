"""Spark DataFrames from local files, files of an object store or ranges of a table, which Python code reads in tasks.

Spark's own readers are not used: they need additional jars for an object store, interpret `[ ] { } * ?` and `\\` in a
path as a pattern, refuse a colon, and silently skip names that begin with `_` or `.`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from jobs.storage.places import Place
from jobs.storage.stores import place, uri

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

T = TypeVar("T")


def frame_of_files(
    spark: SparkSession,
    files: Sequence[Place],
    read: Callable[[Place], Iterator[pa.RecordBatch]],
    schema: pa.Schema,
    *,
    tasks: int | None = None,
) -> DataFrame:
    """Return a Spark DataFrame whose rows tasks read from files by a Python function.

    Args:
        spark: Spark session.
        files: Paths that every executor can read, or paths in an object store.
        read: Function called in a task with each file; it yields record batches with the columns of `schema`.
        schema: Columns of the DataFrame.
        tasks: Number of tasks that share the files, in order; None starts one task per file.
    """
    names = [uri(file.absolute() if isinstance(file, Path) else file) for file in files]
    return frame_of_parts(spark, names, lambda name: read(place(name)), schema, tasks=tasks)


def frame_of_parts(
    spark: SparkSession,
    parts: Sequence[T],
    read: Callable[[T], Iterator[pa.RecordBatch]],
    schema: pa.Schema,
    *,
    tasks: int | None = None,
) -> DataFrame:
    """Return a Spark DataFrame whose rows tasks read part by part, as `frame_of_files` does for files."""
    from pyspark.sql.pandas.types import from_arrow_schema

    def rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in (number for batch in batches for number in batch.column(0).to_pylist()):
            yield from read(parts[number])

    # The parts are sent with the function: a file name that is not valid UTF-8 cannot be a value of a DataFrame.
    numbers = spark.range(0, len(parts), 1, max(1, min(tasks or len(parts), len(parts))))
    return numbers.mapInArrow(rows, from_arrow_schema(schema))

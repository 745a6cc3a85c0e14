"""Spark DataFrames from local files or files of an object store, which Python code reads in tasks.

Spark's own readers are not used: they need additional jars for an object store, interpret `[ ] { } * ?` and `\\` in a
path as a pattern, refuse a colon, and silently skip names that begin with `_` or `.`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from jobs.storage.places import Place
from jobs.storage.stores import place, uri

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType


def frame_of_files(
    spark: SparkSession,
    files: Sequence[Place],
    read: Callable[[Place], Iterator[pa.RecordBatch]],
    types: StructType,
    *,
    tasks: int | None = None,
) -> DataFrame:
    """Return a Spark DataFrame whose rows tasks read from files by a Python function.

    Args:
        spark: Spark session.
        files: Paths that every executor can read, or paths in an object store.
        read: Function called in a task with each file; it yields record batches with the columns of `types`.
        types: Schema of the DataFrame.
        tasks: Number of tasks that share the files, in order; None starts one task per file.
    """
    names = [uri(file.absolute() if isinstance(file, Path) else file) for file in files]

    def rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in (number for batch in batches for number in batch.column(0).to_pylist()):
            yield from read(place(names[number]))

    # The file names are sent with the function: a name that is not valid UTF-8 cannot be a value of a DataFrame.
    return spark.range(0, len(names), 1, max(1, min(tasks or len(names), len(names)))).mapInArrow(rows, types)

"""Files as a Spark frame, read by Python in tasks, wherever they are.

Spark's own readers know no object store without more jars, take a path as a pattern in which `[ ] { } * ?` and `\\`
stand for something else, refuse a colon, and leave out names that begin with `_` or `.` in silence.
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
    """Read files in tasks.

    Args:
        spark: The session.
        files: Paths that each executor sees, or places in a store.
        read: Called in a task with each file; what it yields has the columns of `types`.
        types: Of the frame.
        tasks: How many share the files, in order; None is one for each.
    """
    names = [uri(file.absolute() if isinstance(file, Path) else file) for file in files]

    def rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in (number for batch in batches for number in batch.column(0).to_pylist()):
            yield from read(place(names[number]))

    # The names travel with the function: those that are no UTF-8 could not be values of a frame.
    return spark.range(0, len(names), 1, max(1, min(tasks or len(names), len(names)))).mapInArrow(rows, types)

"""A task whose Python process crashes in a library: what Spark hands to the driver about it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from jobs.errors import RunFailed
from jobs.spark.faults import spark_errors_explained

SENTENCE = (
    rf"crashed again and again: Segmentation fault in string_at, line \d+ of {os.path.realpath(ctypes.__file__)};"
)


def test_a_crash_is_named_with_the_line_of_python_that_called_the_library(spark: SparkSession) -> None:
    def crash(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        ctypes.string_at(0)
        yield from batches

    with pytest.raises(RunFailed, match=SENTENCE), spark_errors_explained():
        spark.sparkContext.parallelize([0], 1).map(ctypes.string_at).collect()
    with pytest.raises(RunFailed, match=SENTENCE), spark_errors_explained():
        spark.range(1).mapInArrow(crash, "id long").collect()

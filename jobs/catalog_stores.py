"""Catalogs in an object store, read by Python in Spark's tasks: Spark's own readers know no store without more jars."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.config import Place, UsageError
from jobs.stores import listed, on_disk, place, reading, uri

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.sql import DataFrame, SparkSession
    from upath import UPath


def catalog_records(spark: SparkSession, where: UPath) -> RDD[str]:
    """Return the records of a CSV or JSON Lines file, one text each, which Spark's readers take as they take a file.

    A record of a CSV file may go over several lines where a quoted value does.
    """
    text, csv = uri(where), where.name.lower().removesuffix(".gz").endswith(".csv")

    def records(_: Any) -> Iterator[str]:
        with on_disk(place(text)) as path, _opened(path) as file:
            yield from _whole_records(file) if csv else (line.rstrip("\r\n") for line in file)

    return spark.sparkContext.parallelize([0], 1).mapPartitions(records)


def catalog_tables(spark: SparkSession, files: list[Place]) -> DataFrame:
    """Read Parquet files of a store, a task each; the first one says which columns there are."""
    from pyspark.sql.pandas.types import from_arrow_schema

    try:
        schema = reading(files[0], pq.read_schema).remove_metadata()
    except (pa.ArrowException, OSError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise UsageError(f"catalog {files[0]} cannot be read ({said}); write it again") from error

    def rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for text in (text for batch in batches for text in batch.column(0).to_pylist()):
            with on_disk(place(text)) as path, pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=10_000):
                    yield from pa.Table.from_batches([batch]).select(schema.names).cast(schema).to_batches()

    named = spark.createDataFrame([(uri(path),) for path in files], "file string")
    return named.repartition(len(files)).mapInArrow(rows, from_arrow_schema(schema))


def walked(root: UPath) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield what `os.walk` would: a folder, the folders in it, the files in it, each folder's name as a URI.

    Folders that the caller takes out of the list are not looked into.

    Raises:
        StoreError: If a folder cannot be listed; fsspec's own walk would leave it out in silence.
    """
    waiting = [root.path.rstrip("/")]
    while waiting:
        folder = waiting.pop()
        subfolders: list[str] = []
        files: list[str] = []
        for entry in listed(root, folder):
            path = str(entry["name"]).rstrip("/")
            if path != folder:  # some stores keep an empty object that stands for the folder itself
                (subfolders if entry["type"] == "directory" else files).append(path.rpartition("/")[2])
        yield f"{root.protocol}://{folder}", subfolders, files
        waiting += [f"{folder}/{name}" for name in reversed(subfolders)]


def _opened(path: Path) -> TextIO:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _whole_records(lines: Iterable[str]) -> Iterator[str]:
    """Join the lines of quoted values: a record has an even number of quotation marks."""
    record, open_quotes = "", 0
    for line in lines:
        record += line
        open_quotes += line.count('"')
        if open_quotes % 2 == 0:
            yield record.rstrip("\r\n")
            record, open_quotes = "", 0
    if record:
        yield record

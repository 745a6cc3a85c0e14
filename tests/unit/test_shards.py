"""Files that are there whole or not at all."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.schema import IMAGES
from jobs.shards import ROW_GROUP_ROWS, ShardWriter, ingest_date_of, partition_dates, row_count, shards, whole_file
from tests.dataset_rows import image_row

DAY = date(2026, 11, 1)


def test_a_shard_is_closed_when_its_images_reach_the_size(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / f"ingest_date={DAY}", IMAGES, shard_bytes=10_000)
    for number in range(25):
        writer.add(image_row(f"p{number:04d}", jpeg=bytes(1000)))
    writer.flush()
    files = shards(tmp_path, [DAY])
    assert writer.files == len(files) == 4
    assert sorted(pq.read_metadata(path).num_rows for path in files) == [1, 8, 8, 8]
    assert row_count(files) == 25


def test_row_groups_are_small_enough_to_hold_in_memory(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / f"ingest_date={DAY}", IMAGES, shard_bytes=10**9)
    for number in range(ROW_GROUP_ROWS + 1):
        writer.add(image_row(f"p{number:04d}"))
    writer.flush()
    metadata = pq.read_metadata(shards(tmp_path, [DAY])[0])
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [ROW_GROUP_ROWS, 1]


def test_the_same_rows_written_twice_are_one_file(tmp_path: Path) -> None:
    for _attempt in range(2):
        writer = ShardWriter(tmp_path / f"ingest_date={DAY}", IMAGES, shard_bytes=10**9)
        writer.add(image_row("p1"))
        writer.flush()
    assert len(shards(tmp_path, [DAY])) == 1


def test_a_writer_that_dies_leaves_no_file(tmp_path: Path) -> None:
    schema = pa.schema([("a", pa.int32())])

    def dying_writer() -> None:
        with whole_file(tmp_path / "x.parquet", schema) as writer:
            writer.write_table(pa.table({"a": [1]}, schema=schema))
            raise KeyError("killed")

    with pytest.raises(KeyError):
        dying_writer()
    assert list(tmp_path.iterdir()) == []


def test_a_half_written_file_of_a_killed_process_is_not_a_shard(tmp_path: Path) -> None:
    directory = tmp_path / f"ingest_date={DAY}"
    directory.mkdir()
    (directory / ".part-00-000001.parquet.0a.tmp").write_bytes(b"PAR1")
    assert shards(tmp_path, [DAY]) == []
    assert partition_dates(tmp_path, DAY, DAY) == []


def test_partitions_are_found_by_date(tmp_path: Path) -> None:
    for name in ("ingest_date=2026-11-01", "ingest_date=2026-11-03", "ingest_date=never", "other"):
        writer = ShardWriter(tmp_path / name, IMAGES, shard_bytes=10**9)
        writer.add(image_row("p1"))
        writer.flush()
    found = partition_dates(tmp_path, DAY, date(2026, 11, 2))
    assert found == [DAY]
    assert ingest_date_of(shards(tmp_path, found)[0]) == DAY

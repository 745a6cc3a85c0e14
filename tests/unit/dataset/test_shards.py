"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.dataset.partitions import partition_dates
from jobs.dataset.schema import IMAGES
from jobs.dataset.shards import (
    ROW_GROUP_ROWS,
    ShardWriter,
    columns_of,
    ingest_date_of,
    read_errors_explained,
    row_count,
    shards,
    whole_file,
)
from jobs.errors import RunFailed
from jobs.storage.places import Place
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


def test_columns_are_read_a_few_files_ahead_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables of a whole dataset would wait in memory, where the caller asks a database about each file."""
    writer = ShardWriter(tmp_path / f"ingest_date={DAY}", IMAGES, shard_bytes=1)
    for number in range(40):
        writer.add(image_row(f"p{number:04d}"))
    files, opened = shards(tmp_path, [DAY]), []

    def reading(file: Place, read: Callable[[Any], Any]) -> Any:
        opened.append(file)
        return read(file)

    monkeypatch.setattr("jobs.dataset.shards.reading", reading)
    for number, (file, columns) in enumerate(columns_of(files, ["product_id"])):
        assert file == files[number]
        assert columns == pq.read_table(file, columns=["product_id"]).to_pydict()
        time.sleep(0.005)
        assert len(opened) <= number + 16
    assert sorted(opened) == files


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


def test_a_writer_that_fails_leaves_no_file(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, "no"), "Permission denied"),
        (OSError(errno.EMFILE, "no"), "Too many open files"),
        (FileNotFoundError("s3://shop/part-0"), "No such file or directory"),
        (OSError(errno.EIO, "no"), "Input/output error"),
    ],
)
def test_the_remedy_for_an_undamaged_file_is_never_to_delete_it(tmp_path: Path, error: OSError, words: str) -> None:
    expected = rf"part-0 cannot be read \({words}\); .* and run the same again"
    with pytest.raises(RunFailed, match=expected) as found, read_errors_explained(tmp_path / "part-0"):
        raise error
    assert "delete" not in str(found.value)
    assert ("see to its disk" in str(found.value)) is (error.errno == errno.EIO)


def test_an_error_of_the_operating_system_is_not_reported_as_damage(tmp_path: Path) -> None:
    (tmp_path / "part-0").symlink_to("part-0")
    expected = r"Too many levels of symbolic links\); mend that and run the same again"
    with pytest.raises(RunFailed, match=expected), read_errors_explained(tmp_path / "part-0"):
        pq.ParquetFile(tmp_path / "part-0")


def test_too_little_memory_is_not_reported_as_an_error_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(pa.ArrowMemoryError), read_errors_explained(tmp_path / "part-0"):
        pa.allocate_buffer(2**62)


@pytest.mark.parametrize("error", [OSError("Couldn't deserialize thrift"), OSError(errno.EINVAL, "no")])
def test_the_remedy_for_a_damaged_file_is_to_delete_it(tmp_path: Path, error: OSError) -> None:
    with (
        pytest.raises(RunFailed, match="delete that file and ingest its date again"),
        read_errors_explained(tmp_path / "part-0"),
    ):
        raise error

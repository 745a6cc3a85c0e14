"""What reading Parquet keeps in memory: some rows, whatever the size of the file, of its row groups and lists."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.catalog.forms import parquet
from jobs.catalog.forms.parquet import read_parquet
from jobs.catalog.layout import Layout
from jobs.catalog.rows import BATCH_ROWS, Part
from jobs.errors import UsageError
from tests.unit.catalog.catalog_files import rows_of

PARQUET = Layout("parquet")


def links(path: Path) -> list[str]:
    """The image_uri of each row."""
    return [link for (link,) in rows_of(read_parquet, path, PARQUET, "image_uri")]


@contextmanager
def counted() -> Iterator[pa.MemoryPool]:
    """Count the memory that Arrow takes within a block."""
    usual = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(pool)
    try:
        yield pool
    finally:
        pa.set_memory_pool(usual)


@pytest.mark.parametrize("group_rows", [500, 10_000])
@pytest.mark.parametrize("kind", [pa.string(), pa.list_(pa.string())], ids=str)
def test_memory_grows_neither_with_the_number_of_row_groups_nor_with_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: pa.DataType, group_rows: int
) -> None:
    monkeypatch.setattr(parquet, "BATCH_ROWS", 500)
    monkeypatch.setattr(parquet, "_BUFFER_BYTES", 2**16)
    count = 10_000
    # Different texts, of which the dictionary of a row group can have the first alone.
    texts = pa.array([random.Random(number).randbytes(250).hex() for number in range(count)])
    uris = texts if kind == pa.string() else pa.ListArray.from_arrays(pa.array(range(count + 1), pa.int32()), texts)
    table = pa.table({"product_id": range(count), "image_uri": uris})
    pages = {"data_page_size": 2**16, "dictionary_pagesize_limit": 2**16}
    pq.write_table(table, tmp_path / "c.parquet", row_group_size=group_rows, **pages)
    before_bytes = pa.total_allocated_bytes()
    used_bytes = [
        pa.total_allocated_bytes() - before_bytes for _ in read_parquet(tmp_path / "c.parquet", "c", PARQUET, Part("c"))
    ]
    assert len(used_bytes) == count / 500
    assert max(used_bytes) < 2_000_000 < (tmp_path / "c.parquet").stat().st_size / 2


@pytest.mark.parametrize("title", ["x" * 100_000, None])
def test_a_small_file_that_holds_a_long_text_in_each_row_does_not_fill_memory(
    tmp_path: Path, title: str | None
) -> None:
    """As texts, one batch of it would take 1 GB."""
    indices = pa.array([0 if title else None] + [0] * (BATCH_ROWS - 1), pa.int32())
    values = pa.DictionaryArray.from_arrays(indices, pa.array(["x" * 100_000]))
    table = pa.table({"product_id": range(BATCH_ROWS), "image_uri": ["u"] * BATCH_ROWS, "title": values})
    pq.write_table(table, tmp_path / "c.parquet", store_schema=False)
    assert (tmp_path / "c.parquet").stat().st_size < 1_000_000
    message = rf"has in row {1 if title else 2} a title of 100,000 characters"
    with counted() as pool, pytest.raises(UsageError, match=message):
        links(tmp_path / "c.parquet")
    assert 0 < (pool.max_memory() or 0) < 200_000_000


@pytest.mark.parametrize(
    ("lists_a_row", "most_bytes"),
    [([20_000], 2**20), ([*[0] * 2_000, 20_000], 2**20), ([*[0] * 2_000, *[10] * 2_000], 2**29)],
    ids=["one long row", "late long row", "many rows"],
)
def test_a_small_file_that_holds_a_long_text_in_its_lists_does_not_fill_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists_a_row: list[int], most_bytes: int
) -> None:
    """As texts, its lists would take 40 MB."""
    monkeypatch.setattr(parquet, "_GROUP_LIST_BYTES", most_bytes)
    monkeypatch.setattr(parquet, "_BATCH_BYTES", 2**21)
    table = {"product_id": range(len(lists_a_row)), "image_uri": [["x" * 2000] * count for count in lists_a_row]}
    pq.write_table(pa.table(table), tmp_path / "c.parquet")
    with counted() as pool:
        found = links(tmp_path / "c.parquet")
    assert found == ["x" * 2000 if count else "" for count in lists_a_row]
    assert 0 < (pool.max_memory() or 0) < 20_000_000


def test_a_list_of_very_many_nulls_is_refused_with_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A billion of them take some kilobytes in a file."""
    long = pa.ListArray.from_arrays(pa.array([0, 1, 1, 70_001], pa.int32()), pa.nulls(70_001, pa.string()))
    table = pa.table({"product_id": ["a", "b", "c"], "image_uri": long})
    pq.write_table(table, tmp_path / "c.parquet")
    with pytest.raises(
        UsageError, match=r"c.parquet has in row 3 a list of 70,000 values as image_uri, over the limit"
    ):
        links(tmp_path / "c.parquet")
    monkeypatch.setattr(parquet, "_GROUP_LIST_VALUES", 69_998)
    with pytest.raises(UsageError, match=r"has 70,002 values in the lists of image_uri.* of row group 1, over the lim"):
        links(tmp_path / "c.parquet")


def test_fewer_rows_are_read_at_once_where_values_are_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_BATCH_BYTES", 2**20)
    table = pa.table({"product_id": range(500), "image_uri": [str(n) * 3000 for n in range(1000, 1500)]})
    pq.write_table(table, tmp_path / "c.parquet", compression="none")
    batches = list(read_parquet(tmp_path / "c.parquet", "c", PARQUET, Part("c")))
    assert sum(map(len, batches)) == 500
    assert max(map(len, batches)) < 100

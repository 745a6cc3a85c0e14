"""Parquet of any writer is read by its own types, from a disk and from a store alike; partitions become columns."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from jobs.catalog import files
from jobs.catalog.description import Description
from jobs.catalog.files import names_of, parts_of, read_part
from jobs.catalog.forms.parquet import _values, read_parquet
from jobs.catalog.layout import Layout
from jobs.catalog.passed_over import PassedOver
from jobs.catalog.recognise import recognise
from jobs.catalog.rows import BATCH_ROWS, Part
from jobs.catalog.tables import tables_in
from jobs.errors import UsageError
from jobs.storage.places import Place
from jobs.storage.stores import place

PARQUET = Layout("parquet")
COLUMNS = ("product_id", "image_no", "image_uri", "title", "category", "updated_at")
TWO = {"product_id": ["p1", "p2"], "image_uri": ["1.jpg", "2.jpg"]}


def rows(where: Place, layout: Layout = PARQUET) -> list[tuple[Any, ...]]:
    """Every row of a file or directory."""
    batches = [batch for part in parts_of(where, layout) for batch in read_part(part, layout)]
    return [tuple(row[name] for name in COLUMNS) for batch in batches for row in batch.to_pylist()]


def column(tmp_path: Path, name: str, values: Any, **more: Any) -> list[Any]:
    """What a column of a file is read as, one value for each row."""
    count = len(values)
    table = {"product_id": [f"p{n}" for n in range(count)], "image_uri": ["u"] * count, **more, name: values}
    pq.write_table(pa.table(table), tmp_path / "c.parquet")
    return [row[COLUMNS.index(name)] for row in rows(tmp_path / "c.parquet")]


@pytest.fixture
def memory() -> Iterator[UPath]:
    """An object store in memory."""
    root = UPath("memory://shop")
    root.fs.store.clear()
    yield root
    root.fs.store.clear()


def copied(source: Path, target: UPath) -> UPath:
    for file in sorted(source.rglob("*")):
        if file.is_file():
            target.fs.pipe_file(f"{target.path}/{file.relative_to(source).as_posix()}", file.read_bytes())
    return target


@pytest.fixture
def in_store(memory: UPath, monkeypatch: pytest.MonkeyPatch) -> UPath:
    """The same store, whose URIs a task turns into places as it does those of S3."""
    monkeypatch.setattr("jobs.catalog.files.place", lambda text: UPath(text) if "memory:" in text else place(text))
    return memory


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()),
        *(pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.large_string())),
    ],
    ids=str,
)
def test_texts_of_any_type_are_texts(tmp_path: Path, kind: pa.DataType) -> None:
    texts = ["caf\u00e9", None, "", "x" * 300, "caf\u00e9"]
    base = pa.array(texts, pa.string())
    if pa.types.is_dictionary(kind):
        values = base.dictionary_encode().cast(kind)
    elif "binary" in str(kind):
        values = pa.array([None if each is None else each.encode() for each in texts], kind)
    else:
        values = pa.array(texts, kind)
    assert column(tmp_path, "title", values) == ["caf\u00e9", None, None, "x" * 300, "caf\u00e9"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([True, None]), ["true", None]),
        (pa.nulls(2), [None, None]),
        (pa.array([Decimal("1.50"), Decimal("100.00")]), ["1.50", "100.00"]),
        (pa.array([1, 2**64 - 1], pa.uint64()), ["1", "18446744073709551615"]),
        (pa.array([0.5, float("nan")], pa.float16()), ["0.5", None]),
        (pa.array([1.1, None], pa.float32()), ["1.1", None]),
        (pa.array([date(2026, 11, 1), None]), ["2026-11-01", None]),
        (pa.array([time(1, 2, 3), time(1, 2, 3, 500_000)]), ["01:02:03", "01:02:03.5"]),
        (pa.array([10, None], pa.time64("ns")), ["00:00:00.00000001", None]),
        (pa.array([uuid.UUID(int=1).bytes], pa.uuid()), ["00000000-0000-0000-0000-000000000001"]),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_values_of_other_types_are_written_as_text(tmp_path: Path, values: Any, expected: list[str]) -> None:
    assert column(tmp_path, "title", values) == expected


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Zurich"])
def test_a_time_is_written_in_utc_with_the_digits_that_it_has(tmp_path: Path, unit: str, zone: str | None) -> None:
    moment = datetime(2026, 11, 1, 2, 3, 4, 0 if unit == "s" else 500_000)
    values = pa.array([moment, datetime(2026, 11, 1, 2), None], pa.timestamp(unit, zone))
    first = "2026-11-01 02:03:04" if unit == "s" else "2026-11-01 02:03:04.5"
    assert column(tmp_path, "updated_at", values) == [first, "2026-11-01 02:00:00", None]


def test_nanoseconds_are_cut_off(tmp_path: Path) -> None:
    values = pa.array([1_793_498_584_123_456_789], pa.timestamp("ns"))
    assert column(tmp_path, "updated_at", values) == ["2026-11-01 02:03:04.123456"]


def test_what_pandas_writes_by_default_is_read_whatever_the_unused_columns_are(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "product_id": [12345678.0, 7.0],
            "image_uri": pd.Categorical(["a.jpg", "b.jpg"]),
            "title": ["x", None],
            "updated_at": [pd.Timestamp("2026-11-01 02:03:04.5"), None],
            "shelf_time": [time(1), None],
            "age": [timedelta(days=1), None],
            "parts": [{"a": 1}, None],
            "sizes": [[1, 2], None],
        },
        index=["first", "second"],
    )
    frame.to_parquet(tmp_path / "c.parquet")
    assert rows(tmp_path / "c.parquet") == [
        ("12345678", "0", "a.jpg", "x", None, "2026-11-01 02:03:04.5"),
        ("7", "0", "b.jpg", None, None, None),
    ]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (pa.array([1.0, 1.5]), "in row 2 the number '1.5' as product_id; an id is"),
        (pa.array([1.0, float("nan")]), "in row 2 the number 'nan' as product_id; an id is"),
        (pa.array([1.0, 2.0**53]), "in row 2 the number '9.*' as product_id, which may have lost digits"),
        (pa.array([1.0, 2.0**24], pa.float32()), "in row 2 the number '16777216' as product_id, which may have lost"),
        (pa.array([1.0, 2048.0], pa.float16()), "in row 2 the number '2048' as product_id, which may have lost"),
        (pa.array([Decimal("1.00"), Decimal("1.50")]), "in row 2 the number '1.50' as product_id; an id is"),
        (pa.array([b"a", b"\xff"]), r"in row 2 a product_id that is no UTF-8 "),
        (pa.array(["a", "x" * 256]), "in row 2 a product_id of 256 characters, over the limit of 255"),
    ],
    ids=str,
)
def test_an_id_that_cannot_be_told_is_refused_with_its_row(tmp_path: Path, values: Any, words: str) -> None:
    with pytest.raises(UsageError, match=f"^catalog {tmp_path}/c.parquet has {words}"):
        column(tmp_path, "product_id", values)


def test_the_largest_exact_floats_are_ids(tmp_path: Path) -> None:
    assert column(tmp_path, "product_id", pa.array([2.0**53 - 1])) == ["9007199254740991"]
    assert column(tmp_path, "product_id", pa.array([2.0**24 - 1], pa.float32())) == ["16777215"]


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.large_list(pa.string()), pa.list_(pa.string(), 2)], ids=str)
def test_a_list_of_links_is_several_images_in_order(tmp_path: Path, kind: pa.DataType, encoded: bool) -> None:
    links = [["b.jpg", "a.jpg"], None, ["c.jpg", None]]
    more = {"more": pa.array([[{"a": 1}]] * 3)}
    table = pa.table({"product_id": ["p1", "p2", "p3"], "image_uri": pa.array(links, kind), **more})
    pq.write_table(table, tmp_path / "c.parquet", use_dictionary=encoded)
    assert [row[:3] for row in rows(tmp_path / "c.parquet")] == [
        *[("p1", "0", "b.jpg"), ("p1", "1", "a.jpg")],
        *[("p2", "0", ""), ("p3", "0", "c.jpg")],
    ]


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.large_list(pa.string())], ids=str)
def test_lists_of_a_slice_are_its_own(kind: pa.DataType) -> None:
    values = pa.array([["a"], ["b", "c"], None, [], ["d"]], kind)
    assert _values(values.slice(1)) == [["b", "c"], None, [], ["d"]]
    assert _values(values.slice(1, 1)) == [["b", "c"]]
    assert _values(values.slice(5)) == []


def test_a_list_of_categories_is_several_categories(tmp_path: Path) -> None:
    assert column(tmp_path, "category", [["Home, Garden", "Tops"], [], None]) == [r"Home\, Garden, Tops", None, None]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([{"a": "1.jpg"}]),
        pa.array([[("a", "1.jpg")]], pa.map_(pa.string(), pa.string())),
        pa.array([[{"a": "1.jpg"}]]),
        pa.array([[["1.jpg"]]]),
        pa.array([timedelta(seconds=1)]),
    ],
    ids=lambda value: str(value.type),
)
@pytest.mark.parametrize("name", ["image_uri", "title", "product_id"])
def test_a_column_whose_values_have_no_text_is_refused_by_its_name(tmp_path: Path, name: str, values: Any) -> None:
    with pytest.raises(UsageError, match=rf"c.parquet has the column {name} of the type .*; write texts, numbers,"):
        column(tmp_path, name, values)


def test_a_list_of_titles_is_refused_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has in row 2 another title than a text or a number, a list; write one"):
        column(tmp_path, "title", [[], ["a"]])


def test_files_that_are_no_catalog_are_named(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    pq.write_table(pa.table({"product_id": ["a"]}), path)
    with pytest.raises(UsageError, match=r"c.parquet has no column image_uri; .* has product_id"):
        rows(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UsageError, match=r"c.parquet cannot be read \(.*; write it again"):
        rows(path)


def test_rows_of_all_batches_and_row_groups_are_read_in_order(tmp_path: Path) -> None:
    count = 2 * BATCH_ROWS + 7
    table = pa.table({"product_id": range(count), "image_uri": [f"{n % 3}.jpg" for n in range(count)]})
    pq.write_table(table, tmp_path / "c.parquet", row_group_size=BATCH_ROWS - 1)
    found = rows(tmp_path / "c.parquet")
    assert [(row[0], row[2]) for row in found] == [(str(n), f"{n % 3}.jpg") for n in range(count)]
    positions = [
        row["position"]
        for batch in read_parquet(tmp_path / "c.parquet", "c", PARQUET, Part("c", number=2))
        for row in batch.to_pylist()
    ]
    assert positions == sorted(set(positions))


def test_files_of_a_directory_are_each_read_by_their_own_types(tmp_path: Path, in_store: UPath) -> None:
    kinds = {
        "a": [pa.array([1, 2]), pa.array(["x", "y"]).dictionary_encode(), pa.array([["l"], ["m"]])],
        "b": [pa.array([3.0, 4.0]), pa.array(["x", "z"]).dictionary_encode(), pa.array([["Tops"], ["Hats"]])],
        "c": [pa.array(["5", "6"]), pa.array([b"x", b"y"]), pa.array(["Tops", None])],
    }
    for name, (ids, titles, categories) in kinds.items():
        table = {"product_id": ids, "image_uri": ["u", "v"], "title": titles, "category": categories}
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
    found = rows(tmp_path)
    assert [row[0] for row in found] == ["1", "2", "3", "4", "5", "6"]
    assert [row[3] for row in found] == ["x", "y", "x", "z", "x", "y"]
    assert [row[4] for row in found] == ["l", "m", "Tops", "Hats", "Tops", None]
    assert rows(copied(tmp_path, in_store)) == found


def test_tables_below_partitions_are_found_and_their_values_are_columns(tmp_path: Path, in_store: UPath) -> None:
    paths = (
        "date=2026-11-01/category=Home%2FGarden %26 more/part-0.parquet",
        "date=2026-11-01/category=__HIVE_DEFAULT_PARTITION__/part-0.parquet",
        "date=2026-11-02/category=a=b/part-0.PARQUET",
        "top.parquet",
    )
    for number, path in enumerate(paths):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"product_id": [number], "image_uri": [f"{number}.jpg"]}), tmp_path / path)
    for other in ("date=2026-11-01/.hidden/x.parquet", "date=2026-11-01/_SUCCESS", "_temporary/y.parquet"):
        (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / other).write_bytes(b"no Parquet")
    layout = Layout("parquet", columns={"updated_at": ("date",)})
    expected = [
        ("3", "0", "3.jpg", None, None, None),
        ("0", "0", "0.jpg", None, "Home/Garden & more", "2026-11-01"),
        ("1", "0", "1.jpg", None, None, "2026-11-01"),
        ("2", "0", "2.jpg", None, "a=b", "2026-11-02"),
    ]
    for where in (tmp_path, copied(tmp_path, in_store)):
        assert rows(where, layout) == expected, where


def test_the_columns_of_partitions_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "sku=p1").mkdir()
    pq.write_table(pa.table({"image_uri": ["1.jpg"], "Department": ["x"]}), tmp_path / "sku=p1" / "a.parquet")
    said = Description.model_validate({"columns": {"product_id": "SKU", "category": "department"}})
    found = recognise(tmp_path, said)
    assert found.names == ("image_uri", "Department", "sku")
    assert rows(tmp_path, found.layout) == [("p1", "0", "1.jpg", None, "x", None)]


def test_a_column_of_the_file_counts_before_that_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "category=of folder").mkdir()
    table = pa.table({**TWO, "Category": ["of file", None]})
    pq.write_table(table, tmp_path / "category=of folder" / "a.parquet")
    assert [row[4] for row in rows(tmp_path)] == ["of file", None]
    assert names_of(tmp_path, PARQUET) == ["product_id", "image_uri", "Category"]


def test_a_folder_of_a_partition_named_as_the_catalog_has_no_columns(tmp_path: Path) -> None:
    (tmp_path / "category=x").mkdir()
    pq.write_table(pa.table(TWO), tmp_path / "category=x" / "a.parquet")
    assert [row[4] for row in rows(tmp_path / "category=x")] == [None, None]
    assert [row[4] for row in rows(tmp_path / "category=x" / "a.parquet")] == [None, None]


def test_what_lies_beside_tables_is_counted_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pq.write_table(pa.table(TWO), tmp_path / "a.parquet")
    (tmp_path / "hats").mkdir()
    for name in ("1.jpg", "2.JPG", "notes.txt", "shelfwise.toml", "_SUCCESS", ".crc", "hats/3.jpg"):
        (tmp_path / name).touch()
    with caplog.at_level(logging.INFO):
        parts_of(tmp_path, PARQUET)
    assert caplog.messages == [
        f"catalog {tmp_path}: passed over 3 other files (2 .jpg, 1 .txt); passed over 1 folder beside the tables (hats)"
    ]


def test_links_between_partitions_that_lead_in_a_circle_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "a=1").mkdir()
    pq.write_table(pa.table(TWO), tmp_path / "a=1" / "a.parquet")
    (tmp_path / "a=1" / "b=2").symlink_to(tmp_path)
    assert [table.file.name for table in tables_in(tmp_path)] == ["a.parquet"]


def partitions(root: Path, *names: str) -> Path:
    """Write a table of two products, named by its folder, below each of these folders."""
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        table = {**TWO, "product_id": [f"p{number}", f"q{number}"]}
        pq.write_table(pa.table(table), root / name / "a.parquet")
    return root


def test_a_link_to_a_partition_inside_of_the_directory_is_followed(tmp_path: Path) -> None:
    """A partition that was a link was left out without a word, and a night took its products for having left."""
    root = partitions(tmp_path, "category=hats", ".versions/2/shoes/size=1", "data/coats")
    (root / "category=shoes").symlink_to(".versions/2/shoes")
    (root / "category=coats").symlink_to("data/coats")
    (root / ".versions" / "2" / "shoes" / "size=2").symlink_to("../../../category=shoes")
    assert sorted((row[0], row[4]) for row in rows(root)) == [
        *[("p0", "hats"), ("p1", "shoes"), ("p2", "coats")],
        *[("q0", "hats"), ("q1", "shoes"), ("q2", "coats")],
    ]
    (tmp_path.parent / f"{tmp_path.name} link").symlink_to(root)
    assert len(rows(tmp_path.parent / f"{tmp_path.name} link")) == 6


def test_a_partition_that_is_read_by_its_own_path_is_read_once_and_its_link_named(tmp_path: Path) -> None:
    root = partitions(tmp_path, "category=hats")
    (root / "category=sale").symlink_to("category=hats")
    (root / "latest").symlink_to("category=hats")
    found = PassedOver()
    assert [table.columns for table in tables_in(root, found)] == [(("category", "hats"),)]
    assert found.sentences() == ["passed over 2 folders beside the tables (latest, category=sale)"]


@pytest.mark.parametrize("target", ["../out", "../gone"])
@pytest.mark.parametrize("beside", [("category=hats",), ()])
def test_a_link_of_a_partition_that_leads_out_of_the_directory_is_refused(
    tmp_path: Path, target: str, beside: tuple[str, ...]
) -> None:
    partitions(tmp_path, "out")
    root = partitions(tmp_path / "shop", *beside)
    root.mkdir(exist_ok=True)
    (root / "category=shoes").symlink_to(target)
    words = {
        "../out": rf"shoes is a link to {tmp_path}/out, outside of the catalog; put the folder itself there,",
        "../gone": "category=shoes is a link to a folder that is not there; put it there",
    }
    with pytest.raises(UsageError, match=words[target]):
        parts_of(root, recognise(root).layout)


def test_more_tables_than_positions_have_room_for_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_PARTS", 1)
    for name in "ab":
        pq.write_table(pa.table(TWO), tmp_path / f"{name}.parquet")
    with pytest.raises(UsageError, match="has 2 tables, and 1 at most are read; write fewer and larger ones"):
        parts_of(tmp_path, PARQUET)

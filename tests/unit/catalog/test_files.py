"""What is wrong with a catalog's file is told with its line; what is sound is read to its last row."""

from __future__ import annotations

import errno
import gzip
import os
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.catalog.errors import read_errors_explained
from jobs.catalog.forms.csv import read_csv
from jobs.catalog.forms.folders import folder_rows
from jobs.catalog.forms.json_lines import read_json_lines
from jobs.catalog.forms.parquet import read_parquet
from jobs.catalog.layout import Layout
from jobs.catalog.rows import BATCH_ROWS, Part
from jobs.catalog.values import MAX_VALUE_CHARS
from jobs.dataset.category_texts import shop_categories
from jobs.errors import RunFailed, UsageError

HEADER = "product_id,image_uri,title\n"
Read = Callable[..., Any]


def rows(read: Read, path: Path, layout: Layout | None = None) -> list[tuple[Any, ...]]:
    """Every row of a file, without image_no and updated_at."""
    batches = read(path, str(path), layout or Layout("csv"), Part(str(path)))
    found = [row for batch in batches for row in batch.to_pylist()]
    return [tuple(row[name] for name in ("product_id", "image_uri", "title", "category")) for row in found]


def written(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def goods(first: int, last: int) -> str:
    return "".join(f'p{number},{number}.jpg,"No {number}"\n' for number in range(first, last + 1))


@pytest.mark.parametrize("name", ["c.csv", "c.csv.gz"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        # Sixty rows, of which the quotation mark in line 12 swallows those after it.
        (HEADER + goods(1, 10) + 'p11,11.jpg,"No 11\n', "ends inside of a quoted value of line 12;"),
        (
            HEADER + goods(1, 10) + 'p11,11.jpg,"No 11\n' + "p12,12.jpg,No 12\n" * 49,
            "ends inside of a quoted value of the row of lines 12 to 61;",
        ),
        (
            HEADER + goods(1, 10) + 'p11,11.jpg,"No 11\n' + goods(12, 60),
            "has text after the end of a quoted value in the row of lines 12 to 13;",
        ),
        (HEADER + 'p1,1.jpg,"red" shirt\n', "has text after the end of a quoted value in line 2;"),
        (HEADER + 'p1,1.jpg,"a\nb",c\n', "has 4 values in the row of lines 2 to 3, and its header has 3;"),
        (HEADER + "p1,1.jpg,red, with a comma\n", "has 4 values in line 2, and its header has 3;"),
        (HEADER + "p1,1.jpg,red\n\n\np2,2.jpg\np3,3.jpg,blue\n", "has 2 values in line 5, and its header has 3;"),
        (HEADER + goods(1, 30) + "p31", "has 1 value in line 32, and its header has 3;"),
        ("product_id,image_uri\np1,1.jpg,\n", "has 3 values in line 2, and its header has 2;"),
        (HEADER + 'p1,1.jpg,"' + "x" * (MAX_VALUE_CHARS + 9), "has a value of over 1,048,576 characters"),
        ("product_id,image_uri,Title,title\np1,1.jpg,a,b\n", "has two columns title; rename one"),
        ("product_id;image_uri\np1;1.jpg\n", "has no column product_id and no column image_uri; it needs"),
    ],
)
def test_a_row_of_csv_that_does_not_fit_is_refused_with_its_line(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        rows(read_csv, written(tmp_path / name, text))
    assert str(caught.value).startswith(f"catalog {tmp_path / name} {words}"), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("name", ["c.csv", "c.csv.GZ", "c.csv.gz"])
def test_valid_csv_is_read_with_any_line_ending(tmp_path: Path, name: str, mark: str, end: str) -> None:
    text = mark + ' Product_ID ,IMAGE_URI,title,stock\np1,1.jpg,"two\nlines, ""quoted""",9\n\np2,2.jpg,5" disk,\np3,,,1'
    path = tmp_path / name
    data = text.replace("\n", end).encode()
    path.write_bytes(gzip.compress(data) if "gz" in name.lower() else data)
    assert rows(read_csv, path) == [
        ("p1", "1.jpg", 'two\ufffdlines, "quoted"', None),
        ("p2", "2.jpg", '5" disk', None),
        ("p3", "", None, None),
    ]


def test_more_rows_than_a_batch_are_all_read(tmp_path: Path) -> None:
    count = 2 * BATCH_ROWS + 7
    found = rows(read_csv, written(tmp_path / "c.csv", HEADER + goods(1, count)))
    assert [row[0] for row in found] == [f"p{number}" for number in range(1, count + 1)]


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_a_file_without_a_line_has_no_rows(tmp_path: Path, text: str) -> None:
    assert rows(read_csv, written(tmp_path / "c.csv", text)) == []
    assert rows(read_json_lines, written(tmp_path / "c.jsonl", text)) == []


@pytest.mark.parametrize(("read", "start"), [(read_csv, HEADER), (read_json_lines, "\n")])
@pytest.mark.parametrize("name", ["c", "c.gz"])
def test_what_is_not_utf_8_is_refused_with_its_line(tmp_path: Path, read: Read, start: str, name: str) -> None:
    sound = b"p1,1.jpg,caf\xc3\xa9\n" if read is read_csv else b'{"product_id": "p", "image_uri": "u"}\n'
    path = written(tmp_path / name, start.encode() + sound * 3000 + b"p2,2.jpg,caf\xe9\n" + sound * 3000)
    with pytest.raises(UsageError, match=r"catalog .*/c.* is not UTF-8 in line 3002; write it in UTF-8"):
        rows(read, path)


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not UTF-8 in line 1;"):
        rows(read_csv, written(tmp_path / "c.csv", (HEADER + goods(1, 3)).encode("utf-16")))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"product_id": "p3", "image_uri": ', "has no JSON in line 3 (Expecting value at column "),
        ("{'product_id': 1}", "has no JSON in line 3 (Expecting property name"),
        ("p3,3.jpg", "has no JSON in line 3 "),
        ("[" * 100_000, "is nested too deep in line 3;"),
        ("7", "has something else than an object in line 3;"),
        ('["p3"]', "has something else than an object in line 3;"),
        ('{"product_id": ["p3"], "image_uri": "3.jpg"}', "has in line 3 another product_id than a text or"),
        ('{"product_id": "p3", "image_uri": {"a": "3.jpg"}}', "has in line 3 another image_uri than a text or"),
        ('{"product_id": "p3", "image_uri": "3.jpg", "Title": 1, "title": 2}', "names title twice in line 3;"),
    ],
)
def test_a_broken_line_of_json_is_refused_with_its_number(tmp_path: Path, line: str, words: str) -> None:
    text = '{"product_id": "p1", "image_uri": "1.jpg"}\n\n' + line + '\n{"product_id": "p4", "image_uri": "4.jpg"}\n'
    with pytest.raises(UsageError) as caught:
        rows(read_json_lines, written(tmp_path / "c.jsonl", text))
    assert str(caught.value).startswith(f"catalog {tmp_path}/c.jsonl {words}"), str(caught.value)


def test_valid_json_is_read_unchanged(tmp_path: Path) -> None:
    text = (
        '\ufeff{"product_id": 12345678901234567890, "image_uri": "1.jpg", "title": 1.50, "category": null}\n'
        '{"IMAGE_URI": "2.jpg", "product_id": "p\\ud800", "title": true, "category": {"en": ["Tops"]}}\r\n'
        '[{"product_id": 1e3, "image_uri": ""}, {"product_id": "p4", "image_uri": "4.jpg", "more": []}]'
    )
    assert rows(read_json_lines, written(tmp_path / "c.jsonl", text)) == [
        ("12345678901234567890", "1.jpg", "1.50", None),
        ("p?", "2.jpg", "true", '{"en": ["Tops"]}'),
        ("1e3", "", None, None),
        ("p4", "4.jpg", None, None),
    ]


def test_a_json_file_without_a_needed_column_names_it(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", '{"id": 1, "image_uri": "1.jpg"}\n{"id": 2, "picture": "2.jpg"}\n')
    with pytest.raises(UsageError, match=r"no column product_id; it needs .* has id, image_uri, picture"):
        rows(read_json_lines, path)


@pytest.mark.parametrize("cut", [10, 60, -1])
@pytest.mark.parametrize("read", [read_csv, read_json_lines])
def test_a_gzip_file_that_ends_too_soon_is_refused(tmp_path: Path, read: Read, cut: int) -> None:
    path = written(tmp_path / "c.gz", HEADER + goods(1, 400) if read is read_csv else '{"product_id": 1}\n' * 400)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UsageError, match=r"c.gz cannot be read \(Compressed file ended.*; write it again"):
        rows(read, path)
    with pytest.raises(UsageError, match=r"c.gz cannot be read \(Not a gzipped file"):
        path.write_bytes(b"no gzip")
        rows(read, path)


def test_columns_of_parquet_keep_their_kind_or_become_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "product_id": pa.array([1, 2], pa.uint64()),
            "image_uri": pa.array(["1.jpg", None]).dictionary_encode(),
            "title": pa.array([["a"], None], pa.list_(pa.string())),
            "category": pa.array([b"tops", b"hats"], pa.large_binary()),
            "updated_at": pa.array([datetime(2026, 11, 1, 2)] * 2, pa.timestamp("ns")),
        }
    )
    pq.write_table(table, tmp_path / "c.parquet")
    assert rows(read_parquet, tmp_path / "c.parquet") == [("1", "1.jpg", '["a"]', "tops"), ("2", "", None, "hats")]
    kinds = {"product_id": [1.0], "image_uri": [Decimal("1.50")], "title": [date(2026, 11, 1)]}
    pq.write_table(pa.table(kinds), tmp_path / "d.parquet")
    assert rows(read_parquet, tmp_path / "d.parquet") == [("1", "1.50", "2026-11-01", None)]


def test_parquet_files_that_are_no_catalog_are_named(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    pq.write_table(pa.table({"product_id": ["a"], "image_uri": [{"a": "1.jpg"}]}), path)
    with pytest.raises(UsageError, match="has in row 1 another image_uri than a text or"):
        rows(read_parquet, path)
    pq.write_table(pa.table({"product_id": ["a"]}), path)
    with pytest.raises(UsageError, match=r"c.parquet has no column image_uri; .* has product_id"):
        rows(read_parquet, path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UsageError, match=r"c.parquet cannot be read \(.*; write it again"):
        rows(read_parquet, path)


@pytest.mark.parametrize("read", [read_csv, read_json_lines, read_parquet])
def test_a_catalog_that_its_user_can_correct_is_a_wrong_call_and_a_failing_disk_is_not(
    tmp_path: Path, read: Read
) -> None:
    with pytest.raises(UsageError, match="gone; put it back"):
        rows(read, tmp_path / "gone")
    with pytest.raises(UsageError, match="may not be read by this user"), read_errors_explained("c"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    words = r"c cannot be read \(Input/output error\); see to its disk"
    with pytest.raises(RunFailed, match=words), read_errors_explained("c"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_folder_that_cannot_be_listed_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hats").mkdir()
    scandir = os.scandir

    def denied(path: str) -> Any:
        if str(path).endswith("hats"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(UsageError, match="hats may not be read by this user"):
        list(folder_rows(tmp_path))


def test_a_comma_in_the_name_of_a_folder_separates_no_categories(tmp_path: Path) -> None:
    (tmp_path / "Home, Garden" / "Pots").mkdir(parents=True)
    (tmp_path / "Home, Garden" / "Pots" / "p1.jpg").write_bytes(b"x")
    ((product_id, _, _, _, category, _), *_) = folder_rows(tmp_path)
    assert (product_id, category) == ("p1", r"Home\, Garden.Pots")
    assert [each.category_id for each in shop_categories(str(category))] == ["home-garden.pots"]

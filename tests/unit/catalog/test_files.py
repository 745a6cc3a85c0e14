"""What is wrong with a catalog's file is told with its line; what is sound is read to its last row."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook

from jobs.catalog.errors import read_errors_explained
from jobs.catalog.files import parts_of, read_part
from jobs.catalog.forms.csv import read_csv
from jobs.catalog.forms.json_lines import read_json_lines
from jobs.catalog.forms.parquet import read_parquet
from jobs.catalog.layout import Layout
from jobs.catalog.links import bad_link
from jobs.catalog.recognise import recognise
from jobs.errors import RunFailed, UsageError
from tests.unit.catalog.catalog_files import Read, Rows, rows_of, written


def rows(read: Read, path: Path, layout: Layout | None = None) -> Rows:
    """Every row of a file, without image_no and updated_at."""
    return rows_of(read, path, layout or Layout("csv"), "product_id", "image_uri", "title", "category")


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_a_file_without_a_line_has_no_rows(tmp_path: Path, text: str) -> None:
    assert rows(read_csv, written(tmp_path / "c.csv", text)) == []
    assert rows(read_json_lines, written(tmp_path / "c.jsonl", text)) == []


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
        '{"IMAGE_URI": "2.jpg", "product_id": "p2", "title": true, "category": ["Tops", "Home, Garden"]}\r\n'
        '[{"product_id": 1e3, "image_uri": ""}, {"product_id": "p4", "image_uri": "4.jpg", "more": []}]'
    )
    assert rows(read_json_lines, written(tmp_path / "c.jsonl", text)) == [
        ("12345678901234567890", "1.jpg", "1.50", None),
        ("p2", "2.jpg", "true", r"Tops, Home\, Garden"),
        ("1000", "", None, None),
        ("p4", "4.jpg", None, None),
    ]


def test_a_json_file_without_a_needed_column_names_it(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", '{"id": 1, "image_uri": "1.jpg"}\n{"id": 2, "picture": "2.jpg"}\n')
    with pytest.raises(UsageError, match=r"no column product_id; it needs .* has id, image_uri, picture"):
        rows(read_json_lines, path)


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


@pytest.mark.parametrize("column", ["product_id", "group_id"])
def test_half_of_a_character_is_refused_in_an_id_and_shown_elsewhere(tmp_path: Path, column: str) -> None:
    """`Sch\ud83drze` and `Sch\ud83erze` were one product, because both became `Sch?rze`."""
    line = r'{"product_id": "p1", "image_uri": "a\ud83d.jpg", "title": "T\ud83e", "category": "C\udfff"}' + "\n"
    path = written(tmp_path / "c.jsonl", line)
    assert rows(read_json_lines, path) == [("p1", "a\ufffd.jpg", "T\ufffd", "C\ufffd")]
    assert (bad_link("a\ufffd.jpg") or "").startswith("the link holds a control character, or one that was not decoded")
    ids = {"product_id": "p2", "group_id": "g", column: "Sch\ud83drze"}
    written(path, line + json.dumps({**ids, "image_uri": "b.jpg"}))
    words = rf"has in line 2 the {column} 'Sch\\ud83drze' with a byte or half of a character that no text in UTF-8 has;"
    with pytest.raises(UsageError, match=words):
        rows(read_json_lines, path)
    written(path, '{"image_uri": "b.jpg", "product_id": "Sch\\ud83d\\ude00rze"}')
    assert rows(read_json_lines, path)[0][0] == "Sch\U0001f600rze"


def test_bytes_of_partitions_that_are_no_utf_8_are_refused_in_an_id_alone(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image_uri": ["1.jpg"]}), tmp_path / "t.parquet")

    def read(folder: bytes) -> list[tuple[str, str, str]]:
        root = tmp_path / folder.hex()
        directory = Path(os.fsdecode(os.fsencode(root) + b"/" + folder))
        directory.mkdir(parents=True)
        (directory / "t.parquet").write_bytes((tmp_path / "t.parquet").read_bytes())
        (part,) = parts_of(root, Layout("parquet"))
        rows = [row for batch in read_part(part, Layout("parquet")) for row in batch.to_pylist()]
        return [(row["product_id"], row["image_uri"], row["category"]) for row in rows]

    assert read(b"product_id=c/category=caf%E9") == [("c", "1.jpg", "caf\ufffd")]
    with pytest.raises(UsageError, match=r"has in row 1 the product_id 'a\\udce9' with a byte or half of a character"):
        read(b"product_id=a%E9")
    with pytest.raises(UsageError, match="has a path that is no UTF-8; rename the file or its folders"):
        read(b"product_id=b\xe9")


def as_csv(path: Path, table: list[list[str]]) -> Path:
    return written(path, "".join(",".join(row) + "\n" for row in table))


def as_xlsx(path: Path, table: list[list[str]]) -> Path:
    book = Workbook()
    for row in table:
        book.active.append(row)
    book.save(path)
    return path


def as_objects(path: Path, table: list[list[str]]) -> Path:
    names, *records = table
    objects = [dict(zip(names, record, strict=True)) for record in records]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(objects), path)
    elif path.suffix == ".xml":
        goods = ["".join(f"<{name}>{text}</{name}>" for name, text in each.items()) for each in objects]
        written(path, "<goods>" + "".join(f"<good>{each}</good>" for each in goods) + "</goods>")
    else:
        written(path, json.dumps(objects, indent=1) if path.suffix == ".json" else "\n".join(map(json.dumps, objects)))
    return path


@pytest.mark.parametrize("form", ["csv", "xlsx", "jsonl", "json", "xml", "parquet"])
def test_a_second_header_is_no_product_in_any_form(tmp_path: Path, form: str) -> None:
    """Two exports that were joined in a workbook had a product `product_id`."""
    write = {"csv": as_csv, "xlsx": as_xlsx}.get(form, as_objects)
    header, first, last = ["product_id", "image_uri", "title"], ["p1", "1.jpg", "T"], ["product_id", "2.jpg", "title"]
    path = write(tmp_path / f"c.{form}", [header, first, header, last])
    with pytest.raises(UsageError, match=r"has its header again in (line|row) \d, where another file was appended"):
        all_of(path)
    assert [row[0] for row in all_of(write(path, [header, first, last]))] == ["p1", "product_id"]


@pytest.mark.parametrize("form", ["csv", "xlsx", "jsonl", "json", "xml", "parquet"])
def test_a_file_of_very_many_columns_is_refused_in_any_form(tmp_path: Path, form: str) -> None:
    """A workbook has at most 16,384; a Parquet file of 100,000 takes its writer ten seconds."""
    columns = {"xlsx": 16_000, "parquet": 10_001}.get(form, 100_000)
    names = ["product_id", "image_uri", *(f"c{number}" for number in range(columns - 2))]
    write = {"csv": as_csv, "xlsx": as_xlsx}.get(form, as_objects)
    path = write(tmp_path / f"c.{form}", [names, ["p1", "1.jpg", *("x" for _ in names[2:])]])
    words = rf"has {columns:,} columns( in (line|row) \d)?, and 10,000 at most are read; leave out what the"
    with pytest.raises(UsageError, match="over 10,000 different names of elements" if form == "xml" else words):
        all_of(path)


def all_of(path: Path) -> list[tuple[str, str]]:
    layout = recognise(path).layout
    batches = [batch for part in parts_of(path, layout) for batch in read_part(part, layout)]
    return [(row["product_id"], row["image_uri"]) for batch in batches for row in batch.to_pylist()]

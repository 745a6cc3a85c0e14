"""CSV is read to its last row or refused with the line; its parts give what the whole gives."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs.catalog import divisions
from jobs.catalog.description import Description
from jobs.catalog.files import parts_of, read_part
from jobs.catalog.forms.csv import csv_names, read_csv
from jobs.catalog.layout import Layout
from jobs.catalog.recognise import recognise
from jobs.catalog.rows import BATCH_ROWS, MAX_COLUMNS, Part
from jobs.catalog.text import MAX_LINE_CHARS
from jobs.catalog.values import MAX_VALUE_CHARS
from jobs.errors import UsageError
from tests.unit.catalog.catalog_files import Rows, refusal_of, rows_of, written

HEADER = "product_id,image_uri,title\n"


def rows(path: Path, layout: Layout | None = None) -> Rows:
    """Every row of a file, without image_no and updated_at."""
    return rows_of(read_csv, path, layout or Layout("csv"), "product_id", "image_uri", "title", "category")


def goods(first: int, last: int) -> str:
    return "".join(f'p{number},{number}.jpg,"No {number}"\n' for number in range(first, last + 1))


def refusal(path: Path, layout: Layout | None = None) -> str:
    return refusal_of(path, lambda: rows(path, layout))


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
    assert refusal(written(tmp_path / name, text)).startswith(words)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("name", ["c.csv", "c.csv.GZ", "c.csv.gz"])
def test_valid_csv_is_read_with_any_line_ending(tmp_path: Path, name: str, mark: str, end: str) -> None:
    text = mark + ' Product_ID ,IMAGE_URI,title,stock\np1,1.jpg,"two\nlines, ""quoted""",9\n\np2,2.jpg,5" disk,\np3,,,1'
    path = tmp_path / name
    data = text.replace("\n", end).encode()
    path.write_bytes(gzip.compress(data) if "gz" in name.lower() else data)
    assert rows(path) == [
        ("p1", "1.jpg", 'two\ufffdlines, "quoted"', None),
        ("p2", "2.jpg", '5" disk', None),
        ("p3", "", None, None),
    ]


def test_more_rows_than_a_batch_are_all_read(tmp_path: Path) -> None:
    count = 2 * BATCH_ROWS + 7
    found = rows(written(tmp_path / "c.csv", HEADER + goods(1, count)))
    assert [row[0] for row in found] == [f"p{number}" for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("separator", "word"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars"), (":", "':'")]
)
def test_messages_name_the_separator(tmp_path: Path, separator: str, word: str) -> None:
    text = HEADER.replace(",", separator)
    layout = Layout("csv", separator=separator)
    path = written(tmp_path / "c.csv", text + separator.join(["p1", "1.jpg", "a", "b"]) + "\n")
    assert refusal(path, layout).endswith(
        f"; quote a value that holds {word}, close each quotation mark, and double those inside of a value"
    )
    written(path, text + separator.join(["p1", "1.jpg", "a", "", ""]) + "\n")
    assert refusal(path, layout) == (
        f"has 5 values in line 2, and its header has 3; the row ends in {word} that the header lacks, so leave them "
        "out or give them names"
    )
    written(path, text.replace("\n", f"{separator}\n") + separator.join(["p1", "1.jpg", "a"]) + "\n")
    assert refusal(path, layout) == (
        f"has 3 values in line 2, and its header has 4; the header ends in {word} that the row lacks, so leave them "
        "out of the header"
    )


def test_trailing_separators_in_header_and_rows_are_a_column_without_a_name(tmp_path: Path) -> None:
    path = written(tmp_path / "c.csv", "product_id,image_uri,,\np1,1.jpg,,\n")
    assert rows(path) == [("p1", "1.jpg", None, None)]


def test_blank_lines_and_rows_of_separators_alone_are_no_rows(tmp_path: Path) -> None:
    text = ",,\n  \n" + HEADER + "\n   \n,,\np1,1.jpg,a\n , ,\n,,,,,\n\t\np2,2.jpg,b\n,"
    assert rows(written(tmp_path / "c.csv", text)) == [("p1", "1.jpg", "a", None), ("p2", "2.jpg", "b", None)]
    written(tmp_path / "c.csv", text + "x")
    assert refusal(tmp_path / "c.csv").startswith("has 2 values in line 12, and its header has 3;")


def test_lines_above_the_header_may_be_anything(tmp_path: Path) -> None:
    path = written(tmp_path / "c.csv", 'Export of "Monday\n\nproduct_id;x,\n' + HEADER + goods(1, 2) + "p3\n")
    assert csv_names(path, "c", Layout("csv", header_line=4)) == ["product_id", "image_uri", "title"]
    assert refusal(path, Layout("csv", header_line=4)).startswith("has 1 value in line 7,")
    written(path, path.read_bytes().removesuffix(b"p3\n"))
    assert [row[0] for row in rows(path, Layout("csv", header_line=4))] == ["p1", "p2"]
    assert refusal(path, Layout("csv", header_line=9)) == (
        "has no header in line 9 (it has 6 lines); correct `header_line` in shelfwise.toml"
    )


@pytest.mark.parametrize("between", ["", "\n", "p1,1.jpg,a\n", goods(1, 30)])
def test_a_header_again_is_no_product(tmp_path: Path, between: str) -> None:
    line = 2 + between.count("\n")
    path = written(tmp_path / "c.csv", HEADER + between + HEADER + "p9,9.jpg,z\n")
    assert refusal(path) == f"has its header again in line {line}, where another file was appended; leave that line out"


def test_more_columns_than_a_catalog_has_are_refused(tmp_path: Path) -> None:
    names = HEADER.strip() + "".join(f",c{number}" for number in range(MAX_COLUMNS - 3))
    path = written(tmp_path / "c.csv", f"{names}\np1,1.jpg,a{',' * (MAX_COLUMNS - 3)}\n")
    assert rows(path) == [("p1", "1.jpg", "a", None)]
    written(path, f"{names},one_more\n")
    assert refusal(path).startswith("has 10,001 columns in line 1, and 10,000 at most are read; leave out")


def test_without_a_quotation_mark_it_is_a_character_of_a_value(tmp_path: Path) -> None:
    path = written(tmp_path / "c.csv", HEADER + 'p1,1.jpg,"12\np2,2.jpg,a"b"\n')
    layout = Layout("csv", quote="")
    assert rows(path, layout) == [("p1", "1.jpg", '"12', None), ("p2", "2.jpg", 'a"b"', None)]
    written(path, HEADER + 'p1,1.jpg,"a,b"\n')
    assert refusal(path, layout).startswith("has 4 values in line 2, and its header has 3; write it with quotation")
    written(path, HEADER + "p1,1.jpg," + "x" * (MAX_VALUE_CHARS + 1))
    assert refusal(path, layout).startswith("has a value of over 1,048,576 characters in line 2; see that")


def test_another_quotation_mark_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "c.csv", HEADER + "p1,1.jpg,'a, ''b'\n")
    assert rows(path, Layout("csv", quote="'")) == [("p1", "1.jpg", "a, 'b", None)]


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (Layout("csv", separator='"'), "cannot be read with '\"' as separator and as quotation mark;"),
        (Layout("csv", separator="\n"), "cannot be read with the separator '\\n'; name one visible character"),
        (Layout("csv", quote="\r"), "cannot be read with the quotation mark '\\r'; name one visible character"),
    ],
)
def test_a_separator_that_separates_nothing_is_refused(tmp_path: Path, layout: Layout, words: str) -> None:
    assert refusal(written(tmp_path / "c.csv", HEADER + goods(1, 1)), layout).startswith(words)


def test_a_row_of_endlessly_many_lines_is_refused_before_it_fills_memory(tmp_path: Path) -> None:
    value = '"' + ("x" * 9999 + "\n") * 50 + '",'
    path = written(tmp_path / "c.csv", HEADER + goods(1, 1) + value * (MAX_LINE_CHARS // len(value) + 3))
    assert refusal(path).startswith("has a row of over 8,388,608 characters from line 3 on; close each")


# Parts of a file.

VALUES = st.text(st.sampled_from("ab ä\u2028😀'"), max_size=5)
LINES = st.one_of(
    st.tuples(VALUES, VALUES, VALUES).map(",".join),
    st.sampled_from(["", "  ", ",,", ",", "p1,1.jpg,x"]),
)


def read_rows(parts: Sequence[Part], layout: Layout) -> Rows:
    """The rows of parts, in order, without their positions, which are checked to grow."""
    found = [tuple(row.values()) for part in parts for batch in read_part(part, layout) for row in batch.to_pylist()]
    positions = [row[-1] for row in found]
    assert positions == sorted(set(positions))
    return [row[:-1] for row in found]


def divided(path: Path, cuts: Sequence[int]) -> list[Part]:
    starts = sorted({0, *cuts})
    return [Part(str(path), 0, start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)]


@settings(deadline=None)
@given(
    above=st.lists(VALUES, max_size=3),
    blank=st.integers(0, 2),
    body=st.lists(LINES, max_size=12),
    ends=st.lists(st.sampled_from(["\n", "\r\n"]), min_size=18, max_size=18),
    last=st.booleans(),
    mark=st.booleans(),
    cuts=st.lists(st.integers(1, 200), max_size=8),
)
@example(above=[], blank=0, body=["a,b,c", "d,e,f"], ends=["\n"] * 18, last=True, mark=False, cuts=[27, 33, 34])
def test_parts_of_any_division_give_exactly_the_rows_of_the_whole(
    above: list[str], blank: int, body: list[str], ends: list[str], last: bool, mark: bool, cuts: list[int]
) -> None:
    written_lines = [*above, *[""] * blank, HEADER.strip(), *body]
    text = "".join(line + end for line, end in zip(written_lines, ends, strict=False))
    layout = Layout("csv", header_line=len(above) + 1)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "c.csv"
        path.write_bytes((b"\xef\xbb\xbf" if mark else b"") + (text if last else text.rstrip("\r\n")).encode())
        cuts = [cut for cut in cuts if cut < path.stat().st_size]
        assert_same(divided(path, cuts), Part(str(path)), layout)


def assert_same(parts: Sequence[Part], whole: Part, layout: Layout) -> None:
    """Check that parts give the rows of the whole, or the same error."""
    try:
        expected = read_rows([whole], layout)
    except UsageError as error:
        with pytest.raises(UsageError) as caught:
            read_rows(parts, layout)
        assert str(caught.value) == str(error)
    else:
        assert read_rows(parts, layout) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"p40,40.jpg", "has 2 values in line 42,"),
        (b"p40,40.jpg,\xe9", "is not UTF-8: bytes e9 in line 42;"),
        (b"p40,40.jpg,\0", "has a NUL character in line 42,"),
        (b"\xef\xbb\xbfp40,40.jpg,x", "has a byte order mark at the start of line 42,"),
        (b"product_id,image_uri,title", "has its header again in line 42,"),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_an_error_in_a_later_part_names_the_line_of_the_file(
    tmp_path: Path, line: bytes, words: str, end: bytes
) -> None:
    others = [b"p%d,%d.jpg,No" % (number, number) for number in range(60)]
    path = written(tmp_path / "c.csv", end.join([HEADER.strip().encode(), *others[:40], line, *others[41:], b""]))
    at = path.read_bytes().rindex(line)
    for start in (at, at - 1, at - 100):
        with pytest.raises(UsageError) as caught:
            read_rows([Part(str(path), 0, start, None)], Layout("csv"))
        assert str(caught.value).startswith(f"catalog {path} {words}")


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of over 100 bytes are divided into ranges of 64 bytes."""
    monkeypatch.setattr(divisions, "DIVIDED_BYTES", 100)
    monkeypatch.setattr(divisions, "RANGE_BYTES", 64)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(
    ("content", "options", "is_divided"),
    [
        (HEADER + "p1,1.jpg,a\n" * 20, {}, True),
        (HEADER.replace("\n", "\r\n") + "p1,1.jpg,a\r\n" * 20, {}, True),
        (HEADER + "p1,1.jpg,a\n" * 6, {}, False),
        (HEADER + "p1,1.jpg,a\n" * 20 + 'p2,2.jpg,"a"\n', {}, False),
        (HEADER + "p1,1.jpg,a\n" * 20 + 'p2,2.jpg,"a"\n', {"quote": ""}, True),
        (HEADER + "p1,1.jpg,a\n" * 20 + 'p2,2.jpg,"a"\n', {"quote": "'"}, True),
        (HEADER + "p1,1.jpg,a\r" * 20, {}, False),
        (HEADER + "p1,1.jpg,a\n" * 20 + "p2,2.jpg,a\r", {}, False),
        (HEADER + "p1,1.jpg,a\n" * 20 + "p2,2.jpg,a\rp3,3.jpg,a\n", {}, False),
        ((HEADER + "p1,1.jpg,a\n" * 20).encode("utf-16"), {}, False),
        (HEADER + "p1,1.jpg,a\n" * 20, {"encoding": "cp1252"}, False),
        (HEADER + "p1,1.jpg,a\n" * 20, {"encoding": "UTF8"}, True),
        (gzip.compress("".join(map(chr, range(35, 0xD000, 7))).encode(), mtime=0), {}, False),
    ],
)
def test_a_file_is_divided_if_each_line_is_a_record(
    tmp_path: Path, content: str | bytes, options: dict[str, Any], is_divided: bool
) -> None:
    path = written(tmp_path / "c.csv", content)
    parts = parts_of(path, Layout("csv", **options))
    assert (len(parts) > 1) is is_divided
    assert (parts[0].start, parts[-1].end) == (0, None)
    assert [part.end for part in parts[:-1]] == [part.start for part in parts[1:]]


@pytest.mark.parametrize("block", range(1, 30))
def test_line_ends_are_found_across_the_blocks_of_a_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_parts: None, block: int
) -> None:
    monkeypatch.setattr(divisions, "_BLOCK_BYTES", block)
    path = written(tmp_path / "c.csv", HEADER.replace("\n", "\r\n") + "p1,1.jpg,a\r\n" * 20)
    parts = parts_of(path, Layout("csv"))
    assert len(parts) > 1
    assert len(read_rows(parts, Layout("csv"))) == 20
    written(path, path.read_bytes() + b"p1,1.jpg,a\rp2,2.jpg,a\r\n")
    assert len(parts_of(path, Layout("csv"))) == 1


def test_a_catalog_of_windows_is_recognised_and_read(tmp_path: Path) -> None:
    """As spreadsheets write it where the decimal separator is a comma."""
    text = "product_id;image_uri;title\r\np1;1.jpg;Größe 5,5\r\n"
    path = written(tmp_path / "c.csv", text.encode("cp1252"))
    with pytest.raises(UsageError, match=r"is not UTF-8: bytes f6 in line 2; .* --encoding NAME \(such as cp1252\)"):
        recognise(path)
        rows(path, Layout("csv", separator=";"))
    layout = recognise(path, Description(encoding="cp1252")).layout
    assert rows(path, layout) == [("p1", "1.jpg", "Größe 5,5", None)]

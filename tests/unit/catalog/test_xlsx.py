"""Workbooks are read as they look in a spreadsheet program; what is uncertain is refused with its cell."""

from __future__ import annotations

import io
import re
import tracemalloc
import zipfile
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook

from jobs.catalog.forms import workbook as workbook_module
from jobs.catalog.forms.xlsx import read_xlsx, xlsx_names
from jobs.catalog.layout import Layout
from jobs.catalog.recognise import recognise
from jobs.catalog.rows import Part
from tests.unit.catalog.catalog_files import Rows, refusal_of, rows_of, written, zipped

HEADER = ("product_id", "image_uri", "title")
SHEET = "xl/worksheets/sheet1.xml"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
TWO_STRINGS = (
    f'<sst xmlns="{MAIN}"><si><t>p1</t></si><si><r><t>1.</t></r><r><t>jpg</t></r><rPh><t>no</t></rPh></si></sst>'
)
SHARED = '<row><c t="s"><v>0</v></c><c t="s"><v>1</v></c></row>'


def rows(path: Path, **layout: Any) -> Rows:
    return rows_of(read_xlsx, path, Layout("xlsx", **layout), "product_id", "image_uri", "title")


def refused(path: Path, **layout: Any) -> str:
    return refusal_of(path, lambda: rows(path, **layout))


def saved(path: Path, *table: tuple[Any, ...], formats: dict[str, str] | None = None) -> Path:
    """Write a workbook with a header and these rows."""
    book = Workbook()
    for row in (HEADER, *table):
        book.active.append(row)
    for cell, code in (formats or {}).items():
        book.active[cell].number_format = code
    book.save(path)
    return path


def changed(path: Path, part: str, old: str, new: str) -> Path:
    """Replace a text in a part of a workbook."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    assert old.encode() in parts[part], parts[part]
    parts[part] = parts[part].replace(old.encode(), new.encode())
    return written(path, zipped(parts))


def by_hand(path: Path, cells: str, **parts: str) -> Path:
    """Write a workbook of a header and other rows as XML, and other parts of `xl/`."""
    saved(path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    names = "".join(f'<c t="inlineStr"><is><t>{name}</t></is></c>' for name in HEADER)
    rels = "xl/_rels/workbook.xml.rels"
    shared = '<Relationship Id="s" Type="http://x/sharedStrings" Target="/xl/sharedStrings.xml"/></Relationships>'
    content[rels] = content[rels].replace(b"</Relationships>", shared.encode())
    content[SHEET] = f'<worksheet xmlns="{MAIN}"><sheetData><row>{names}</row>{cells}</sheetData></worksheet>'.encode()
    return written(path, zipped(content | {f"xl/{name}.xml": text.encode() for name, text in parts.items()}))


def test_values_are_the_texts_that_a_sheet_shows(tmp_path: Path) -> None:
    table = [
        (12345678.0, "1.jpg", "a"),
        (1234567890123, "2.jpg", 19.9),
        (42, "3.jpg", True),
        ("007", "4.jpg", 0.25),
        (7, "5.jpg", date(2026, 11, 1)),
        (2.0**53 - 1, "6.jpg", datetime(2026, 11, 1, 2, 30)),
        (-5, "7.jpg", time(2, 30)),
        ("d", "8.jpg", timedelta(hours=30)),
        ("small", "8.jpg", 1e-7),
        ("e", "9.jpg", "line\nbreak"),
    ]
    formats = {"A4": "00000", "A6": "000", "A8": "00000"}
    assert rows(saved(tmp_path / "c.xlsx", *table, formats=formats)) == [
        ("12345678", "1.jpg", "a"),
        ("1234567890123", "2.jpg", "19.9"),
        ("00042", "3.jpg", "true"),
        ("007", "4.jpg", "0.25"),
        ("007", "5.jpg", "2026-11-01"),
        ("9007199254740991", "6.jpg", "2026-11-01 02:30:00"),
        ("-5", "7.jpg", "02:30:00"),
        ("d", "8.jpg", "1 day, 6:00:00"),
        ("small", "8.jpg", "0.0000001"),
        ("e", "9.jpg", "line\ufffdbreak"),
    ]


@pytest.mark.parametrize(
    "number",
    ["123456789012345680", "1.2345678901234568E+17", "1.23456789012345E+17", "9007199254740992", "-9007199254740992"],
)
def test_a_number_that_may_have_lost_digits_is_no_id(tmp_path: Path, number: str) -> None:
    """A cell is a float: 123456789012345680 was the id 123456789012345696, which no shop has."""
    path = by_hand(tmp_path / "c.xlsx", f"<row><c><v>{number}</v></c><c><v>1</v></c></row>")
    assert re.match(r"has in row 2 the number '-?[0-9]+' as product_id, which may have lost digits, ", refused(path))
    by_hand(path, f"<row><c><v>7</v></c><c><v>1</v></c><c><v>{number}</v></c></row>")
    shown = {"1.2345678901234568E+17": "123456789012345680", "1.23456789012345E+17": "123456789012345000"}
    assert rows(path) == [("7", "1", shown.get(number, number))]


def test_the_noise_of_seventeen_digits_is_not_shown(tmp_path: Path) -> None:
    cells = "".join(f"<c><v>{each}</v></c>" for each in ("1.2345678E7", "12345678901234567", "19.899999999999999"))
    zeros = "".join(f"<c><v>{each}</v></c>" for each in ("-0.0", "-0", "0.0"))
    cells = f"<row>{cells}</row><row>{zeros}</row>"
    assert rows(by_hand(tmp_path / "c.xlsx", cells)) == [("12345678", "12345678901234567", "19.9"), ("0", "0", "0")]


def test_days_are_counted_from_1904_where_the_workbook_says_so(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.xlsx", ("p1", "1.jpg", date(2026, 11, 1)))
    changed(path, "xl/workbook.xml", "<workbookPr />", '<workbookPr date1904="1"/>')
    assert rows(path) == [("p1", "1.jpg", "2030-11-02")]


def test_a_workbook_is_recognised_and_its_first_visible_sheet_read(tmp_path: Path) -> None:
    book = Workbook()
    book.active.title = "hidden"
    book.active.sheet_state = "hidden"
    for name in ("goods", "more"):
        sheet = book.create_sheet(name)
        sheet.append(HEADER)
        sheet.append((name, "1.jpg"))
    book.save(tmp_path / "c.xlsx")
    recognised = recognise(tmp_path / "c.xlsx")
    assert (recognised.layout.form, recognised.names) == ("xlsx", HEADER)
    assert rows(tmp_path / "c.xlsx") == [("goods", "1.jpg", None)]


def test_names_may_stand_lower_under_a_merged_title_and_rows_may_be_blank(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.active
    for row in (("All goods", None, None), (), HEADER, (), ("p1", "1.jpg", None), (None, "", None), ("p2", "2.jpg")):
        sheet.append(row)
    sheet.append((None, None, None, "beside"))
    sheet.merge_cells("A1:C1")
    sheet.merge_cells("C3:D3")
    book.save(tmp_path / "c.xlsx")
    for line in (2, 3):
        assert rows(tmp_path / "c.xlsx", header_line=line) == [("p1", "1.jpg", None), ("p2", "2.jpg", None)]
    assert xlsx_names(tmp_path / "c.xlsx", "c", Layout("xlsx")) == ["All goods"]
    assert refused(tmp_path / "c.xlsx").startswith("has no column product_id and no column image_uri;")


@pytest.mark.parametrize("dimension", ['<dimension ref="A1"/>', '<dimension ref="A1:XFD1048576"/>', ""])
def test_what_a_sheet_says_of_its_size_makes_no_row_vanish(tmp_path: Path, dimension: str) -> None:
    path = saved(tmp_path / "c.xlsx", ("p1", "1.jpg", "x"), ("p2", "2.jpg", None))
    changed(path, SHEET, '<dimension ref="A1:C3" />' if dimension else "", dimension)
    assert rows(path) == [("p1", "1.jpg", "x"), ("p2", "2.jpg", None)]


def test_cells_without_names_or_out_of_order_are_placed(tmp_path: Path) -> None:
    text = '<c t="inlineStr"><is><t>{}</t></is></c>'
    cells = (
        f'<row>{text.format("p1")}{text.format("1.jpg")}</row><row r="9"><c r="C9"><v>3</v></c><c r="A9"><v>1</v></c>'
    )
    assert rows(by_hand(tmp_path / "c.xlsx", cells + "</row>")) == [("p1", "1.jpg", None), ("1", "", "3")]


def test_shared_strings_are_read_without_the_readings_of_their_words(tmp_path: Path) -> None:
    assert rows(by_hand(tmp_path / "c.xlsx", SHARED, sharedStrings=TWO_STRINGS)) == [("p1", "1.jpg", None)]


def test_the_strict_format_is_read(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "c.xlsx", SHARED, sharedStrings=TWO_STRINGS)
    for part in (SHEET, "xl/workbook.xml", "xl/sharedStrings.xml", "xl/styles.xml"):
        changed(path, part, MAIN, "http://purl.oclc.org/ooxml/spreadsheetml/main")
    assert rows(path) == [("p1", "1.jpg", None)]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ('<c r="B2"><f>1+1</f></c>', "has a formula without its result in cell B2 of sheet 'Sheet'; open the workbook"),
        ('<c r="B2"><f>1+1</f><v></v></c>', "has a formula without its result in cell B2 "),
        ('<c r="B2" t="e"><v>#REF!</v></c>', "has the error #REF! in cell B2 of sheet 'Sheet'; correct it"),
        ('<c r="B2" t="s"><v>99</v></c>', "has no such value (99) in cell B2 of sheet 'Sheet'; save it again as .xlsx"),
        ('<c r="B2" t="s"><v>-1</v></c>', "has no such value (-1) in cell B2 "),
        ('<c r="B2"><v>one</v></c>', "has no such value (one) in cell B2 "),
        ('<c r="B2"><v>1E999</v></c>', "has no such value (1E999) in cell B2 "),
        ('<c r="?"><v>1</v></c>', "is no workbook, or a damaged one (a cell is called '?');"),
    ],
)
def test_a_value_that_is_uncertain_is_refused_where_its_column_counts(tmp_path: Path, cell: str, words: str) -> None:
    path = by_hand(tmp_path / "c.xlsx", f'<row><c r="A2"><v>1</v></c>{cell}</row>')
    assert refused(path).startswith(words)
    if 'r="B2"' in cell:
        by_hand(path, f'<row><c r="A2"><v>1</v></c>{cell.replace("B2", "D2")}</row>')
        assert rows(path) == [("1", "", None)]


def test_stored_results_of_formulas_are_read(tmp_path: Path) -> None:
    cells = '<row><c><f>1+1</f><v>2</v></c><c t="str"><f>x</f><v>1.jpg</v></c><c t="str"><f>y</f><v></v></c></row>'
    assert rows(by_hand(tmp_path / "c.xlsx", cells)) == [("2", "1.jpg", None)]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ('<row r="7"/><row r="7"/>', "is no workbook, or a damaged one (row 7 follows row 7);"),
        ('<row r="1048577"/>', "is no workbook, or a damaged one (row 1048577 follows row 1);"),
        ('<row><c r="A2"><v>1</c></row>', "is no workbook, or a damaged one (mismatched tag"),
        ("<row>" + "<c><v>1</v></c>" * 16_385 + "</row>", "has over 16,384 cells in row 2 of a part of the workbook;"),
        (f"<row><c><v>{'1' * (9 * 2**20)}</v></c></row>", "has over 8,388,608 characters in row 2 of a part of"),
        ("<x>" * 100 + "</x>" * 100, "has over 64 elements inside of each other in line 1 of a part of the workbook;"),
    ],
)
def test_a_sheet_that_no_program_writes_is_refused(tmp_path: Path, cells: str, words: str) -> None:
    assert refused(by_hand(tmp_path / "c.xlsx", cells)).startswith(words)


def test_entities_are_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY e "p1">]>'
    for part in ("sharedStrings", "workbook", "styles"):
        path = by_hand(tmp_path / "c.xlsx", SHARED, sharedStrings=TWO_STRINGS)
        with zipfile.ZipFile(path) as archive:
            text = archive.read(f"xl/{part}.xml").decode()
        changed(path, f"xl/{part}.xml", text, bomb + text)
        assert refused(path).startswith("is no workbook, or a damaged one (DTDForbidden(")


def ole(stream: str) -> bytes:
    """The container of Excel before 2007, whose directory begins in its second sector."""
    head = bytearray(512)
    head[:8], head[30:32], head[48:52] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"\x09\x00", b"\x01\x00\x00\x00"
    return bytes(head) + b"\0" * 512 + stream.encode("utf-16-le").ljust(512, b"\0")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is an empty file; save the workbook again as .xlsx"),
        (
            b"product_id,image_uri\n",
            "is no workbook, or a damaged one (File is not a zip file); save it again as .xlsx",
        ),
        (ole("Workbook"), "is a workbook of the old format .xls; save it as .xlsx"),
        (ole("EncryptedPackage"), "is an encrypted workbook; save it without a password"),
        (ole("")[:60], "is a workbook of the old format .xls;"),
    ],
)
def test_a_file_that_is_no_workbook_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "c.xlsx").write_bytes(content)
    assert refused(tmp_path / "c.xlsx") == words or refused(tmp_path / "c.xlsx").startswith(words)


def test_a_truncated_or_incomplete_workbook_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.xlsx", *[(f"p{number}", "x", None) for number in range(1000)])
    whole = path.read_bytes()
    for cut in (20, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:cut])
        assert refused(path).startswith("is no workbook, or a damaged one (")
    path.write_bytes(whole.replace(b"PK\x05\x06", b"PK\x05\x07"))
    assert refused(path).startswith("is no workbook, or a damaged one (File is not a zip file)")
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for name in ("xl/workbook.xml", SHEET):
        path.write_bytes(zipped({key: content for key, content in parts.items() if key != name}))
        assert refused(path).startswith("is no workbook, or a damaged one (")
    path.write_bytes(zipped({"a.csv": b"product_id,image_uri\n"}))
    assert refused(path).startswith("is no workbook, or a damaged one (")
    broken = bytearray(whole)
    position = whole.index(SHEET.encode()) + 200
    broken[position : position + 50] = b"\xff" * 50
    path.write_bytes(bytes(broken))
    assert refused(path).startswith("is no workbook, or a damaged one (")


def test_a_workbook_without_a_sheet_to_see_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.xlsx", ("p1", "1.jpg", None))
    changed(path, "xl/workbook.xml", 'state="visible"', 'state="veryHidden"')
    assert refused(path) == "has no visible sheet; show the sheet with the products, and save it again"


def test_an_empty_sheet_has_no_rows(tmp_path: Path) -> None:
    Workbook().save(tmp_path / "c.xlsx")
    assert rows(tmp_path / "c.xlsx") == []
    assert xlsx_names(tmp_path / "c.xlsx", "c", Layout("xlsx")) == []


def test_a_workbook_that_unpacks_to_far_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook_module, "FREE_BYTES", 10**6)
    path = by_hand(tmp_path / "c.xlsx", " " * (2 * 10**6))
    assert refused(path) == "unpacks to over 200 times its size, as no catalog does; export it anew"
    monkeypatch.setattr(workbook_module, "_MAX_PART_BYTES", 10**5)
    path = by_hand(tmp_path / "c.xlsx", "", styles="<styleSheet>" + " " * 10**5 + "</styleSheet>")
    assert refused(path).startswith("has 100,025 bytes in its part xl/styles.xml, over 100,000; export it as CSV")
    monkeypatch.setattr(workbook_module, "_MAX_STRINGS_BYTES", 10)
    path = by_hand(tmp_path / "c.xlsx", SHARED, sharedStrings=TWO_STRINGS)
    assert "bytes in its part xl/sharedStrings.xml, over 10; export it as CSV" in refused(path)


def test_memory_does_not_grow_with_the_sheet(tmp_path: Path) -> None:
    row = "<row>" + "<c><v>1</v></c>" * 2 + f"<c t='inlineStr'><is><t>{'y' * 2000}</t></is></c></row>"
    path = by_hand(tmp_path / "c.xlsx", row * 10_000)
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo(SHEET).file_size
    tracemalloc.start()
    try:
        layout = Layout("xlsx", columns={"title": ("other",)})
        assert sum(batch.num_rows for batch in read_xlsx(path, "c", layout, Part("c"))) == 10_000
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < size / 2

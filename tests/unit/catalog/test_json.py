"""A document of JSON is read object by object, exactly as it is written; what is no list of objects is refused."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.catalog.forms.json import json_form, json_names, read_json
from jobs.catalog.forms.json_lines import read_json_lines
from jobs.catalog.layout import Layout
from jobs.catalog.recognise import recognise
from jobs.catalog.rows import Part
from jobs.catalog.values import printable
from tests.unit.catalog.catalog_files import Read, Rows, refusal_of, rows_of, written

ONE = '{"product_id": "p1", "image_uri": "1.jpg"}'
TWO = '{"product_id": "p2", "image_uri": "2.jpg"}'
BOTH = [("p1", "1.jpg"), ("p2", "2.jpg")]


def rows(path: Path, read: Read = read_json, **layout: Any) -> Rows:
    return rows_of(read, path, Layout("json", **layout), "product_id", "image_uri")


def refused(path: Path, **options: Any) -> str:
    return refusal_of(path, lambda: rows(path, **options))


@pytest.mark.parametrize(
    "text",
    [
        f"[{ONE}, {TWO}]",
        f"\ufeff\n [\n{ONE}\n,\n{TWO}\n]\n\n",
        f'{{"count": 2, "meta": {{"a": [1]}}, "tags": ["x", [], {{}}], "products": [{ONE},{TWO}], "next": null}}',
        f'{{"products": [{ONE},{TWO}]}}',
        f"{ONE}\n{TWO}\n",
        f"[{ONE}]\n[{TWO}]",
        ONE.replace(",", ",\n") + TWO.replace(",", ",\r\n"),
    ],
)
def test_a_list_of_objects_is_read_in_any_spelling(tmp_path: Path, text: str) -> None:
    assert rows(written(tmp_path / "c.json", text)) == BOTH
    assert rows(written(tmp_path / "d.json", gzip.compress(text.encode()))) == BOTH
    assert json_names(tmp_path / "c.json", "c", Layout("json")) == ["product_id", "image_uri"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_another_encoding_of_unicode_is_recognised(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path / "c.json", f"[{ONE}, {TWO}]".replace("1.jpg", "\u00e9.jpg").encode(encoding))
    assert rows(path) == [("p1", "\u00e9.jpg"), ("p2", "2.jpg")]


def test_an_encoding_that_was_named_is_used(tmp_path: Path) -> None:
    path = written(tmp_path / "c.json", f"[{ONE}]".replace("1.jpg", "\u20ac.jpg").encode("cp1252"))
    assert rows(path, encoding="cp1252") == [("p1", "\u20ac.jpg")]
    assert refused(path) == (
        "is not UTF-8: bytes 80 in line 1; write it in UTF-8, "
        "or name its encoding with --encoding NAME (such as cp1252)"
    )


@pytest.mark.parametrize("encoding", ["ebcdic-9", "hex", "rot13"])
def test_an_encoding_that_is_none_of_texts_is_refused(tmp_path: Path, encoding: str) -> None:
    """`hex` raised binascii.Error."""
    path = written(tmp_path / "c.json", f"[{ONE}]")
    assert refused(path, encoding=encoding).startswith(f"cannot be read: Python has no text encoding '{encoding}';")


def test_a_byte_order_mark_is_passed_over_and_counts_before_another_encoding(tmp_path: Path) -> None:
    for encoding, name in (("utf-8-sig", "utf-8"), ("utf-8-sig", "UTF8"), ("utf-16", "utf-16"), ("utf-16", "")):
        assert rows(written(tmp_path / "c.json", f"[{ONE}, {TWO}]".encode(encoding)), encoding=name) == BOTH
    written(tmp_path / "c.json", f"[{ONE}]".encode("utf-8-sig"))
    assert refused(tmp_path / "c.json", encoding="cp1252").startswith(
        "begins with the byte order mark of UTF-8, and is"
    )
    written(tmp_path / "c.json", f"[{ONE}]".encode())
    assert refused(tmp_path / "c.json", encoding="utf-16").startswith("has no byte order mark; name the order")


@pytest.mark.parametrize("number", ["12345678901234567890", "1.50", "1E+05", "-0", "1e400", "007"[2:], "9" * 5000])
def test_a_number_stays_as_it_is_written(tmp_path: Path, number: str) -> None:
    path = written(tmp_path / "c.json", f'[{{"product_id": 7, "image_uri": "u", "title": {number}}}]')
    batches = read_json(path, str(path), Layout("json"), Part(str(path)))
    assert [row["title"] for batch in batches for row in batch.to_pylist()] == [number]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"[\n{ONE},\n{TWO[:-9]}", "ends too soon, inside of what begins in line 3; write the file again"),
        (f"[{ONE},\n", "ends too soon, inside of what begins in line 2;"),
        (f"[\n{ONE}\n", "ends too soon, inside of what begins in line 3;"),
        (f"[\n{ONE}\n{TWO}]", "has no JSON in line 3 (expected , or ], received '{' at column 1);"),
        (f"[\n{ONE},\n{{'product_id': 1}}]", "has no JSON in line 3 (Expecting property name"),
        (f"[{ONE}, {{]", "has no JSON in line 1 (Expecting property name enclosed in double quotes at column 47);"),
        (f'[{ONE}, "p3"]', "has something else than an object in line 1; write one list of objects"),
        (f"[[{ONE}]]", "has something else than an object in line 1;"),
        (f"[{ONE}]\n7", "has something else than an object in line 2;"),
        (f"{ONE}, {TWO}", "has no JSON in line 1 (Expecting value at column 43);"),
        ("p3,3.jpg", "has no JSON in line 1 (Expecting value at column 1);"),
        (f'{{"products": [{ONE}]}}\n7', "has something else than an object in line 2;"),
        (f'{{"products": [{ONE}, {{"x": "{"y" * 2**17}"}}]}}\n7', "has more after the end of its object in line 2;"),
        (f'{{"a": [{ONE}],\n"b": [{TWO}]}}', "has two lists of objects, 'a' and 'b' in line 2; write one list"),
        ('[{"sku": 1}, {"image_uri": 2}]', "has no column product_id; it needs product_id and image_uri and has sku"),
        ('{"data": {"products": []}}', "has no column product_id and no column image_uri;"),
        (
            f'[{ONE}, {{"product_id": {{"a": 1}}}}]',
            "has in line 1 another product_id than a text or a number, an object;",
        ),
        (f'[{ONE},\n{{"product_id": 1, "product_id": 2}}]', "names product_id twice in line 2; rename one of them"),
        (f'[{ONE},\n{{"x": {"[" * 40}{"]" * 40}}}]', "is nested too deep in line 2;"),
        ('[{"x": ' + "[" * 100_000, "is nested too deep in line 1;"),
        ('{"x": ' * 100_000, "is nested too deep in line 1;"),
        ("[" * 100_000, "has something else than an object in line 1;"),
        (
            f'[{ONE}, {{"x": "{"y" * (20 * 2**20)}"}}]',
            "has over 8,388,608 characters in the value that begins in line 1;",
        ),
    ],
)
def test_what_is_no_list_of_objects_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    assert refused(written(tmp_path / "c.json", text)).startswith(words)


def test_a_line_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    lines = [ONE.encode()] * 4000
    lines[3000] = b'{"product_id": "\xe9"}'
    assert refused(written(tmp_path / "c.json", b"[\n" + b",\n".join(lines) + b"]")).startswith(
        "is not UTF-8: bytes e9 in line 3002; write it in UTF-8, or name its encoding with --encoding NAME"
    )


def test_a_name_twice_in_a_column_that_does_not_count_is_read(tmp_path: Path) -> None:
    assert rows(written(tmp_path / "c.json", f'[{ONE[:-1]}, "x": 1, "x": 2, "y": {{"z": 1, "z": 2}}}}]')) == BOTH[:1]


@pytest.mark.parametrize("text", ["", " \n", "[]", "[\n]\n", '{"products": []}', "[][]"])
def test_a_document_without_objects_has_no_rows(tmp_path: Path, text: str) -> None:
    assert rows(written(tmp_path / "c.json", text)) == []


def test_an_object_with_a_list_is_a_record_where_it_has_the_columns_or_others_follow(tmp_path: Path) -> None:
    record = ONE[:-1] + ', "variants": [{"product_id": "no"}]}'
    assert rows(written(tmp_path / "c.json", record)) == BOTH[:1]
    mapped = '{"variants": [{"sku": "no"}], "sku": "p1", "image_uri": "1.jpg"}'
    path = written(tmp_path / "d.json", mapped + "\n" + mapped)
    assert rows(path, columns={"product_id": ("sku",)}) == [("p1", "1.jpg")] * 2


def test_objects_longer_than_what_is_read_at_once_are_whole(tmp_path: Path) -> None:
    texts = ["x" * count for count in (1, 70_000, 65_520, 300_000, 2)]
    records = [{"product_id": f"p{index}", "image_uri": "u", "other": text} for index, text in enumerate(texts)]
    for shape in (records, {"before": "y" * 200_000, "products": records}):
        path = written(tmp_path / "c.json", json.dumps(shape, indent=1))
        assert rows(path) == [(f"p{index}", "u") for index in range(len(texts))]


@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(["title", "a", "{"]), st.text() | st.integers() | st.none()), max_size=5),
    st.sampled_from([None, 1]),
    st.integers(65_480, 65_560),
)
def test_any_text_is_read_as_python_reads_it(
    tmp_path_factory: pytest.TempPathFactory, records: list[Any], indent: int | None, blanks: int
) -> None:
    """Blanks in front move each character of the records over the end of what is read at once."""
    path = tmp_path_factory.getbasetemp() / "any.json"
    listed = [{**record, "product_id": index, "image_uri": "u"} for index, record in enumerate(records)]
    path.write_text(" " * blanks + json.dumps(listed, indent=indent, ensure_ascii=False), encoding="utf-8")
    batches = read_json(path, "c", Layout("json"), Part("c"))
    titles = [row["title"] for batch in batches for row in batch.to_pylist()]
    texts = [str(each["title"]) if each.get("title") is not None else "" for each in listed]
    assert titles == [printable(text) or None for text in texts]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "c.json", "[" + ",\n".join([ONE[:-1] + ', "x": "' + "y" * 2000 + '"}'] * 10_000) + "]")
    tracemalloc.start()
    try:
        batches = read_json(path, "c", Layout("json"), Part("c"))
        assert sum(batch.num_rows for batch in batches) == 10_000
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < path.stat().st_size / 2


@pytest.mark.parametrize(
    ("first", "form"),
    [
        (f"{ONE}\n{TWO}\n", "jsonl"),
        (f"\n\n{ONE}", "jsonl"),
        (f"[{ONE}]\n[{TWO}]\n", "jsonl"),
        (f"[{ONE},{TWO}]\n", "json"),
        (f"\ufeff[\n{ONE}", "json"),
        ('{\n "products": [', "json"),
        (f'{{"products": [{ONE}]}}', "json"),
        (f'{{"products": [{ONE}, {TWO[:9]}', "json"),
        ('{"product_id": "p1", "variants": [{"a": 1}, {"b"', "jsonl"),
        ('{"description": "' + "x" * 9000, "jsonl"),
        ("{'a': 1}\n", "jsonl"),
        ("", "jsonl"),
    ],
)
def test_the_first_bytes_say_whether_each_line_is_an_object(first: str, form: str) -> None:
    assert json_form(first.encode()) == form
    if first:
        assert json_form(first.removeprefix("\ufeff").encode("utf-16")) == form


@pytest.mark.parametrize("name", ["c.json", "c.jsonl", "c.ndjson"])
def test_the_content_decides_between_lines_and_a_document(tmp_path: Path, name: str) -> None:
    for text, form in ((f"{ONE}\n{TWO}\n", "jsonl"), (json.dumps([json.loads(ONE)], indent=2), "json")):
        recognised = recognise(written(tmp_path / name, text))
        assert (recognised.layout.form, recognised.names) == (form, ("product_id", "image_uri"))


def test_a_document_that_is_read_as_lines_is_refused_with_the_option_to_use(tmp_path: Path) -> None:
    message = refused(written(tmp_path / "c.jsonl", f"[\n{ONE}\n]\n"), read=read_json_lines)
    assert message.startswith("has no JSON in line 1 (Expecting value at column ")
    assert message.endswith("; write an object in each line, or read one list of objects with `--format json`")
    deep = refused(written(tmp_path / "d.jsonl", f'{ONE}\n{{"x": {"[" * 32}{"]" * 32}}}'), read=read_json_lines)
    assert deep.startswith("is nested too deep in line 2; write an object in each line, of at most 32 levels")


def test_lines_with_a_name_twice_are_refused_where_it_counts(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", f'{ONE}\n{{"product_id": 1, "product_id": 2}}\n')
    assert refused(path, read=read_json_lines).startswith("names product_id twice in line 2;")


def test_names_without_end_do_not_fill_memory(tmp_path: Path) -> None:
    """Each object has a name of its own; the required column that only the last one has is seen."""
    lines = [f'{{"product_id": {number}, "n{number}": 1}}' for number in range(5000)]
    path = written(tmp_path / "c.json", "[" + ",\n".join(lines) + "]")
    message = refused(path)
    assert message.startswith("has no column image_uri;")
    assert "n4000" not in message
    assert len(rows(written(path, "[" + ",\n".join([*lines, ONE]) + "]"))) == 5001

"""Texts are decoded exactly, or refused with the line and the bytes; nothing is ever replaced."""

from __future__ import annotations

import codecs
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.catalog.forms.json_lines import read_json_lines
from jobs.catalog.layout import Layout
from jobs.catalog.rows import Part
from jobs.catalog.text import MAX_LINE_CHARS, lines
from jobs.errors import UsageError

TEXT = "product_id,title\np1,Größe 😀\n\np2,ende"


def read(content: bytes, encoding: str = "") -> list[str]:
    return list(lines(io.BytesIO(content), "c", encoding))


def refusal(content: bytes, encoding: str = "") -> str:
    with pytest.raises(UsageError) as caught:
        read(content, encoding)
    assert str(caught.value).startswith("catalog c ")
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix("catalog c ")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", ""),
        ("utf-8", "UTF8"),
        ("utf-8-sig", "utf-8"),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "utf-16-le"),
        ("gb18030", "gb18030"),
    ],
)
def test_an_encoding_is_read_with_any_line_ending(python: str, said: str, end: str) -> None:
    content = TEXT.replace("\n", end).encode(python)
    assert read(content, said) == TEXT.splitlines(keepends=True)
    assert read(gzip.compress(content), said) == TEXT.splitlines(keepends=True)


@pytest.mark.parametrize("said", ["", "utf-16", "utf-16-be"])
def test_utf_16_is_read_in_the_order_of_its_mark(said: str) -> None:
    assert read(codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), said) == TEXT.splitlines(keepends=True)


def test_a_named_encoding_is_read() -> None:
    assert read("Größe 5 €".encode("cp1252"), "cp1252") == ["Größe 5 €"]
    assert read("靴".encode("shift_jis"), "Shift-JIS") == ["靴"]


@pytest.mark.parametrize(
    ("content", "encoding", "words"),
    [
        ("Größe".encode("cp1252"), "", "is not UTF-8: bytes f6 in line 1; write it in UTF-8, or name its encoding "),
        (b"a\nb\xe2\x82\n", "", "is not UTF-8: bytes e2 82 in line 2;"),
        (b"a\nb\xe2\x82", "", "is not UTF-8: bytes e2 82 in line 2;"),
        (b"a\n\x81\n", "cp1252", "is not cp1252: bytes 81 in line 2;"),
        (b"a\n\xe4\n", "ascii", "is not ascii: bytes e4 in line 2;"),
        (b"a\nb\x81", "shift_jis", "is not shift_jis: bytes 81 in line 2;"),
        (b"\xff\xfea\0\n\0\0\xd8\n\0", "", "is not UTF-16-LE: bytes 00 d8 in line 2;"),
        (b"\xff\xfea\0\n\0b", "", "is not UTF-16-LE: bytes 62 in line 2;"),
    ],
)
def test_bytes_that_an_encoding_lacks_are_named(content: bytes, encoding: str, words: str) -> None:
    message = refusal(content, encoding)
    assert message.startswith(words)
    assert message.endswith("name its encoding with --encoding NAME (such as cp1252)")


@given(
    before=st.lists(st.sampled_from(["a", "ä", "\n", "\r\n", "\r", "x" * 70_000, "😀" * 40_000]), max_size=12),
    after=st.sampled_from([b"", b"\n", b"\n\xe9\n"]),
)
def test_the_line_of_undecodable_bytes_is_found_in_a_file_of_any_length(before: list[str], after: bytes) -> None:
    text = "".join(before)
    number = 1 + text.replace("\r\n", "\n").replace("\r", "\n").count("\n")
    assert refusal(text.encode() + b"\xff" + after).startswith(f"is not UTF-8: bytes ff in line {number};")


@pytest.mark.parametrize(
    "encoding", ["latin-17", "rot13", "base64", "hex", "x" * 999, "utf\0", "größe", ".", "os.path", " "]
)
def test_an_encoding_that_python_does_not_know_is_refused(encoding: str) -> None:
    message = refusal(b"a\n", encoding)
    assert message.startswith("cannot be read: Python has no text encoding '")
    assert message.endswith("; name another, such as cp1252")
    assert len(message) < 200


def test_an_encoding_that_fails_in_its_own_way_is_refused() -> None:
    assert refusal(b"a\n", "undefined").startswith("cannot be read as undefined (")


@pytest.mark.parametrize(
    ("mark", "name", "encoding"),
    [
        (codecs.BOM_UTF8, "UTF-8", "cp1252"),
        (codecs.BOM_UTF8, "UTF-8", "utf-16"),
        (codecs.BOM_UTF16_LE, "UTF-16", "utf-8"),
        (codecs.BOM_UTF16_LE, "UTF-16", "utf-16-be"),
    ],
)
def test_an_encoding_that_contradicts_the_file_s_mark_is_refused(mark: bytes, name: str, encoding: str) -> None:
    words = f"begins with the byte order mark of {name}, and is to be read as {encoding}; leave --encoding out"
    assert refusal(mark + b"a\0\n\0", encoding) == words


def test_utf_16_without_a_mark_is_never_guessed() -> None:
    content = "a\nb\n".encode("utf-16-le")
    assert refusal(content, "utf-16") == (
        "has no byte order mark; name the order of its bytes with --encoding utf-16-le or utf-16-be"
    )
    assert refusal(content).startswith("has a NUL character in line 1, which no text has; write it again in UTF-8, or ")
    assert read(content, "utf-16-le") == ["a\n", "b\n"]
    assert read(b"", "utf-16") == []


def test_a_nul_character_is_refused_with_its_line() -> None:
    assert refusal(b"a\nb\n" + bytes(9) + b"\n").startswith("has a NUL character in line 3,")


def test_files_that_were_put_together_are_refused() -> None:
    file = codecs.BOM_UTF8 + b"product_id,image_uri\np1,1.jpg\n"
    assert refusal(file + file) == (
        "has a byte order mark at the start of line 3, where another file was appended; write it as one"
    )
    assert refusal(b"a\n" + codecs.BOM_UTF8).startswith("has a byte order mark at the start of line 2,")
    inside = "p1,a \ufeffword\n"
    assert read(file + inside.encode()) == ["product_id,image_uri\n", "p1,1.jpg\n", inside]


@pytest.mark.parametrize("content", [codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF8 * 2, b"", b"\x1a"])
def test_a_file_of_a_mark_alone_is_empty(content: bytes) -> None:
    assert read(content) == []


@pytest.mark.parametrize("end", [b"\x1a", b"\x1a" * 128])
def test_the_end_mark_of_dos_is_no_line(end: bytes) -> None:
    assert read(b"a\r\nb\r\n" + end) == ["a\n", "b\n"]
    assert read(b"a\nb" + end) == ["a\n", "b"]
    assert read(b"a\x1a\nb\n") == ["a\x1a\n", "b\n"]


@pytest.mark.parametrize("before", [b"", b"a\n"])
def test_a_line_that_does_not_end_is_refused(before: bytes) -> None:
    number = 1 + len(before.splitlines())
    assert refusal(before + b"x" * MAX_LINE_CHARS).startswith(f"has over 8,388,608 characters in line {number};")
    assert len(read(before + b"x" * (MAX_LINE_CHARS - 1) + b"\n")) == number


def test_json_lines_are_read_in_a_named_encoding(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes('{"product_id": "p1", "image_uri": "größe.jpg"}\n'.encode("cp1252"))
    (batch,) = read_json_lines(path, "c", Layout("jsonl", encoding="cp1252"), Part(str(path)))
    assert batch.column("image_uri").to_pylist() == ["größe.jpg"]

"""A file is opened by its first bytes; what unpacks to too much, or to several files, is refused in one sentence."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from jobs.catalog import opening
from jobs.catalog.files import names_of
from jobs.catalog.layout import Layout
from jobs.catalog.opening import look_inside, opened
from jobs.errors import UsageError
from jobs.storage.stores import on_disk
from tests.unit.catalog.catalog_files import zipped

TEXT = b"product_id,image_uri\n" + b"".join(b"p%d,%d.jpg\n" % (number, number) for number in range(2000))


def unpacked(content: bytes) -> bytes:
    with opened(io.BytesIO(content), "c") as stream:
        return stream.read()


def refusal(content: bytes) -> str:
    with pytest.raises(UsageError) as caught:
        unpacked(content)
    assert str(caught.value).startswith("catalog c ")
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix("catalog c ")


@pytest.mark.parametrize(
    ("name", "content", "container", "inner"),
    [
        ("c.csv", TEXT, "plain", "c.csv"),
        ("c.csv.gz", TEXT, "plain", "c.csv.gz"),
        ("c.csv", gzip.compress(TEXT, mtime=0), "gzip", "c.csv"),
        ("c.csv.GZ", gzip.compress(TEXT, mtime=0), "gzip", "c.csv"),
        (
            "c.csv",
            gzip.compress(TEXT[:999], mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(TEXT[999:], mtime=0),
            "gzip",
            "c.csv",
        ),
        ("c.csv", gzip.compress(TEXT, mtime=0) + bytes(512), "gzip", "c.csv"),
        ("c", zipped({"out/export.csv": TEXT}), "zip", "export.csv"),
        ("c.gz", zipped({"export.csv": TEXT}, zipfile.ZIP_STORED), "zip", "export.csv"),
        (
            "c.zip",
            zipped({"out/": b"", "out/a.tsv": TEXT, "__MACOSX/out/._a.tsv": b"x", ".DS_Store": b"x", "out/.a": b"x"}),
            "zip",
            "a.tsv",
        ),
    ],
)
def test_the_content_is_found_by_the_first_bytes(
    tmp_path: Path, name: str, content: bytes, container: str, inner: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    store = UPath(f"memory://{tmp_path.name}") / name
    store.write_bytes(content)
    for where in (path, store):
        inside = look_inside(where, 1000)
        assert (inside.container, inside.name, inside.head) == (container, inner, TEXT[:1000])
        with on_disk(where) as local, opened(local, "c") as stream:
            assert stream.read() == TEXT


def test_a_workbook_stays_as_it_is(tmp_path: Path) -> None:
    parts = {"[Content_Types].xml": b"<Types/>", "xl/workbook.xml": b"<workbook/>", "xl/worksheets/sheet1.xml": b""}
    path = tmp_path / "c.xlsx"
    path.write_bytes(zipped(parts))
    assert look_inside(path, 4) == opening.Inside("xlsx", "c.xlsx", b"PK\x03\x04")
    assert unpacked(path.read_bytes()) == path.read_bytes()
    document = {"[Content_Types].xml": b"<Types/>", "word/document.xml": b""}
    assert refusal(zipped(document)).startswith("is a zip of 2 files ([Content_Types].xml, word/document.xml); unpack")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "is a zip without a file; write it again"),
        ({"a/": b"", ".hidden": b"x"}, "is a zip without a file; write it again"),
        (
            {"a.csv": b"1", "b.csv": b"2", "c.csv": b"3", "d.csv": b"4"},
            "is a zip of 4 files (a.csv, b.csv, c.csv, ...); unpack it, and name one file as the catalog",
        ),
        (
            {"a\n\x1b[31m.csv": b"1", "b" * 999: b"2"},
            f"is a zip of 2 files (a\ufffd\ufffd[31m.csv, {'b' * 80}); unpack it, and name one file as the catalog",
        ),
        ({"c.csv.gz": gzip.compress(TEXT, mtime=0)}, "holds another compressed file or a workbook; unpack it once"),
        ({"c.zip": zipped({"c.csv": TEXT})}, "holds another compressed file or a workbook; unpack it once"),
    ],
)
def test_a_zip_that_is_not_one_file_is_refused(files: Mapping[str, bytes], words: str) -> None:
    assert refusal(zipped(files)) == words


def test_a_zip_that_cannot_be_read_is_refused() -> None:
    content = zipped({"c.csv": TEXT})
    directory = content.index(b"PK\x01\x02")
    encrypted = content[: directory + 8] + b"\x01" + content[directory + 9 :]
    assert refusal(encrypted) == "is an encrypted zip; write it without a password"
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        assert refusal(zipped({"c.csv": TEXT}, method)).startswith("is a zip of an unusual method; write it with the")
    many = zipped({f"{number:0200d}": b"" for number in range(5000)}, zipfile.ZIP_STORED)
    assert refusal(many) == "is a zip of thousands of files; put the catalog alone into a zip"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"BZh91AY&SY\x00", "bzip2"),
        (b"\xfd7zXZ\x00\x00", "xz"),
        (b"\x28\xb5\x2f\xfd\x00", "zstd"),
        (b"7z\xbc\xaf\x27\x1c\x00", "7-Zip"),
        (b"Rar!\x1a\x07\x01", "RAR"),
    ],
)
def test_another_compression_is_named(content: bytes, name: str) -> None:
    words = f"is compressed with {name}; expected gzip, or a zip with one file"
    assert refusal(content) == words
    assert refusal(gzip.compress(content)) == words


def test_a_text_that_begins_like_a_compressed_file_is_a_text() -> None:
    assert unpacked(b"BZh9,image_uri\n") == b"BZh9,image_uri\n"
    assert unpacked(b"") == b""


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: zipped({"c.csv": data})], ids=["gzip", "zip"])
def test_what_unpacks_to_far_too_much_is_refused(monkeypatch: pytest.MonkeyPatch, pack: object) -> None:
    assert callable(pack)
    monkeypatch.setattr(opening, "FREE_BYTES", 10**6)
    words = "unpacks to over 200 times its size, as no catalog does; write it again without compression"
    assert refusal(pack(bytes(4 * 10**6))) == words
    assert refusal(pack(os.urandom(5000) + bytes(4 * 10**6))) == words
    assert len(unpacked(pack(bytes(10**6)))) == 10**6
    assert len(unpacked(pack(os.urandom(25_000) + bytes(4 * 10**6)))) > 4 * 10**6


def test_a_stream_is_refused_before_all_of_it_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "FREE_BYTES", 10**6)
    came = 0
    with (
        pytest.raises(UsageError, match="over 200 times its size"),
        opened(io.BytesIO(gzip.compress(bytes(5 * 10**6))), "c") as stream,
    ):
        while data := stream.read(10_000):
            came += len(data)
    assert came < 1.5 * 10**6


def test_what_a_zip_claims_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size in the directory is claimed; the file itself is small."""
    content = bytearray(zipped({"c.csv": TEXT}))
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = (4 * 10**9).to_bytes(4, "little")
    assert refusal(bytes(content)).startswith("unpacks to over 200 times its size")
    # A zip that claims less than it holds ends there, and its checksum does not fit.
    content[directory + 24 : directory + 28] = (100).to_bytes(4, "little")
    assert refusal(bytes(content)).startswith("cannot be read (Bad CRC-32 for file 'c.csv')")


def test_a_file_that_ends_too_soon_is_refused_wherever_it_ends() -> None:
    for content in (gzip.compress(TEXT), zipped({"c.csv": TEXT})):
        for length in [*range(4, 120), *range(120, len(content), 97), len(content) - 1]:
            assert refusal(content[:length]).startswith("cannot be read (")


PACKED = [
    gzip.compress(TEXT[:300], mtime=0),
    zipped({"c.csv": TEXT[:300]}),
    zipped({"c.csv": TEXT[:300]}, zipfile.ZIP_STORED),
]


@given(content=st.sampled_from(PACKED), at=st.integers(0, 500), value=st.integers(0, 255))
def test_a_damaged_file_is_read_or_refused_in_one_sentence(content: bytes, at: int, value: int) -> None:
    damaged = bytearray(content)
    damaged[4 + at % (len(content) - 4)] = value  # behind the bytes by which it is recognised
    try:
        text = unpacked(bytes(damaged))
    except UsageError as error:
        assert "\n" not in str(error)
    else:
        assert text == TEXT[:300]


class CountedFile(io.BytesIO):
    """An open file of a store that counts what is read of it."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


@pytest.mark.parametrize("kind", ["plain", "gzip", "zip"])
def test_a_look_takes_the_head_of_a_file_in_a_store_and_leaves_it_open(kind: str) -> None:
    text = os.urandom(10**6).hex().encode()
    content = {"plain": text, "gzip": gzip.compress(text, 1), "zip": zipped({"c.csv": text})}[kind]
    file = CountedFile(content)
    with opened(file, "c") as stream:
        assert stream.read(1000) == text[:1000]
    assert file.taken < 600_000
    assert not file.closed


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_the_names_of_columns_in_a_store_are_read_without_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    store = UPath(f"memory://{tmp_path.name}/c.gz")
    store.write_bytes(
        gzip.compress(b"product_id,image_uri\n" if form == "csv" else b'{"product_id": 1, "image_uri": 2}')
    )

    def copied(*_: object) -> None:
        raise AssertionError("the file was copied")

    monkeypatch.setattr(MemoryFileSystem, "get_file", copied)
    assert names_of(store, Layout(form)) == ["product_id", "image_uri"]


def test_a_damaged_file_of_a_store_is_not_read_again_and_again(tmp_path: Path) -> None:
    """The exception of gzip is an OSError, as those of a store that may answer later."""
    store = UPath(f"memory://{tmp_path.name}/c.gz")
    store.write_bytes(gzip.compress(TEXT) + b"garbage")
    with pytest.raises(UsageError, match=r"c.gz cannot be read \(Not a gzipped file.*; write it again"):
        look_inside(store, len(TEXT) + 1)

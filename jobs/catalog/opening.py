"""Open the content of a file whatever contains it: the file as it is, gzip, or a zip with one file.

What a file is follows from its first bytes, not from its name. Everything is a stream: memory does not grow with the
file, and a file that unpacks to far more than a catalog could is refused. A workbook (XLSX) is a zip as well; it stays
as it is.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, Protocol
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from jobs.catalog.errors import catalog_error, read_errors_explained
from jobs.errors import UsageError
from jobs.storage.places import Place
from jobs.storage.stores import reading

Source = Path | BinaryIO
"""Local path of a file, or an open file of a store, which is left open."""

Container = Literal["plain", "gzip", "zip", "xlsx"]

HEAD_BYTES = 2**16
MAX_RATIO = 200
"""Most bytes that one byte of a compressed file may unpack to, once more than `FREE_BYTES` have come out. Texts of
catalogs reach 20, and deflate itself ends at 1,032."""
FREE_BYTES = 100 * 10**6

_DIRECTORY_BYTES = 2**20
_CHUNK_BYTES = 2**17
_GZIP = b"\x1f\x8b\x08"
_ZIPS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_OTHERS = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
}
_LONGEST_MARK = 10
_ENCRYPTED = 0x1 | 0x40
_DAMAGE = (
    *(gzip.BadGzipFile, BadZipFile, EOFError, zlib.error),
    *(NotImplementedError, OverflowError, ValueError, struct.error),  # for unknown versions and absurd positions
)
"""What `gzip` and `zipfile` raise for damaged files."""


@dataclass(frozen=True)
class Inside:
    """What a look into a file shows.

    Attributes:
        container: What contains the content; `plain` is the file itself. A workbook is `xlsx`.
        name: The content's own name: the file's without `.gz`, or that of the file in a zip.
        head: First bytes of the content, unpacked.
    """

    container: Container
    name: str
    head: bytes


def look_inside(where: Place, count: int = HEAD_BYTES) -> Inside:
    """Return what contains the content of a file, on a disk or in a store, and the first bytes of the content.

    Of a file in a store only those parts are read that are needed for it.

    Args:
        where: The file.
        count: How many bytes of the content to return, if it has so many.

    Raises:
        UsageError: As `opened` does.
        RunFailed: If the disk or the store fails.
    """

    def look(source: Source) -> Inside:
        with _contained(source, where) as (container, name, stream):
            return Inside(container, name, stream.read(count))

    with read_errors_explained(where):
        return reading(where, look)


@contextmanager
def opened(source: Source, where: str | Place) -> Iterator[io.BufferedReader]:
    """Open the content of a file, unpacked, as a stream of bytes within a block.

    Args:
        source: The file; a workbook is not unpacked.
        where: Name of the file for error messages.

    Raises:
        UsageError: If it is a zip of no or of several files, an encrypted or damaged one, compressed in another way, or
            if it unpacks to far more than its size. Some faults appear only while the stream is read.
    """
    with _contained(source, where) as (_, _, stream):
        yield stream


@contextmanager
def _contained(source: Source, where: str | Place) -> Iterator[tuple[Container, str, io.BufferedReader]]:
    """Open a file's content, and yield what contains it, the content's own name, and the content."""
    name = str(where).rpartition("/")[2]
    with ExitStack() as stack:
        file = stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
        file.seek(0)
        raw: io.BufferedReader = io.BufferedReader(_File(file), _CHUNK_BYTES)
        head = raw.peek(_LONGEST_MARK)
        container: Container
        if head.startswith(_GZIP):
            container, name = "gzip", name[:-3] if name.lower().endswith(".gz") else name
            content = _Unpacked(stack.enter_context(gzip.GzipFile(fileobj=raw)), where, raw.tell)
        elif head.startswith(_ZIPS):
            archive = stack.enter_context(_archive(raw, where))
            if _is_workbook(archive):
                raw.seek(0)
                yield "xlsx", name, raw
                return
            entry = _only_file(archive, where)
            container, name = "zip", PurePosixPath(entry.filename).name
            content = _Unpacked(_entry(archive, entry, where), where, lambda: raw.tell() - entry.header_offset)
        else:
            _refuse_others(head, where)
            yield "plain", name, raw
            return
        stream: io.BufferedReader = io.BufferedReader(content, _CHUNK_BYTES)
        head = stream.peek(_LONGEST_MARK)
        if head.startswith((_GZIP, *_ZIPS)):
            raise catalog_error(where, "holds another compressed file or a workbook; unpack it once")
        _refuse_others(head, where)
        yield container, name, stream


def _refuse_others(head: bytes, where: str | Place) -> None:
    for mark, name in _OTHERS.items():
        if head.startswith(mark) and (name != "bzip2" or head[4:10] == b"1AY&SY"):
            raise catalog_error(where, f"is compressed with {name}; expected gzip, or a zip with one file")


def _archive(raw: io.BufferedReader, where: str | Place) -> ZipFile:
    with _damage_explained(where):
        return ZipFile(_DirectoryReader(raw, where))


def _entry(archive: ZipFile, entry: ZipInfo, where: str | Place) -> _Readable:
    with _damage_explained(where):
        return archive.open(entry)


def _is_workbook(archive: ZipFile) -> bool:
    names = archive.namelist()
    return "[Content_Types].xml" in names and any(name.startswith("xl/") for name in names)


def _only_file(archive: ZipFile, where: str | Place) -> ZipInfo:
    """Return the only file of a zip, besides directories and hidden files such as those of macOS.

    Raises:
        UsageError: If there is none or several, or it cannot be read.
    """
    entries = [entry for entry in archive.infolist() if not entry.is_dir() and not _is_hidden(entry.filename)]
    if not entries:
        raise catalog_error(where, "is a zip without a file; write it again")
    if len(entries) > 1:
        names = ", ".join(entry.filename[:80] for entry in entries[:3])
        more = ", ..." if len(entries) > 3 else ""
        raise catalog_error(
            where, f"is a zip of {len(entries):,} files ({names}{more}); unpack it, and name one file as the catalog"
        )
    entry = entries[0]
    if entry.flag_bits & _ENCRYPTED:
        raise catalog_error(where, "is an encrypted zip; write it without a password")
    if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):  # LZMA's memory is for the file to choose
        raise catalog_error(where, "is a zip of an unusual method; write it with the usual one, which is deflate")
    if entry.file_size > FREE_BYTES and entry.file_size > MAX_RATIO * entry.compress_size:
        raise _too_much(where)
    return entry


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def _too_much(where: str | Place) -> UsageError:
    return catalog_error(
        where, f"unpacks to over {MAX_RATIO} times its size, as no catalog does; write it again without compression"
    )


@contextmanager
def _damage_explained(where: str | Place) -> Iterator[None]:
    """Replace the exceptions of `gzip` and `zipfile` by an error of one sentence; those of disk and store stay."""
    try:
        yield
    except UsageError:
        raise
    except _DAMAGE as error:
        if isinstance(error.__context__, OSError):  # `zipfile` takes a store that fails for a damaged file
            raise error.__context__ from None
        reason = (str(error) or "it ends too soon").splitlines()[0][:200]
        raise catalog_error(where, f"cannot be read ({reason}); write it again") from error


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _File(io.RawIOBase):
    """A file that is open elsewhere, and is not closed together with what reads it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return _filled(buffer, self._file)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


class _Unpacked(io.RawIOBase):
    """What comes out of a compressed file, as long as it is in proportion to what went in."""

    def __init__(self, inner: _Readable, where: str | Place, taken: Callable[[], int]) -> None:
        """Wrap a stream.

        Args:
            inner: The stream, unpacked.
            where: Name of the file for error messages.
            taken: Returns how many compressed bytes were read until now.
        """
        self._inner, self._where, self._taken = inner, where, taken
        self._unpacked_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        with _damage_explained(self._where):
            count = _filled(buffer, self._inner)
        self._unpacked_bytes += count
        if self._unpacked_bytes > FREE_BYTES and self._unpacked_bytes > MAX_RATIO * self._taken():
            raise _too_much(self._where)
        return count


class _DirectoryReader:
    """A zip as `zipfile` reads it, which would take a directory of any size into memory."""

    def __init__(self, raw: io.BufferedReader, where: str | Place) -> None:
        self._raw, self._where = raw, where
        self.seek, self.tell, self.seekable = raw.seek, raw.tell, raw.seekable

    def read(self, size: int = -1, /) -> bytes:
        if size > _DIRECTORY_BYTES:
            raise catalog_error(self._where, "is a zip of thousands of files; put the catalog alone into a zip")
        return self._raw.read(_DIRECTORY_BYTES if size < 0 else size)


def _filled(buffer: Any, stream: _Readable) -> int:
    """Read from a stream into a buffer, and return the number of bytes."""
    view = memoryview(buffer)
    data = stream.read(len(view))
    view[: len(data)] = data
    return len(data)

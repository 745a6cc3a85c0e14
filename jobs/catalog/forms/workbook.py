"""The parts of an XLSX workbook: which sheet is read, and the limits of what its archive unpacks to."""

from __future__ import annotations

import posixpath
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError
from zipfile import BadZipFile, ZipFile

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring
from openpyxl.styles.numbers import BUILTIN_FORMATS
from openpyxl.utils.datetime import CALENDAR_MAC_1904, CALENDAR_WINDOWS_1900

from jobs.catalog.errors import catalog_error, read_errors_explained
from jobs.catalog.forms.cells import Cell, SharedStrings, SheetCells
from jobs.catalog.forms.xml_stream import Target, TooMuch, parse
from jobs.catalog.opening import FREE_BYTES, MAX_RATIO
from jobs.errors import UsageError

_MAX_STRINGS_BYTES = 2**30
_MAX_PART_BYTES = 2**26

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_DAMAGE = (
    *(BadZipFile, NotImplementedError, RuntimeError, struct.error, EOFError, OverflowError, zlib.error),
    *(ParseError, DefusedXmlException, ValueError, LookupError),
)
"""What zipfile and the parsers raise for damaged files, such as LookupError for a part that is missing."""


@dataclass(frozen=True)
class Sheet:
    """A workbook's first visible sheet.

    Attributes:
        name: Its name.
        rows: Yields the number of each row, from 1, that has cells, and its cells.
        string: Returns a shared string by its number.
        formats: Formats of numbers, by the number of a style.
        epoch: Day from which dates count.
    """

    name: str
    rows: Iterator[tuple[int, list[Cell]]]
    string: Callable[[int], str]
    formats: tuple[str, ...]
    epoch: datetime


@contextmanager
def opened_sheet(path: Path, where: str) -> Iterator[Sheet]:
    """Open the first visible sheet of a workbook within a block.

    Args:
        path: Local path of the workbook.
        where: Name of the file for error messages.

    Raises:
        UsageError: If the file is no XLSX, is encrypted, damaged or far larger than it looks, or has no sheet. Some
            faults appear only while rows are read.
    """
    with read_errors_explained(where), path.open("rb") as file:
        _refuse_old(file.read(512), path, where)
        file.seek(0)
        with _damage_explained(where):
            archive = ZipFile(file)
        with archive:
            with _damage_explained(where):
                parts = _Parts(archive, where)
                sheet = _sheet(parts)
            yield sheet


@contextmanager
def _damage_explained(where: str) -> Iterator[None]:
    """Replace the exceptions of a damaged workbook by an error of one sentence."""
    try:
        yield
    except UsageError:
        raise
    except TooMuch as error:
        raise catalog_error(where, f"has {error} of a part of the workbook; export the products alone") from error
    except _DAMAGE as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise catalog_error(where, f"is no workbook, or a damaged one ({reason}); save it again as .xlsx") from error


def _refuse_old(first: bytes, path: Path, where: str) -> None:
    """Raise for the container of Excel before 2007, in which encrypted workbooks lie as well."""
    if not first:
        raise catalog_error(where, "is an empty file; save the workbook again as .xlsx")
    if not first.startswith(_OLE):
        return
    shift, sector = struct.unpack_from("<H", first, 30)[0], struct.unpack_from("<i", first, 48)[0]
    with path.open("rb") as file:
        file.seek(max(0, sector + 1) << min(shift, 12))
        directory = file.read(2**16)
    if _ENCRYPTED in directory:
        raise catalog_error(where, "is an encrypted workbook; save it without a password")
    raise catalog_error(where, "is a workbook of the old format .xls; save it as .xlsx")


class _Parts:
    """The parts of a workbook's archive, and their sizes."""

    def __init__(self, archive: ZipFile, where: str) -> None:
        self.archive, self.where = archive, where
        self._names = {name.lower(): name for name in archive.namelist()}

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._names

    def root(self, name: str) -> Element:
        """Return the root of a small part."""
        entry = self.archive.getinfo(self._names[name.lower()])
        if entry.file_size > _MAX_PART_BYTES:
            raise self._too_large(name, entry.file_size, _MAX_PART_BYTES)
        element: Element = fromstring(self.archive.read(entry), forbid_dtd=True)
        return element

    def related(self, name: str) -> Mapping[str, tuple[str, str]]:
        """Return the parts to which a part refers: their type and name, by the reference's id."""
        folder, _, file = name.rpartition("/")
        relations = posixpath.join(folder, "_rels", f"{file}.rels")
        if relations not in self:
            return {}
        return {
            each.get("Id", ""): (
                each.get("Type", "").rpartition("/")[2],
                posixpath.normpath(posixpath.join("/", folder, each.get("Target", ""))).lstrip("/"),
            )
            for each in self.root(relations)
        }

    def parsed(self, name: str, target: Target, limit: int = 0) -> Iterator[int]:
        """Parse a large part piece by piece."""
        entry = self.archive.getinfo(self._names[name.lower()])
        if limit and entry.file_size > limit:
            raise self._too_large(name, entry.file_size, limit)
        if entry.file_size > max(FREE_BYTES, MAX_RATIO * entry.compress_size):
            raise catalog_error(
                self.where, f"unpacks to over {MAX_RATIO} times its size, as no catalog does; export it anew"
            )
        with self.archive.open(entry) as file:
            yield from parse(file, target)

    def _too_large(self, name: str, size: int, limit: int) -> UsageError:
        return catalog_error(
            self.where, f"has {size:,} bytes in its part {name[:80]}, over {limit:,}; export it as CSV instead"
        )


def _sheet(parts: _Parts) -> Sheet:
    main = next((name for kind, name in parts.related("").values() if kind == "officeDocument"), "xl/workbook.xml")
    book, related = parts.root(main), parts.related(main)
    by_kind = dict(related.values())
    visible: list[tuple[str, str]] = []
    for each in _children(_child(book, "sheets"), "sheet"):
        reference = next((text for key, text in each.attrib.items() if key.endswith("}id")), "")
        kind, name = related.get(reference, ("", ""))
        if each.get("state", "visible") == "visible" and kind == "worksheet":
            visible.append((each.get("name", ""), name))
    if not visible:
        raise catalog_error(parts.where, "has no visible sheet; show the sheet with the products, and save it again")
    since_1904 = (_attributes(_child(book, "workbookPr")).get("date1904") or "0") in ("1", "true")
    return Sheet(
        visible[0][0],
        _rows(parts, visible[0][1]),
        _strings(parts, by_kind.get("sharedStrings", "")).string,
        _formats(parts.root(by_kind["styles"])) if by_kind.get("styles", "") in parts else (),
        CALENDAR_MAC_1904 if since_1904 else CALENDAR_WINDOWS_1900,
    )


def _formats(styles: Element) -> tuple[str, ...]:
    own = {each.get("numFmtId"): each.get("formatCode", "") for each in _children(_child(styles, "numFmts"), "numFmt")}
    numbers = [each.get("numFmtId", "0") for each in _children(_child(styles, "cellXfs"), "xf")]
    return tuple(own.get(number, BUILTIN_FORMATS.get(int(number), "General")) for number in numbers)


def _child(element: Element, name: str) -> Element | None:
    return next(iter(_children(element, name)), None)


def _children(element: Element | None, name: str) -> list[Element]:
    """Return the children of a name in any namespace: there are two, of the usual and of the strict format."""
    return [] if element is None else [each for each in element if each.tag.rpartition("}")[2] == name]


def _attributes(element: Element | None) -> Mapping[str, str]:
    return {} if element is None else element.attrib


def _strings(parts: _Parts, name: str) -> SharedStrings:
    strings = SharedStrings()
    if name in parts:
        strings.pieces = _explained(parts.parsed(name, strings, _MAX_STRINGS_BYTES), parts.where)
    return strings


def _rows(parts: _Parts, name: str) -> Iterator[tuple[int, list[Cell]]]:
    target = SheetCells()
    for _ in _explained(parts.parsed(name, target), parts.where):
        yield from target.rows
        target.rows.clear()


def _explained(pieces: Iterator[int], where: str) -> Iterator[int]:
    """Yield what parsing yields; its exceptions become errors of one sentence, and those of the caller stay."""
    while True:
        with _damage_explained(where):
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece

"""Read catalogs in XML: feeds of Google Merchant, and other files whose records are repeated elements.

Which elements are records:

- In RSS the `item`s of the channel, in Atom the `entry`s, whatever else the file has.
- In any other file the elements that repeat within one element and hold elements of their own, or else at least two
  attributes; at several depths, those nearest to the root. The first MiB decides. If nothing repeats, the file has one
  record: of the elements below the root with two or more values, the one nearest to the root.
- If two kinds of elements repeat equally near to the root, the file is refused.

The columns of a record are its elements, by their names without prefix, and its attributes. An element in Google's
namespace counts before others of its name. An element that is there several times gives a list.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError

from jobs.catalog.errors import catalog_error, read_errors_explained
from jobs.catalog.forms.records import Record, names_in, rows_of
from jobs.catalog.forms.xml_stream import Target, TooMuch, parse
from jobs.catalog.layout import Layout
from jobs.catalog.opening import Source, opened
from jobs.catalog.rows import Batches, Part, column_places, in_batches
from jobs.catalog.text import UTF_8, encoding_of, first_undecodable, not_decoded, unreadable_as
from jobs.catalog.values import MAX_VALUE_CHARS
from jobs.errors import UsageError

_GOOGLE = "http://base.google.com/ns/1.0"
_ATOM = "http://www.w3.org/2005/Atom"
_MAX_RECORD_CHARS = 8 * MAX_VALUE_CHARS
_MAX_RECORD_VALUES = 10_000
_SHAPE_BYTES = 2**20
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_DECLARATION = re.compile(rb"""\s*<\?xml[^>]*?\bencoding\s*=\s*["']([A-Za-z0-9._-]+)""")
_DECLARATION_BYTES = 1024
_UNICODE = (b"utf-8", b"utf8", b"us-ascii", b"ascii")


def read_xml(path: Path, where: str, layout: Layout, part: Part) -> Batches:
    """Read a catalog's XML file in batches of rows.

    Args:
        path: Local path of the file, or of its local copy.
        where: Name of the file for error messages.
        layout: How it is read.
        part: Which part of it.

    Raises:
        UsageError: If the file is no XML, has a document type, it is not clear which elements are records, a value that
            counts has elements of its own, or no record has a required column. The message names the line to correct.
    """
    records = _without_nested(_records(path, where, layout), layout, where)
    yield from in_batches(rows_of(records, layout, where, part.first_position))


def xml_names(path: Source, where: str, layout: Layout) -> list[str]:
    """Return the names of the first records' elements, each once, in their order."""
    return names_in(_records(path, where, layout))


def looks_like_xml(first: bytes) -> bool:
    """Return whether the first bytes of a file are those of XML, in UTF-8 or UTF-16."""
    for mark in _MARKS:
        first = first.removeprefix(mark)
    text = first[:1024].replace(b"\0", b"").lstrip()
    return (text.startswith(b"<") and text[1:2].isalpha()) or text.startswith((b"<?xml", b"<!--", b"<!DOCTYPE"))


def xml_encoding(first: bytes) -> str:
    """Return the encoding of an XML file without a byte order mark: what its declaration says, else UTF-8."""
    if first[:2] in (b"<\0", b"\0<"):
        return "utf-16-le" if first[:1] == b"<" else "utf-16-be"
    declared = _DECLARATION.match(first)
    return declared[1].decode() if declared else "utf-8"


class _Nested:
    """In place of a value that has elements of its own."""


_NESTED = _Nested()
_Value = str | _Nested


def _records(path: Source, where: str, layout: Layout) -> Iterator[Record]:
    record = _record_path(path, where, layout)
    if not record:
        return
    target = _Records(record)
    with _explained(path, where, layout.encoding, target), opened(path, where) as file:
        for _ in parse(file, target, _named(file, where, layout.encoding)):
            yield from target.done
            target.done.clear()


def _record_path(path: Source, where: str, layout: Layout) -> tuple[str, ...]:
    """Return the names of the elements from the root to a record; empty if the file has none."""
    target, cut = _Shape(), False
    with _explained(path, where, layout.encoding, target), opened(path, where) as file:
        for count in parse(file, target, _named(file, where, layout.encoding)):
            cut = count >= _SHAPE_BYTES
            if target.certain or cut:
                break
    if target.certain:
        return target.certain
    repeated = [each for each, has_elements in target.repeated.items() if has_elements] or list(target.repeated)
    if cut and not repeated:
        raise catalog_error(
            where,
            f"shows in its first {_SHAPE_BYTES:,} bytes no two elements that may be products; write these elements "
            "one after another, below the root",
        )
    nearest = min(map(len, repeated), default=0)
    candidates = [each for each in repeated if len(each) == nearest]
    if len(candidates) > 1:
        names = " and ".join(each[-1] for each in candidates)
        raise catalog_error(
            where, f"repeats several elements, {names}, of which one may be a product; leave one of them"
        )
    return candidates[0] if candidates else target.single


def _without_nested(records: Iterator[Record], layout: Layout, where: str) -> Iterator[Record]:
    """Empty the values with elements of their own; raise if one of them counts."""
    for record in records:
        if _NESTED not in record.values:
            yield record
            continue
        places = column_places(record.names, layout, where, partial=record.line)
        counting = {index for indices in places.values() for index in indices}
        for index, value in enumerate(record.values):
            if value is _NESTED and index in counting:
                raise catalog_error(
                    where,
                    f"has elements inside of {record.names[index]!r} in the record of line {record.line}, where a text "
                    "is expected; write the text alone",
                )
        yield record._replace(values=["" if value is _NESTED else value for value in record.values])


class _Shape(Target):
    """Finds out which elements of a document are its records.

    Attributes:
        certain: Path of the records if nothing later in the document can change it; else empty.
        repeated: Maps the paths of elements that repeat within one element and have values of their own to whether some
            of these values are elements; else they are attributes.
        single: Path of the record if nothing repeats.
    """

    def __init__(self) -> None:
        super().__init__()
        self.certain: tuple[str, ...] = ()
        self.repeated: dict[tuple[str, ...], bool] = {}
        self.single: tuple[str, ...] = ()
        self._inner: list[dict[str, int]] = []  # for each open element, how often it has children with values
        self._values: list[int] = []  # for each open element, how many children without elements it has
        self._attributes: list[int] = []

    def opened(self, name: str, namespace: str, attributes: dict[str, str]) -> None:
        if len(self.stack) == 1:
            atom = name == "feed" and namespace == _ATOM
            known = {"rss": ("rss", "channel", "item"), "RDF": ("RDF", "item")}
            self.certain = ("feed", "entry") if atom else known.get(name, ())
        self._inner.append({})
        self._values.append(0)
        self._attributes.append(len(attributes))

    def closed(self, name: str) -> None:
        inner, values, attributes = self._inner.pop(), self._values.pop(), self._attributes.pop()
        if not self._inner:
            return
        if not inner and not values and attributes < 2:
            self._values[-1] += 1
            return
        counts = self._inner[-1]
        counts[name] = counts.get(name, 0) + 1
        path = tuple(self.stack)
        if counts[name] == 2:
            self.repeated[path] = bool(inner or values)
            if len(path) == 2 and (inner or values) and not self.certain:
                self.certain = path
        if values + attributes > 1 and (not self.single or len(path) < len(self.single)):
            self.single = path


class _Records(Target):
    """Gathers the records of a document.

    Attributes:
        done: The records that have ended, which the caller takes away.
    """

    def __init__(self, path: tuple[str, ...]) -> None:
        super().__init__()
        self.done: list[Record] = []
        self._path, self._depth = list(path), len(path)
        self._begun = 0
        self._values: dict[str, tuple[int, list[_Value]]] = {}
        self._count = self._chars = self._rank = 0
        self._text: list[str] = []
        self._nested = False

    def opened(self, name: str, namespace: str, attributes: dict[str, str]) -> None:
        level = len(self.stack) - self._depth
        if self._begun and level == 1:
            self._text, self._nested, self._rank = [], False, 2 if namespace == _GOOGLE else 1
        elif self._begun:
            self._nested = True
        elif level == 0 and self.stack == self._path:
            self._begun, self._values, self._count, self._chars = self.line, {}, 0, 0
            for key, text in attributes.items():
                self._add(key, text.strip(), 0)

    def said(self, text: str) -> None:
        if self._begun and len(self.stack) == self._depth + 1:
            self._text.append(text)
            self._chars += len(text)
            if self._chars > _MAX_RECORD_CHARS:
                raise TooMuch(f"over {_MAX_RECORD_CHARS:,} characters in the record that begins in line {self._begun}")

    def closed(self, name: str) -> None:
        if not self._begun:
            return
        level = len(self.stack) - self._depth
        if level == 1:
            self._add(name, _NESTED if self._nested else "".join(self._text).strip(), self._rank)
        elif level == 0:
            values = [_of(each) for _, each in self._values.values()]
            self.done.append(Record(self._begun, tuple(self._values), values))
            self._begun = 0

    def _add(self, name: str, value: _Value, rank: int) -> None:
        self._count += 1
        if self._count > _MAX_RECORD_VALUES:
            raise TooMuch(f"over {_MAX_RECORD_VALUES:,} elements in the record that begins in line {self._begun}")
        known = self._values.get(name)
        if known is None or known[0] < rank:
            self._values[name] = rank, [value]
        elif known[0] == rank:
            known[1].append(value)


def _of(values: list[_Value]) -> _Value | list[str]:
    """Return the value of a column from those of its elements."""
    if len(values) == 1:
        return values[0]
    texts = [value for value in values if isinstance(value, str) and value]
    if any(value is _NESTED for value in values):
        return _NESTED
    return texts if len(texts) > 1 else "".join(texts)


def _named(file: io.BufferedReader, where: str, encoding: str) -> str:
    """Return Python's name of the encoding that a person named, and move the file behind its mark; else empty."""
    return encoding_of(file, where, encoding) if encoding else ""


def _undecodable(source: Source, where: str, encoding: str, last: int) -> UsageError | None:
    """Return the error for bytes that the file's encoding does not have; None if there are none up to a line.

    Expat takes such bytes for a wrong sign, without a word about encodings.

    Args:
        source: The file.
        where: Name of the file for error messages.
        encoding: Its encoding as a person named it, or empty.
        last: Number of the line, from 1.
    """
    with opened(source, where) as file:
        codec = encoding_of(file, where, encoding)
        declared = _DECLARATION.match(file.peek(_DECLARATION_BYTES)[:_DECLARATION_BYTES])
        if not encoding and codec in UTF_8 and declared and declared[1].lower() not in _UNICODE:
            return None
        line, undecodable = first_undecodable(file, codec)
    return not_decoded(where, encoding or codec.upper(), line, undecodable) if undecodable and line <= last else None


@contextmanager
def _explained(source: Source, where: str, encoding: str, target: Target) -> Iterator[None]:
    """Replace the exceptions of parsing by errors of one sentence.

    Args:
        source: The file, which may be opened once more to find the bytes that its encoding does not have.
        where: Name of the file for error messages.
        encoding: Its encoding as a person named it, or empty.
        target: What knows the line.

    Raises:
        UsageError: If the file is no XML, or cannot be read.
    """
    try:
        with read_errors_explained(where):
            yield
    except UsageError:
        raise
    except TooMuch as error:
        raise catalog_error(where, f"has {error}; write a short element for each product") from error
    except DefusedXmlException as error:
        raise catalog_error(
            where, f"has a document type or declares entities in line {target.line}; write it without <!DOCTYPE ...>"
        ) from error
    except ParseError as error:
        line, _ = error.position
        reason = str(error).partition(": line ")[0]
        if reason in ("no element found", "unclosed token"):
            raise catalog_error(where, f"ends too soon, in line {line}; write the file again") from error
        if reason.startswith("not well-formed") and (other := _undecodable(source, where, encoding, line)):
            raise other from error
        raise catalog_error(where, f"is no XML in line {line} ({reason}); correct it") from error
    except UnicodeDecodeError as error:  # of the encoding that a person named; the last chunk may have ended lines
        raise _undecodable(source, where, encoding, sys.maxsize) or unreadable_as(encoding, error, where) from error
    except (ValueError, LookupError) as error:  # expat knows encodings of one byte a character
        reason = str(error)[:200]
        raise catalog_error(
            where,
            f"cannot be decoded near line {target.line} ({reason}); write it in UTF-8, or name its encoding with "
            "`--encoding`",
        ) from error

"""Read catalogs in JSON: one list of objects in a file, on one line or on many.

The list may be the one list of objects in an object, such as `{"count": 2, "products": [...]}`; what else that object
has is ignored. Objects may also follow each other without a list, as some programs write them. The text is decoded
object by object, so memory does not grow with the file, and numbers stay as they are written.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.catalog.errors import catalog_error, read_errors_explained
from jobs.catalog.forms.json_values import DECODER, no_object, record_of, too_deep
from jobs.catalog.forms.records import Record, names_in, rows_of
from jobs.catalog.layout import Layout
from jobs.catalog.opening import Source, opened
from jobs.catalog.rows import Batches, Part, in_batches
from jobs.catalog.text import UTF_8, decoded_before, encoding_of, not_decoded, unreadable_as
from jobs.catalog.values import MAX_VALUE_CHARS
from jobs.dataset.schema import CATALOG_REQUIRED
from jobs.errors import UsageError

_ADVICE = "write one list of objects"
_CHUNK_BYTES = 2**16
_MAX_CHARS = 8 * MAX_VALUE_CHARS
_CUT_CHARS = 64
"""An error within so many characters of the end of what was read may come from where it was cut."""

_BLANK = re.compile(r"[ \t\n\r]*")
_MARK = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[{}\[\]]', re.DOTALL)


def read_json(path: Path, where: str, layout: Layout, part: Part) -> Batches:
    """Read a catalog's JSON file in batches of rows.

    Args:
        path: Local path of the file, or of its local copy.
        where: Name of the file for error messages.
        layout: How it is read.
        part: Which part of it.

    Raises:
        UsageError: If the file is no JSON, has something else than objects, or no object has a required column. The
            message names the line to correct.
    """
    yield from in_batches(rows_of(_records(path, where, layout), layout, where, part.first_position))


def json_names(path: Source, where: str, layout: Layout) -> list[str]:
    """Return the names of the first objects' members, each once, in their order."""
    return names_in(_records(path, where, layout))


def json_form(first: bytes) -> str:
    """Return the form of a file by its first bytes.

    Args:
        first: First bytes of the content, 64 KiB if it has so many.

    Returns:
        `jsonl` if the first line that is not blank is a complete object or list and more lines may follow; `json` if it
        is one document over several lines, or one list.
    """
    text = first.decode(json.detect_encoding(first), "replace").lstrip(" \t\r\n")
    line, newline, rest = text.partition("\n")
    try:
        DECODER.decode(line)
    except json.JSONDecodeError as error:
        # A line that ends too soon is continued in the next one. One that is wrong elsewhere is wrong in both forms.
        ends_too_soon = error.msg.startswith("Unterminated") or error.pos >= len(line.rstrip())
        if newline:
            return "json" if ends_too_soon else "jsonl"
        return "json" if line.startswith("[") or _opens_list(line, 0) else "jsonl"
    except RecursionError:
        return "jsonl"
    several = newline and rest.strip()
    return "json" if not several and (line.startswith("[") or _opens_list(line, 0)) else "jsonl"


def _records(path: Source, where: str, layout: Layout) -> Iterator[Record]:
    with read_errors_explained(where), opened(path, where) as file:
        text = _Text(file, where, layout.encoding)
        values = _listed_in_object(text) if _holds_list(text) else _in_sequence(text)
        for line, value in values:
            yield record_of(value, line, where, _ADVICE)


def _in_sequence(text: _Text) -> Iterator[tuple[int, Any]]:
    """Yield the objects of a file of lists and objects, with the line in which each begins."""
    while first := text.peek():
        if first == "[":
            text.take("[")
            yield from _listed(text)
        else:
            yield text.line, text.record()


def _listed(text: _Text) -> Iterator[tuple[int, Any]]:
    """Yield the objects of a list whose bracket has been read."""
    if text.peek() == "]":
        text.take("]")
        return
    while True:
        text.peek()
        yield text.line, text.record()
        if text.take(",]") == "]":
            return


def _listed_in_object(text: _Text) -> Iterator[tuple[int, Any]]:
    """Yield the objects of the one list of objects that is a member of the file's only object."""
    found: str | None = None
    text.take("{")
    while True:
        text.peek()
        name = str(text.value())
        text.take(":")
        if text.peek() == "[":
            text.take("[")
            if text.peek() == "{":
                if found is not None:
                    raise catalog_error(
                        text.where,
                        f"has two lists of objects, {found[:80]!r} and {name[:80]!r} in line {text.line}; {_ADVICE}",
                    )
                found = name
                yield from _listed(text)
            else:
                _pass_list(text)
        else:
            text.value()
        if text.take(",}") == "}":
            break
    if text.peek():
        raise catalog_error(text.where, f"has more after the end of its object in line {text.line}; {_ADVICE}")


def _pass_list(text: _Text) -> None:
    """Read over a list whose bracket has been read, value by value."""
    if text.peek() == "]":
        text.take("]")
        return
    while True:
        text.value()
        if text.take(",]") == "]":
            return


def _holds_list(text: _Text) -> bool:
    """Return whether the file is one object that holds the list of the records, not a record itself.

    An object with a product_id or an image_uri is a record, and so is each one if others follow it.
    """
    if text.peek() != "{":
        return False
    while True:
        try:
            value, end = DECODER.raw_decode(text.text, text.at)
        except (json.JSONDecodeError, RecursionError):
            if _opens_list(text.text, text.at):
                return True
            if text.ended or len(text.text) - text.at > _MAX_CHARS:
                return False  # decoding it raises the error
            text.more()
            continue
        while not text.ended and not text.text[end:].strip() and len(text.text) < _MAX_CHARS:
            end -= text.at
            text.more()
        if text.text[end:].strip() or any(name.strip().lower() in CATALOG_REQUIRED for name in value):
            return False
        lists = [each for each in value.values() if isinstance(each, list)]
        return any(each and isinstance(each[0], dict) for each in lists) or (len(lists) == len(value) == 1)


def _opens_list(text: str, at: int) -> bool:
    """Return whether a list of objects begins in the object at a position, before a name of a record's own column."""
    depth, previous = 0, ""
    for match in _MARK.finditer(text, at):
        mark = match[0]
        if mark == "{" and depth == 2 and previous == "[":
            return True
        if mark in "{[":
            depth += 1
        elif mark in "}]":
            depth -= 1
            if not depth:
                return False
        elif depth == 1 and mark.strip('"').strip().lower() in CATALOG_REQUIRED:
            return False
        previous = mark
    return False


class _Text:
    """The text of a JSON file, of which the part is in memory that is being decoded.

    Attributes:
        where: Name of the file for error messages.
        text: What is in memory.
        at: Index in `text` of the next character to decode.
        ended: Whether the file has been read to its end.
    """

    def __init__(self, file: io.BufferedReader, where: str, encoding: str) -> None:
        self.where, self._file = where, file
        codec = encoding_of(file, where, encoding)
        first = file.read(_CHUNK_BYTES)
        if not encoding and codec in UTF_8:  # JSON may be UTF-16 and UTF-32 without a byte order mark, too
            codec = json.detect_encoding(first)
        self._decoder = codecs.getincrementaldecoder(codec)()
        self._encoding = encoding or (codec if codec in UTF_8 else codec.upper())
        self.text, self.at, self.ended = "", 0, False
        self._line, self._counted, self._before = 1, 0, 0
        self._append(first)

    @property
    def line(self) -> int:
        """Number of the line of the next character, from 1."""
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def more(self) -> None:
        """Read on; drop from memory what has been decoded."""
        self._append(self._file.read(max(_CHUNK_BYTES, len(self.text) - self.at)))

    def peek(self) -> str:
        """Return the next character that is no blank; empty at the end of the file."""
        while True:
            match = _BLANK.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if self.ended:
                return ""
            self.more()

    def take(self, expected: str) -> str:
        """Read one of the expected characters, and return it.

        Raises:
            UsageError: If another character follows.
        """
        character = self.peek()
        if not character:
            raise self._ends_too_soon()
        if character not in expected:
            wanted = " or ".join(expected)
            raise self._no_json(f"expected {wanted}, received {character!r}", self.at)
        self.at += 1
        return character

    def record(self) -> Any:
        """Decode an object.

        Raises:
            UsageError: If it is something else, or no JSON.
        """
        character = self.peek()
        if character and character in '["-0123456789tfnNI':
            raise no_object(self.line, self.where, _ADVICE)
        return self.value()

    def value(self) -> Any:
        """Decode a value of any type.

        Raises:
            UsageError: If it is no JSON, too long, or nested too deep.
        """
        self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos >= len(self.text.rstrip()) - _CUT_CHARS
                if cut and not self.ended:
                    self._grow()
                    continue
                if error.msg.startswith("Unterminated") or error.pos >= len(self.text.rstrip()):
                    raise self._ends_too_soon() from error
                raise self._no_json(error.msg, error.pos) from error
            except RecursionError as error:
                raise too_deep(self.line, self.where, _ADVICE) from error
            if end == len(self.text) and not self.ended and self.text[end - 1] not in '}]"':
                self._grow()  # a number may go on
                continue
            self.at = end
            return value

    def _grow(self) -> None:
        if len(self.text) - self.at > _MAX_CHARS:
            raise catalog_error(
                self.where,
                f"has over {_MAX_CHARS:,} characters in the value that begins in line {self.line}; {_ADVICE}",
            )
        self.more()

    def _append(self, data: bytes) -> None:
        self.ended = not data
        state = self._decoder.getstate()
        try:
            decoded = self._decoder.decode(data, final=self.ended)
        except UnicodeDecodeError as error:
            before = self.text[self.at :] + decoded_before(error, self._decoder, state, data)
            undecodable = error.object[error.start : error.end]
            raise not_decoded(self.where, self._encoding, self.line + before.count("\n"), undecodable) from error
        except UnicodeError as error:
            raise unreadable_as(self._encoding, error, self.where) from error
        self._line = self.line
        newline = self.text.rfind("\n", 0, self.at)
        self._before = self.at - newline - 1 if newline >= 0 else self._before + self.at
        self.text, self.at, self._counted = self.text[self.at :] + decoded, 0, 0

    def _ends_too_soon(self) -> UsageError:
        return catalog_error(
            self.where, f"ends too soon, inside of what begins in line {self.line}; write the file again"
        )

    def _no_json(self, reason: str, position: int) -> UsageError:
        line = self.line + self.text.count("\n", self.at, position)
        newline = self.text.rfind("\n", 0, position)
        column = position - newline if newline >= 0 else self._before + position + 1
        return catalog_error(self.where, f"has no JSON in line {line} ({reason} at column {column}); {_ADVICE}")

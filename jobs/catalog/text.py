"""The lines of a catalog's text file, decoded and checked; no line is too long for memory."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.catalog.errors import catalog_error, read_errors_explained
from jobs.catalog.opening import Source, opened
from jobs.catalog.values import MAX_VALUE_CHARS
from jobs.errors import UsageError

MAX_LINE_CHARS = 8 * MAX_VALUE_CHARS
UTF_8 = ("utf-8", "utf-8-sig")
"""Python's canonical names of UTF-8."""

_NOT_ASCII = re.compile(r"\w{,20}[^\x00-\x7f]\w{,20}")
_CHUNK_BYTES = 2**16
_SHOWN_BYTES = 8
_MARK = "\ufeff"
_MARKS = (  # the first two bytes of UTF-32's mark are UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32-le", ("utf-32", "utf-32-le")),
    (codecs.BOM_UTF32_BE, "utf-32-be", ("utf-32", "utf-32-be")),
    (codecs.BOM_UTF8, "utf-8", UTF_8),
    (codecs.BOM_UTF16_LE, "utf-16-le", ("utf-16", "utf-16-le")),
    (codecs.BOM_UTF16_BE, "utf-16-be", ("utf-16", "utf-16-be")),
)
"""Byte order marks, the encodings that they stand for, and the canonical names by which a person may call these."""


@dataclass(frozen=True)
class Window:
    """Which bytes of a file that is not compressed are read.

    Attributes:
        start: The first byte, with which a line begins.
        end: The byte behind the last one, which ends a line; None for the file's end.
        lines_before: Number of lines before `start`, for error messages.
    """

    start: int = 0
    end: int | None = None
    lines_before: int = 0


WHOLE = Window()


def lines(source: Source, where: str, encoding: str = "", window: Window = WHOLE) -> Iterator[str]:
    r"""Yield the lines of a catalog's text file, each ending in `\n` whatever line ending the file uses.

    Args:
        source: The file; it may be compressed as `jobs.catalog.opening` says.
        where: Name of the file for error messages.
        encoding: Python's name of its encoding. Empty means UTF-8 with or without a byte order mark, or another one
            with its mark.
        window: Which part of it, where the file is UTF-8 and not compressed.

    Raises:
        UsageError: If the file is of another encoding or damaged, or has a line that is too long or that no text file
            has. The message names the line.
    """
    # A store's own errors stay as they are, because they are retried where the file was opened.
    explained = read_errors_explained(where) if isinstance(source, Path) else nullcontext()
    try:
        with explained, _decoded(source, where, encoding, window) as text:
            number = window.lines_before
            while line := text.readline(MAX_LINE_CHARS):
                number += 1
                if number == 1 and not window.start:
                    line = line.lstrip(_MARK)  # of an encoding whose mark is not in `_MARKS`
                if "\0" in line or line.startswith(_MARK) or len(line) == MAX_LINE_CHARS:
                    _check(line, number, where)
                if not line.endswith("\n"):  # the last line; DOS marks the end of a text by ^Z
                    line = line.rstrip("\x1a")
                if line:
                    yield line
    except UnicodeDecodeError as error:
        raise _undecodable(source, where, encoding, window) from error
    except UnicodeError as error:
        raise unreadable_as(encoding, error, where) from error


def unreadable_as(encoding: str, error: UnicodeError, where: str) -> UsageError:
    """Return the error for a file that is no text of the encoding that was named, whatever its bytes are."""
    return catalog_error(where, f"cannot be read as {encoding} ({str(error)[:100]}); name another encoding")


def _check(line: str, number: int, where: str) -> None:
    """Raise UsageError if no line of a text file is such."""
    if "\0" in line:
        raise catalog_error(
            where,
            f"has a NUL character in line {number}, which no text has; write it again in UTF-8, or name its encoding "
            "with --encoding NAME (such as utf-16-le)",
        )
    if line.startswith(_MARK):
        raise catalog_error(
            where,
            f"has a byte order mark at the start of line {number}, where another file was appended; write it as one",
        )
    if not line.endswith("\n"):
        raise catalog_error(where, f"has over {len(line):,} characters in line {number}; write a line for each row")


@contextmanager
def _decoded(source: Source, where: str, encoding: str, window: Window) -> Iterator[io.TextIOWrapper]:
    with _content(source, where, encoding, window) as (stream, codec):
        text = io.TextIOWrapper(stream, encoding=codec, errors="strict")
        try:
            yield text
        finally:
            text.detach()


@contextmanager
def _content(source: Source, where: str, encoding: str, window: Window) -> Iterator[tuple[io.BufferedReader, str]]:
    """Open the bytes of a window without a byte order mark, and yield them with the name of their encoding."""
    with opened(source, where) as stream:
        codec = encoding_of(stream, where, encoding)
        if window.start:
            stream.seek(window.start)
        if window.end is not None:
            stream = io.BufferedReader(_Until(stream, window.end), _CHUNK_BYTES)
        yield stream, codec


def encoding_of(stream: io.BufferedReader, where: str, encoding: str) -> str:
    """Return the encoding of a text, and move the stream behind its byte order mark.

    Args:
        stream: The content of a file of any form, at its start.
        where: Name of the file for error messages.
        encoding: What a person calls its encoding; empty if it was not said.

    Raises:
        UsageError: If Python knows no such text encoding, or it contradicts the mark.
    """
    codec = _known(where, encoding) if encoding else ""
    head = stream.peek(4)[:4]
    for mark, marked, names in _MARKS:
        if head.startswith(mark):
            if codec and codec not in names:
                raise catalog_error(
                    where,
                    f"begins with the byte order mark of {names[0].upper()}, and is to be read as {encoding}; leave "
                    "--encoding out",
                )
            stream.read(len(mark))
            return marked
    if codec in ("utf-16", "utf-32") and head:
        raise catalog_error(
            where, f"has no byte order mark; name the order of its bytes with --encoding {codec}-le or {codec}-be"
        )
    return UTF_8[0] if codec in ("", *UTF_8) else codec


def encoding_name(head: bytes, encoding: str, unmarked: str = UTF_8[0]) -> str:
    """Return the name of a text's encoding for people.

    Args:
        head: First bytes of the text; a byte order mark in them counts.
        encoding: The encoding that was said; empty if none was.
        unmarked: The encoding of the text if it has no mark.
    """
    if encoding:
        return encoding
    return next((marked for mark, marked, _ in _MARKS if head.startswith(mark)), unmarked).upper()


def _known(where: str, encoding: str) -> str:
    """Return Python's canonical name of a text encoding."""
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)  # knows which encodings are of texts
        return codecs.lookup(encoding).name
    except (LookupError, ValueError) as error:
        raise catalog_error(
            where, f"cannot be read: Python has no text encoding {encoding[:50]!r}; name another, such as cp1252"
        ) from error


def _undecodable(source: Source, where: str, encoding: str, window: Window) -> UsageError:
    """Return the error for a file with bytes that its encoding does not have: which ones, and in which line."""
    with _content(source, where, encoding, window) as (stream, codec):
        line, undecodable = first_undecodable(stream, codec)
    return not_decoded(where, encoding or codec.upper(), window.lines_before + line, undecodable)


def not_decoded(where: str, encoding: str, line: int, undecodable: bytes) -> UsageError:
    """Return the error for a file of any form with bytes that its encoding does not have.

    Args:
        where: Name of the file.
        encoding: Name of its encoding.
        line: Number of the line that has them, from 1.
        undecodable: These bytes.
    """
    shown = undecodable[:_SHOWN_BYTES].hex(" ")
    remedy = "name its encoding with --encoding NAME (such as cp1252)"
    name = "UTF-8" if encoding.lower() in UTF_8 else encoding
    return catalog_error(where, f"is not {name}: bytes {shown} in line {line}; write it in UTF-8, or {remedy}")


def is_decodable(path: Path, where: str, encoding: str = "") -> bool:
    """Return whether a whole text file can be decoded; it is read in pieces, and what is in its lines does not count.

    Args:
        path: Local path of the file; it may be compressed as `jobs.catalog.opening` says.
        where: Name of the file for error messages.
        encoding: As in `lines`.

    Raises:
        UsageError: If the file is damaged, or its byte order mark contradicts the encoding.
    """
    with read_errors_explained(where), _content(path, where, encoding, WHOLE) as (stream, codec):
        return not first_undecodable(stream, codec)[1]


def refuse_utf_8(path: Path, where: str, encoding: str) -> None:
    """Check that a text file which is to be read in an encoding of single bytes is not certainly in UTF-8.

    A shop may change the encoding of its export. Its old one would read `Schürze` as `SchÃ¼rze` without an error.

    Args:
        path: Local path of the file; it may be compressed as `jobs.catalog.opening` says.
        where: Name of the file for error messages.
        encoding: The encoding that its `shelfwise.toml` says.

    Raises:
        UsageError: If all of it is UTF-8, and not all of it ASCII.
    """
    codec = _known(where, encoding)
    if codec in UTF_8 or len(bytes(range(128, 256)).decode(codec, "replace")) != 128:
        return
    decoder = codecs.getincrementaldecoder(UTF_8[0])()
    line, word = 1, ""
    with opened(path, where) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            try:
                text = decoder.decode(chunk)
            except UnicodeDecodeError:
                return
            if word:
                continue
            match = None if text.isascii() else _NOT_ASCII.search(text)
            word = match[0] if match else ""
            line += text.count("\n", 0, match.start() if match else len(text))
    if word and not decoder.getstate()[0]:
        wrong = word.encode().decode(codec, "replace")
        raise catalog_error(
            where,
            f"is in UTF-8, and shelfwise.toml says {encoding}, which makes {wrong!r} of {word!r} in line {line}; "
            f"correct shelfwise.toml, or give --encoding {encoding} if it is right",
        )


def first_undecodable(stream: io.BufferedReader, codec: str) -> tuple[int, bytes]:
    """Return the number of the first line that cannot be decoded, from 1, and its bytes that cannot; else no bytes."""
    decoder = codecs.getincrementaldecoder(codec)()
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    ended = False
    line = 1
    while not ended:
        chunk = stream.read(_CHUNK_BYTES)
        ended = not chunk
        state = decoder.getstate()
        try:
            line += newlines.decode(decoder.decode(chunk, ended)).count("\n")
        except UnicodeDecodeError as error:
            before = decoded_before(error, decoder, state, chunk)
            line += newlines.decode(before, final=True).count("\n")
            return line, error.object[error.start : error.end]
    return line, b""


def decoded_before(
    error: UnicodeDecodeError, decoder: codecs.IncrementalDecoder, state: tuple[bytes, int], chunk: bytes
) -> str:
    """Return the text of a chunk before the bytes that could not be decoded.

    Args:
        error: What the decoder raised.
        decoder: The decoder.
        state: Its state before the chunk.
        chunk: What it was to decode.
    """
    decoder.setstate(state)
    return decoder.decode(chunk[: max(0, error.start - len(state[0]))])


class _Until(io.RawIOBase):
    """The bytes of a stream from its position up to another one."""

    def __init__(self, stream: io.BufferedReader, end: int) -> None:
        self._stream = stream
        self._left = max(0, end - stream.tell())

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)[: self._left]
        count = self._stream.readinto(view)
        self._left -= count
        return count

"""Parse XML as a stream: a parser that refuses document types and entities, and the guards that bound its memory."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import IO, Any

from defusedxml.ElementTree import XMLParser

_CHUNK_BYTES = 2**16
_MAX_SILENT_BYTES = 8 * 2**20
_MAX_DEPTH = 64
_MAX_NAMES = 10_000


class TooMuch(ValueError):
    """The file has more of something than is read; the message names it, and what came before it."""


class Target:
    """Receives the elements of a document, as `xml.etree.ElementTree.XMLParser` calls its target.

    Subclasses define `opened`, `closed` and `said`. Names have no namespace there: `item`.

    Attributes:
        line: Number of the line that is being parsed, from 1.
        stack: Names of the elements that are open, the root first.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.stack: list[str] = []
        self._expat: Any = None
        self._names: dict[str, tuple[str, str]] = {}

    @property
    def line(self) -> int:
        """Number of the line that is being parsed, from 1."""
        return int(self._expat.CurrentLineNumber) if self._expat else 1

    def bind(self, expat: Any) -> None:
        """Set the parser that knows the line."""
        self._expat = expat

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Receive the start of an element; `tag` is `{namespace}name`."""
        self.calls += 1
        name, namespace = self._names.get(tag) or self._split(tag)
        if attributes:
            attributes = {(self._names.get(key) or self._split(key))[0]: text for key, text in attributes.items()}
        self.stack.append(name)
        if len(self.stack) > _MAX_DEPTH:
            raise TooMuch(f"over {_MAX_DEPTH} elements inside of each other in line {self.line}")
        self.opened(name, namespace, attributes)

    def data(self, text: str) -> None:
        """Receive text, or a part of it."""
        self.calls += 1
        self.said(text)

    def end(self, tag: str) -> None:
        """Receive the end of an element."""
        self.calls += 1
        self.closed(self.stack[-1])
        self.stack.pop()

    def opened(self, name: str, namespace: str, attributes: dict[str, str]) -> None:
        """Receive the start of an element, which is the last of `stack`."""

    def said(self, text: str) -> None:
        """Receive a part of the text of the element that is the last of `stack`."""

    def closed(self, name: str) -> None:
        """Receive the end of the element that is the last of `stack`."""

    def _split(self, tag: str) -> tuple[str, str]:
        if len(self._names) == _MAX_NAMES:  # the parser keeps each name in memory
            raise TooMuch(f"over {_MAX_NAMES:,} different names of elements, up to line {self.line}")
        namespace, _, name = tag.rpartition("}")
        self._names[tag] = name, namespace.removeprefix("{")
        return self._names[tag]


def parse(file: IO[bytes], target: Target, encoding: str = "") -> Iterator[int]:
    """Parse a document part by part; a part is 64 KiB, after which the target has what ended in it.

    Args:
        file: The content, unpacked.
        target: Receives the elements.
        encoding: Python's name of the encoding; empty means the one that the document declares, or UTF-8.

    Yields:
        How many bytes have been read.

    Raises:
        TooMuch: If there are too many names or elements inside of each other, or something in the document, such as
            an attribute, is too long for memory.
        ParseError: If it is no XML, or ends too soon.
        DefusedXmlException: If it has a document type or declares an entity.
        ValueError: If its encoding is unknown, or has several bytes a character and is not named by `encoding`.
    """
    parser = XMLParser(target=target, encoding="utf-8" if encoding else None, forbid_dtd=True)
    target.bind(parser.parser)
    decoder = codecs.getincrementaldecoder(encoding)() if encoding else None
    silent = total = calls = 0
    while chunk := file.read(_CHUNK_BYTES):
        total += len(chunk)
        parser.feed(decoder.decode(chunk).encode("utf-8", "surrogatepass") if decoder else chunk)
        silent = silent + len(chunk) if target.calls == calls else 0
        calls = target.calls
        if silent > _MAX_SILENT_BYTES:
            raise TooMuch(f"over {_MAX_SILENT_BYTES:,} bytes in one comment or tag after line {target.line}")
        yield total
    parser.feed(decoder.decode(b"", True).encode() if decoder else b"")
    parser.close()
    yield total

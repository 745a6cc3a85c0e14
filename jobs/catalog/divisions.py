"""Byte ranges of a large text file, which tasks read at the same time, and the lines that belong to each.

A line belongs to the range in which it begins. A file is divided only if every line break ends a record, which is
certain if there is no quotation mark.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from jobs.catalog.layout import Layout
from jobs.catalog.opening import look_inside
from jobs.catalog.rows import Part
from jobs.catalog.text import MAX_LINE_CHARS, UTF_8, Window

DIVIDED_BYTES = 64 * 2**20
"""Largest file that one task reads as a whole."""
RANGE_BYTES = 16 * 2**20
"""Length of a range. It is less than `DIVIDED_BYTES`, so that also a file of that size keeps several cores busy."""

_BLOCK_BYTES = 2**22
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def ranges_of(path: Path, layout: Layout) -> list[tuple[int, int | None]]:
    """Divide a local text file into ranges of bytes.

    Args:
        path: The file; it is read once from start to end if it is large.
        layout: How it is read.

    Returns:
        First byte and end of each range; the end of the last one is None. One range if the file is small, compressed,
        not in UTF-8, or has a record that may have several lines.
    """
    size = path.stat().st_size
    if size <= DIVIDED_BYTES or not _is_divisible(path, layout):
        return [(0, None)]
    starts = list(range(0, size, RANGE_BYTES))
    return list(zip(starts, [*starts[1:], None], strict=True))


def _is_divisible(path: Path, layout: Layout) -> bool:
    r"""Return whether each line of a file is a record, and ends in `\n`."""
    if layout.encoding and codecs.lookup(layout.encoding).name not in UTF_8:
        return False
    inside = look_inside(path, 2)
    if inside.container != "plain" or inside.head in _UTF_16 or not layout.quote.isascii():
        return False
    quote = layout.quote.encode()
    returned = b""  # a carriage return at the end of a block, whose newline may begin the next one
    with path.open("rb") as file:
        for block in _blocks(file):
            if quote and quote in block:
                return False
            block = returned + block
            returned = b"\r" if block.endswith(b"\r") else b""
            block = block.removesuffix(returned)
            if block.count(b"\r") != block.count(b"\r\n"):
                return False
    return not returned


def window_of(path: Path, part: Part, header_lines: int) -> Window:
    """Return the bytes of the lines that belong to a part.

    Args:
        path: Local path of the file.
        part: The part.
        header_lines: Number of lines up to the header, which belong to the first part only.
    """
    with path.open("rb") as file:
        start = 0
        if part.start:
            for _ in range(header_lines):
                while (line := file.readline(MAX_LINE_CHARS)) and not line.endswith(b"\n"):
                    pass
            start = max(file.tell(), _next_line(file, part.start))
        return Window(start, None if part.end is None else max(start, _next_line(file, part.end)))


def lines_before(path: Path, start: int) -> int:
    """Return the number of line breaks before a byte of a file."""
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in _blocks(file, start))


def _next_line(file: BinaryIO, at: int) -> int:
    """Return the position of the first line that begins at a byte or behind it; the end of the file without one."""
    file.seek(at - 1)
    for block in _blocks(file):
        found = block.find(b"\n")
        if found >= 0:
            return file.tell() - len(block) + found + 1
    return file.tell()


def _blocks(file: BinaryIO, end: int | None = None) -> Iterator[bytes]:
    """Yield the bytes of a file from its position up to another one, or to its end."""
    while block := file.read(_BLOCK_BYTES if end is None else min(_BLOCK_BYTES, end - file.tell())):
        yield block

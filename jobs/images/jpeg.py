"""Read the structure of a JPEG file: how its scans are decoded, and whether a file without end marker lost pixels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_PROGRESSIVE = 0xC2
_SCAN, _END = 0xDA, 0xD9
_END_MARKER = b"\xff\xd9"
_COEFFICIENTS = 64

# Bits that continue entropy-coded data in other ways than the zero bits that a decoder uses after the end. The first
# two bits of the three differ, and so does what follows. No byte is 0xff, which would need stuffing.
_FURTHER_BITS = tuple(
    bytes((index * 167 + index * index * 13 + first) % 255 for index in range(256)) for first in (0x59, 0xA6, 0xE3)
)


@dataclass(frozen=True)
class _Scan:
    """What one scan codes.

    Attributes:
        components: Identifiers of its components.
        first: First coefficient of each block, 0-63.
        last: Last coefficient of each block, 0-63.
        low_bit: Lowest bit of the coefficients that has been sent after this scan.
    """

    components: tuple[int, ...]
    first: int
    last: int
    low_bit: int


@dataclass(frozen=True)
class _Structure:
    """Frame and scans of a file; `last_scan_bytes` is where the coded data of the last scan start."""

    progressive: bool
    components: tuple[int, ...]
    scans: tuple[_Scan, ...]
    last_scan_bytes: int
    has_end: bool


def decoded_in_parts(data: bytes) -> bool:
    """Return whether a decoder holds only some rows of a JPEG file at a time.

    Of a progressive file, or one with a scan for each colour, it holds the coefficients of all pixels.

    Args:
        data: Content of the whole file.
    """
    structure = _structure(data, scans=1)
    if structure.progressive or not structure.scans:
        return False
    return len(structure.scans[0].components) == len(structure.components)


def continuations(data: bytes) -> tuple[bytes, ...]:
    """Return a JPEG file without end marker with several different ends.

    If pixels are missing, a decoder fills them differently in each. If all decode to the same pixels, no pixel is
    missing. This needs no look at the decoder's warnings, which Pillow does not report.

    Args:
        data: Content of the whole file.

    Returns:
        The file with an end marker, and then with further coded data and an end marker. Nothing if it has an end
        marker, or if scans are missing that its pixels need.
    """
    structure = _structure(data)
    if structure.has_end or not _is_complete(structure):
        return ()
    coded = data.rstrip(b"\xff")  # half an end marker
    # A decoder that waits for the next restart marker ignores everything before it.
    restarts = _RESTART.findall(coded, structure.last_scan_bytes)
    restart = bytes((0xFF, 0xD0 + ((restarts[-1][1] + 1) % 8 if restarts else 0)))
    return (coded + _END_MARKER, *(coded + bits + restart + bits + _END_MARKER for bits in _FURTHER_BITS))


def _is_complete(structure: _Structure) -> bool:
    """Return whether scans have been started for every bit of every coefficient of every component."""
    sent = {
        (component, coefficient)
        for scan in structure.scans
        if scan.low_bit == 0
        for component in scan.components
        for coefficient in range(scan.first, scan.last + 1)
    }
    return bool(sent) and len(sent) == len(structure.components) * _COEFFICIENTS


def _structure(data: bytes, *, scans: int | None = None) -> _Structure:
    """Read a file's frame and its scans.

    Args:
        data: Content of the whole file.
        scans: Number of scans after which reading stops; None reads all.
    """
    progressive, last_scan_bytes, has_end = False, 0, False
    components: tuple[int, ...] = ()
    found: list[_Scan] = []
    for marker, segment, start in _segments(data):
        if marker == _END:
            has_end = True
        elif marker in _FRAMES and len(segment) > 5:
            progressive, components = marker == _PROGRESSIVE, tuple(segment[6 : 6 + 3 * segment[5] : 3])
        elif marker == _SCAN and segment and len(segment) >= 4 + 2 * segment[0]:
            named, spectrum = segment[1 : 1 + 2 * segment[0] : 2], segment[1 + 2 * segment[0] :]
            found.append(_Scan(tuple(named), spectrum[0], min(spectrum[1], _COEFFICIENTS - 1), spectrum[2] & 15))
            last_scan_bytes = start + len(segment)
            if len(found) == scans:
                break
    return _Structure(progressive, components, tuple(found), last_scan_bytes, has_end)


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield the marker of each segment, its content, and where that starts; a cut segment is left out."""
    position = 2
    while found := _NEXT_MARKER.search(data, position):
        marker, start = data[found.end() - 1], found.end()
        if marker == _END:
            yield marker, b"", start
            return
        size = int.from_bytes(data[start : start + 2], "big")
        if start + max(size, 2) > len(data):
            return
        yield marker, data[start + 2 : start + size], start + 2
        position = start + max(size, 2)

"""Read the structure of a JPEG 2000 file: what Pillow does not report of it before it decodes, or not at all."""

from __future__ import annotations

from collections.abc import Iterator

_CODESTREAM = b"\xff\x4f\xff\x51"
_CODING_STYLE, _OF_COMPONENT, _TILE = 0xFF52, 0xFF53, 0xFF90
_ICC = (2, 3)


def samples(data: bytes) -> int:
    """Return the number of samples that the codestream announces: its pixels times its components.

    The decoder allocates memory for these, whatever the boxes around the codestream say.

    Args:
        data: Content of the whole file.

    Returns:
        The number; 0 if there is no codestream.
    """
    size = _codestream(data)[8:42]
    right, bottom, left, top = (int.from_bytes(size[at : at + 4], "big") for at in range(0, 16, 4))
    return max(right - left, 0) * max(bottom - top, 0) * int.from_bytes(size[32:34], "big")


def resolution_levels(data: bytes) -> int:
    """Return how many times the decoder may halve the size; 0 if that differs between components.

    Args:
        data: Content of the whole file.
    """
    stream, position, levels = _codestream(data), 2, 0
    while position + 10 <= len(stream):
        marker = int.from_bytes(stream[position : position + 2], "big")
        if marker == _OF_COMPONENT:
            return 0
        if marker == _TILE:
            break
        if marker == _CODING_STYLE:
            levels = stream[position + 9]
        position += 2 + max(int.from_bytes(stream[position + 2 : position + 4], "big"), 2)
    return min(levels, 32)


def profile(data: bytes) -> bytes | None:
    """Return the ICC profile of a file with boxes; None if it has none.

    Args:
        data: Content of the whole file.
    """
    for kind, content in _boxes(memoryview(data)):
        if kind == b"jp2h":
            for inner, colours in _boxes(content):
                if inner == b"colr" and len(colours) > 3 and colours[0] in _ICC:
                    return bytes(colours[3:])
    return None


def _codestream(data: bytes) -> memoryview:
    if data.startswith(_CODESTREAM):
        return memoryview(data)
    found = (content for kind, content in _boxes(memoryview(data)) if kind == b"jp2c")
    return next(found, memoryview(b""))


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the kind and the content of each box; of a box that the file's end cuts, what there is."""
    position = 0
    while position + 8 <= len(data):
        size_bytes, head = int.from_bytes(data[position : position + 4], "big"), 8
        if size_bytes == 1:
            size_bytes, head = int.from_bytes(data[position + 8 : position + 16], "big"), 16
        end = len(data) if size_bytes == 0 else position + size_bytes
        if end < position + head:
            return
        yield bytes(data[position + 4 : position + 8]), data[position + head : end]
        position = end

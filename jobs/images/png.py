"""Leave out of a PNG file what is no part of the picture, as browsers do, before it is decoded.

Pillow refuses a file for a fault or a size of chunks that only describe the picture: texts, times, resolutions.
"""

from __future__ import annotations

import zlib

_SIGNATURE_BYTES = 8
_CHUNK_BYTES = 12
_MAX_PROFILE_BYTES = 2**20
_TRANSPARENCY_BYTES = {0: range(2, 3), 2: range(6, 7), 3: range(1, 257)}
"""Lengths in bytes that the chunk tRNS may have, by the colour type of the header."""


def essential(data: bytes) -> bytes:
    """Return a PNG file with only those chunks that change the picture.

    These are the critical chunks, and of the ancillary ones transparency, colour profile and EXIF if they are valid.
    Of an animation this leaves the picture that programs without animations show.

    Args:
        data: Content of the whole file; a cut file stays cut.
    """
    view = memoryview(data)
    kept, position, colour_type = [view[:_SIGNATURE_BYTES]], _SIGNATURE_BYTES, -1
    while position + 8 <= len(data):
        size_bytes = int.from_bytes(view[position : position + 4], "big")
        kind, end = data[position + 4 : position + 8], position + _CHUNK_BYTES + size_bytes
        if not (kind.isalpha() and kind.isascii()):
            kept.append(view[position:])
            break
        body = view[position + 8 : position + 8 + size_bytes]
        if kind == b"IHDR" and size_bytes > 9:
            colour_type = body[9] if len(body) > 9 else -1
        critical = not kind[0] & 0x20
        if critical or (end <= len(data) and _changes_the_picture(kind, body, view[end - 4 : end], colour_type)):
            kept.append(view[position:end])
        if kind == b"IEND":
            break
        position = end
    return b"".join(kept)


def _changes_the_picture(kind: bytes, body: memoryview, checksum: memoryview, colour_type: int) -> bool:
    if kind not in (b"tRNS", b"iCCP", b"eXIf") or zlib.crc32(body, zlib.crc32(kind)) != int.from_bytes(checksum, "big"):
        return False
    if kind == b"tRNS":
        return len(body) in _TRANSPARENCY_BYTES.get(colour_type, ())
    return kind == b"eXIf" or _is_small_profile(bytes(body))


def _is_small_profile(body: bytes) -> bool:
    """Return whether the chunk iCCP holds a compressed profile of at most 1 MiB."""
    name, _, packed = body.partition(b"\x00")
    if not name or packed[:1] != b"\x00":
        return False
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(packed[1:], _MAX_PROFILE_BYTES)
    except zlib.error:
        return False
    return unpacking.eof

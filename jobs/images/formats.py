"""Recognise file formats by their first bytes, never by the file's name, and detect truncated images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

_HEAD_BYTES = 1024
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Content:
    """Format of a file, recognised by its first bytes.

    Attributes:
        name: Name for messages: `JPEG`, `HTML`.
        is_image: Whether it is an image format.
        is_read: Whether ingest accepts this image format.
    """

    name: str
    is_image: bool = True
    is_read: bool = False


def _read(name: str) -> Content:
    return Content(name, is_read=True)


def _other(name: str) -> Content:
    return Content(name, is_image=False)


_SIGNATURES = (
    (rb"\xff\xd8\xff", _read("JPEG")),
    (rb"\x89PNG\r\n\x1a\n", _read("PNG")),
    (rb"GIF8[79]a", _read("GIF")),
    (rb"RIFF....WEBP", _read("WEBP")),
    (rb"....ftypavi[fs]", _read("AVIF")),
    (rb"....ftyp(mif1|msf1).{4,60}avi[fs]", _read("AVIF")),
    (rb"II\xbc\x01", Content("JPEG XR")),
    (rb"II[\x2a\x2b]\x00|MM\x00[\x2a\x2b]", _read("TIFF")),
    (rb"BM.{4}\x00{4}|BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\x00{3}", _read("BMP")),  # the size of its header
    (rb"....ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)", _read("HEIC")),
    (rb"8BPS", Content("Photoshop")),
    (rb"\x00\x00[\x01\x02]\x00[^\x00]\x00", Content("ICO")),
    (rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", _read("JPEG 2000")),
    (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", Content("JPEG XL")),
    (rb"%!PS|\xc5\xd0\xd3\xc6", Content("EPS")),
    (rb"%PDF-", Content("PDF")),
    (rb"P[1-7]\s", Content("Netpbm")),
    (rb"qoif", Content("QOI")),
    (rb"DDS ", Content("DDS")),
    (rb"\x76\x2f\x31\x01", Content("OpenEXR")),
    (rb"gimp xcf", Content("GIMP")),
    (rb"icns", Content("Apple icon")),
    (rb"\xd7\xcd\xc6\x9a|\x01\x00\x00\x00.{36} EMF", Content("Windows metafile")),
    (rb".{128}DICM", Content("DICOM")),
    (rb"SIMPLE  =", Content("FITS")),
    (rb"(<\?xml.*?|<!--.*?-->|<!doctype\s+svg.*?|\s+)*<svg[\s>]", Content("SVG")),
    (rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|script|title|meta)\b", _other("HTML")),
    (rb"\s*<(\?xml|[a-z])", _other("XML")),
    (rb"\s*[\[{][\s\"\[{\]}]", _other("JSON")),
    (rb"....ftyp|\x1a\x45\xdf\xa3|RIFF....AVI ", _other("a video")),
    (rb"PK\x03\x04", _other("a ZIP archive")),
    (rb"\x1f\x8b", _other("gzip data")),
    (rb"PAR1", _other("Parquet")),
    (rb"\x7fELF|MZ", _other("a program")),
    (rb"version https://git-lfs", _other("a Git LFS pointer, whose file was never fetched")),
)
SUFFIXES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "JPEG": ("jpg", "jpeg", "jpe", "jfif", "jif", "pjpeg", "pjp"),
        "PNG": ("png", "apng"),
        "GIF": ("gif",),
        "WEBP": ("webp",),
        "AVIF": ("avif", "avifs"),
        "JPEG XR": ("jxr", "wdp", "hdp"),
        "TIFF": ("tif", "tiff", "dng", "arw", "cr2", "cr3", "nef", "orf", "pef", "raf", "rw2"),
        "BMP": ("bmp", "dib"),
        "HEIC": ("heic", "heics", "heif", "heifs", "hif"),
        "Photoshop": ("psd", "psb"),
        "ICO": ("ico", "cur"),
        "JPEG 2000": ("jp2", "j2k", "j2c", "jpc", "jpf", "jpx"),
        "JPEG XL": ("jxl",),
        "EPS": ("eps", "ps", "ai"),
        "PDF": ("pdf",),
        "Netpbm": ("pbm", "pgm", "ppm", "pnm", "pam", "pfm"),
        "QOI": ("qoi",),
        "DDS": ("dds",),
        "OpenEXR": ("exr",),
        "GIMP": ("xcf",),
        "Apple icon": ("icns",),
        "Windows metafile": ("wmf", "emf"),
        "DICOM": ("dcm", "dicom"),
        "FITS": ("fits", "fit", "fts"),
        "SVG": ("svg", "svgz"),
    }
)
"""Suffixes that files of each image format usually have, in lower case, without the dot. They tell which files of a
directory are pictures; a file's format is recognised by its bytes alone. Raw files of cameras are with TIFF, on which
most of them are built."""

_HEIC_EXTENT = re.compile(rb"ispe\x00{4}(.{4})(.{4})", re.DOTALL)
_COMPILED = tuple((re.compile(pattern, re.DOTALL | re.IGNORECASE), content) for pattern, content in _SIGNATURES)


def recognise(data: bytes) -> Content:
    """Recognise the format of a file by its first bytes.

    Args:
        data: Content of the whole file.

    Returns:
        The format of the first known signature that matches; else text, or data of no known kind.
    """
    head = data[:_HEAD_BYTES].removeprefix(_BOM)
    for pattern, content in _COMPILED:
        if pattern.match(head):
            return content
    if not head.strip(b"\x00"):
        return _other("zero bytes only")
    control = sum(byte < 32 and byte not in b"\t\n\r\f" for byte in head)
    return _other("text" if control == 0 and _is_utf8(head) else "data of no known kind")


def ends_early(content: Content, data: bytes) -> bool:
    """Return whether an image that failed to decode is truncated, by the structure of its format.

    A truncated image is more probably a broken transfer than a damaged original.

    Args:
        content: Format of the file, as `recognise` returns it.
        data: Content of the whole file.

    Returns:
        True if the format's end marker is missing or its header announces more bytes than the file has.
    """
    match content.name:
        case "JPEG":
            return b"\xff\xd9" not in data[-4096:]
        case "PNG":
            return b"IEND" not in data[-4096:]
        case "GIF":
            return not data.rstrip(b"\x00").endswith(b";")
        case "WEBP":
            return _u32_le(data, 4) + 8 > len(data)
        case "BMP":
            return _u32_le(data, 2) > len(data)
        case "TIFF":
            return _tiff_directory_end(data) > len(data)
        case "JPEG 2000":
            return b"\xff\xd9" not in data[-4096:]
        case "AVIF" | "HEIC":
            return _boxes_end(data) > len(data)
    return False


def webp_pixels(data: bytes) -> int:
    """Return the number of pixels that a WebP header announces.

    Pillow allocates memory for them before it reports the size, so the size must be checked first.

    Args:
        data: Content of a file that `recognise` reports as WEBP.

    Returns:
        Width times height in pixels; 0 if the header is invalid.
    """
    head = data[12:30].ljust(18, b"\x00")
    if head.startswith(b"VP8X"):
        return (int.from_bytes(head[12:15], "little") + 1) * (int.from_bytes(head[15:18], "little") + 1)
    if head.startswith(b"VP8L"):
        bits = int.from_bytes(head[9:13], "little")
        return ((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1)
    if head.startswith(b"VP8 "):
        return (int.from_bytes(head[14:16], "little") & 0x3FFF) * (int.from_bytes(head[16:18], "little") & 0x3FFF)
    return 0


def heic_pixels(data: bytes) -> int:
    """Return the number of pixels of the largest picture or tile that a HEIC file announces.

    The decoder allocates memory for these, of which the file may show only a part.

    Args:
        data: Content of a file that `recognise` reports as HEIC.
    """
    sizes = (found.groups() for found in _HEIC_EXTENT.finditer(data))
    return max((int.from_bytes(width, "big") * int.from_bytes(height, "big") for width, height in sizes), default=0)


def webp_padded(data: bytes) -> bytes:
    """Return a WebP file with the byte that pads its last chunk to an even length, if only that byte is missing.

    Args:
        data: Content of a file that `recognise` reports as WEBP.
    """
    position, size_bytes = 12, 0
    while position + 8 <= len(data):
        size_bytes = _u32_le(data, position + 4)
        position += 8 + size_bytes
        if position == len(data):
            break
        position += size_bytes % 2
    return data + b"\x00" if position == len(data) and size_bytes % 2 else data


def _tiff_directory_end(data: bytes) -> int:
    """Return the byte offset at which a TIFF's first directory should end.

    Most writers put that directory at the end of the file. Each of its entries takes 12 bytes.
    """
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    start = int.from_bytes(data[4:8].ljust(4, b"\xff"), order)
    entries = int.from_bytes(data[start : start + 2], order)
    return start + 2 + 12 * entries + 4


def _boxes_end(data: bytes) -> int:
    """Return the byte offset at which the file's last ISO box ends, according to the box sizes."""
    position = 0
    while position + 8 <= len(data):
        size_bytes = int.from_bytes(data[position : position + 4], "big")
        if size_bytes == 0:
            return len(data)
        if size_bytes < 8:
            break
        position += size_bytes
    return position


def _u32_le(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], "little")


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4  # the head may end inside a character
    return True

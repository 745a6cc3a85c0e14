"""Faults in what only describes a picture: the picture is stored as browsers show it."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jobs.images import png
from jobs.images.normalise import normalise
from tests.unit.images.pictures import (
    RED,
    WHITE,
    assert_colour,
    encode,
    pixels,
    plain,
    rejection,
    rgb_profile_with_red_and_green_swapped,
)


def chunk(kind: bytes, body: bytes, *, checksum: int | None = None) -> bytes:
    found = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", found)


def with_chunks(data: bytes, *chunks: bytes, before: bytes = b"IDAT") -> bytes:
    at = data.index(before) - 4
    return data[:at] + b"".join(chunks) + data[at:]


PNG = encode(plain(), "PNG")
BIG = zlib.compress(bytes(3 * 2**20))
XMP = b'<x:xmpmeta xmlns:tiff="http://ns.adobe.com/tiff/1.0/"><a tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize(
    "odd",
    [
        chunk(b"zTXt", b"Comment\x00\x00" + BIG),
        chunk(b"iTXt", b"Comment\x00\x01\x00\x00\x00" + BIG),
        chunk(b"iCCP", b"profile\x00\x00" + BIG),
        chunk(b"iCCP", b"profile\x00\x07" + zlib.compress(b"x")),
        chunk(b"iCCP", b"profile\x00\x00" + zlib.compress(bytes(900))[:-9]),
        chunk(b"iCCP", b"profile"),
        chunk(b"tEXt", b"Comment\x00x", checksum=1),
        chunk(b"tEXt", b""),
        chunk(b"pHYs", b"\x00\x01\x02"),
        chunk(b"pHYs", b""),
        chunk(b"gAMA", b"\x00"),
        chunk(b"cHRM", b"\x00"),
        chunk(b"sRGB", b""),
        chunk(b"acTL", b""),
        chunk(b"fcTL", b"\x00"),
        chunk(b"tRNS", b"\x00"),
        chunk(b"tRNS", struct.pack(">3H", *RED), checksum=1),
        chunk(b"eXIf", b"MM\x00\x2a\x00\x00\x00\x08" + bytes(9), checksum=1),
        chunk(b"zzZz", b"of another program"),
    ],
)
def test_an_odd_chunk_of_a_png_changes_nothing(odd: bytes) -> None:
    assert normalise(with_chunks(PNG, odd)) == normalise(PNG)
    if odd[4:8] not in (b"tRNS", b"iCCP"):  # these are valid only before the pixels
        assert normalise(with_chunks(PNG, odd, before=b"IEND")) == normalise(PNG)


def test_texts_of_more_than_64_mib_in_all() -> None:
    text = chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(2**20)))
    assert normalise(with_chunks(PNG, *[text] * 70)) == normalise(PNG)


def test_valid_transparency_profile_and_exif_of_a_png_still_count() -> None:
    assert_colour(normalise(with_chunks(PNG, chunk(b"tRNS", struct.pack(">3H", *RED)))), WHITE)
    profile = zlib.compress(rgb_profile_with_red_and_green_swapped())
    assert_colour(normalise(with_chunks(PNG, chunk(b"iCCP", b"p\x00\x00" + profile))), (0, 255, 0), within=8)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = normalise(with_chunks(PNG, chunk(b"eXIf", exif.tobytes()[6:]), before=b"IEND"))
    assert (turned.width_px, turned.height_px) == (30, 40)


def test_a_fault_in_the_picture_itself_is_still_a_rejection() -> None:
    bad_header = PNG[:29] + bytes(4) + PNG[33:]
    assert rejection(bad_header).reason == "corrupt"
    assert rejection(with_chunks(PNG, chunk(b"a\x00bc", b""))).reason == "corrupt"
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (60, 50, 3), dtype=np.uint8))
    data = encode(noise, "PNG")
    for end in (9, 20, 33, 40, len(data) // 2):
        assert rejection(data[:end]).reason == "truncated"


def test_only_needed_chunks_reach_the_decoder() -> None:
    data = with_chunks(PNG, chunk(b"tEXt", b"Comment\x00x")) + b"after the end"
    assert png.essential(data) == PNG
    assert png.essential(PNG) == PNG


@pytest.mark.parametrize("reserved", [b"\x01\x00\x00\x00", b"Made"])
@pytest.mark.parametrize("mode", ["RGB", "L", "1"])
def test_a_bmp_with_something_in_its_reserved_bytes(reserved: bytes, mode: str) -> None:
    data = encode(plain().convert(mode), "BMP")
    assert data[6:10] == bytes(4)
    assert normalise(data[:6] + reserved + data[10:]) == normalise(data)


def test_a_text_that_begins_like_a_bmp_is_text() -> None:
    assert rejection(b"BMW and other cars of 1999").reason == "not_an_image"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_an_orientation_in_xmp_alone_turns_nothing(form: str) -> None:
    if form == "PNG":
        data = with_chunks(PNG, chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + XMP))
    elif form == "TIFF":
        data = encode(plain(), form, tiffinfo={700: XMP})
    else:
        data = encode(plain(), form, xmp=XMP)
    assert XMP in data
    stored = normalise(data)
    assert (stored.width_px, stored.height_px) == (40, 30)
    assert pixels(stored).shape == (30, 40, 3)

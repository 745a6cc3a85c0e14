"""Images that cannot be used: the reason and its detail, and that no bytes at all escape as another error."""

from __future__ import annotations

import pickle
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from jobs.images.normalise import Rejected, normalise
from sql.records import REJECTION_REASONS
from tests.extent import extent
from tests.unit.images.pictures import (
    HEIC_FILES,
    assert_colour,
    encode,
    pixels,
    plain,
    rejection,
    rgb_profile_with_red_and_green_swapped,
)


class TestRejections:
    @pytest.mark.parametrize(
        ("data", "reason", "says"),
        [
            (b"", "empty", "no bytes"),
            (b"<!DOCTYPE html><html><body>404</body></html>", "not_an_image", "HTML"),
            (b"\n <html lang=en>", "not_an_image", "HTML"),
            (b'{"error": "not found"}', "not_an_image", "JSON"),
            (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "not_an_image", "XML"),
            (b"Not found\n", "not_an_image", "text"),
            (b"PK\x03\x04" + bytes(30), "not_an_image", "ZIP"),
            (bytes(100), "not_an_image", "zero bytes"),
            (bytes(range(1, 200)), "not_an_image", "no known kind"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "not_an_image", "Git LFS"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format", "SVG"),
            (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- x -->\n<svg>", "unsupported_format", "SVG"),
            (b"8BPS\x00\x01" + bytes(30), "unsupported_format", "Photoshop"),
            (b"\x00\x00\x00\x18ftypheic" + bytes(20), "corrupt", "HEIC"),
            (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic", "corrupt", "HEIC"),
            (b"\x00\x00\x01\x00\x01\x00" + bytes(30), "unsupported_format", "ICO"),
            (b"%PDF-1.7\n", "unsupported_format", "PDF"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported_format", "EPS"),
            (b"\xff\x0a" + bytes(30), "unsupported_format", "JPEG XL"),
            (encode(plain(size=(7, 300)), "JPEG2000"), "too_small", "7 x 300 px"),
            (encode(plain(), "PPM"), "unsupported_format", "Netpbm"),
            (encode(plain(size=(1, 1)), "PNG"), "too_small", "1 x 1 px"),
            (encode(plain(size=(7, 300)), "JPEG"), "too_small", "7 x 300 px"),
            (encode(plain(size=(8, 65_501)), "PNG"), "too_large", "65501"),
            (encode(plain(), "PNG").replace(b"IDAT", b"IDAX", 1), "corrupt", "PNG"),
            (b"\xff\xd8\xff", "truncated", "JPEG"),
        ],
    )
    def test_reason_and_detail(self, data: bytes, reason: str, says: str) -> None:
        found = rejection(data)
        assert found.reason == reason
        assert says in found.detail

    @pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "MPO", "JPEG2000"])
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
    def test_truncated(self, form: str, share: float) -> None:
        noise = np.random.default_rng(1).integers(0, 255, (120, 90, 3), dtype=np.uint8)
        data = encode(Image.fromarray(noise), form)
        assert rejection(data[: int(len(data) * share)]).reason == "truncated"

    def test_a_tiff_whose_compressed_strips_are_cut_off(self, capfd: pytest.CaptureFixture[str]) -> None:
        noise = np.random.default_rng(1).integers(0, 255, (120, 90, 3), dtype=np.uint8)
        data = encode(Image.fromarray(noise), "TIFF", compression="tiff_lzw")
        assert rejection(data[:-8]).reason == "truncated"
        middle = len(data) // 2
        assert rejection(data[:middle] + bytes(500) + data[middle + 500 :]).reason == "corrupt"
        assert capfd.readouterr().err == "", "libtiff must not write to standard error"

    def test_an_image_that_pillow_warns_about_is_good_all_the_same(self, recwarn: pytest.WarningsRecorder) -> None:
        data = encode(plain(), "PNG")
        chunk = b"acTL" + bytes(8)  # an animation of no frames
        at = data.index(b"IDAT") - 4
        data = data[:at] + struct.pack(">I", 8) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[at:]
        assert_colour(normalise(data), (254, 0, 0))
        assert not recwarn.list

    @pytest.mark.parametrize("width_px", [30_000, 8_001])
    def test_a_pixel_bomb_is_refused_by_its_header(self, width_px: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("PIL.Image.core.new", _never)
        monkeypatch.setattr("PIL.Image.core.fill", _never)
        assert rejection(_png_header(width_px, width_px)).reason == "too_large"

    def test_a_webp_bomb_is_refused_before_its_decoder_allocates(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from PIL import WebPImagePlugin

        monkeypatch.setattr(WebPImagePlugin, "_webp", None)
        for chunk in (
            b"VP8X\x0a\x00\x00\x00\x10\x00\x00\x00" + (15_999).to_bytes(3, "little") * 2,
            b"VP8L\x0a\x00\x00\x00\x2f" + (15_999 | 15_999 << 14).to_bytes(4, "little"),
            b"VP8 \x0a\x00\x00\x00\x00\x00\x00\x9d\x01\x2a" + (16_000).to_bytes(2, "little") * 2,
        ):
            data = b"RIFF" + (len(chunk) + 4).to_bytes(4, "little") + b"WEBP" + chunk
            assert rejection(data).detail.startswith("its header promises 256,000,000 pixels")

    def test_details_are_one_printable_line(self) -> None:
        found = Rejected("corrupt", "a\x1b[31m\nb\t\x00c " + "x" * 500)
        assert found.detail.startswith("a [31m b c xxx")
        assert len(found.detail) == 300

    def test_a_rejection_can_be_pickled(self) -> None:
        found = pickle.loads(pickle.dumps(Rejected("empty", "no bytes")))
        assert (found.reason, found.detail) == ("empty", "no bytes")


def _never(*_: Any) -> Any:
    raise AssertionError("pixels were allocated for an image that is over the limit")


def _png_header(width_px: int, height_px: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    idat = b"IDAT" + zlib.compress(bytes(1000))
    return header + struct.pack(">I", len(idat) - 4) + idat + struct.pack(">I", zlib.crc32(idat))


def _real_images() -> list[bytes]:
    noise = np.random.default_rng(0).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((24, 18))
    exif = Image.Exif()
    exif[0x0112] = 6
    icc = rgb_profile_with_red_and_green_swapped()
    paletted = image.convert("P")
    frames = {"save_all": True, "append_images": [image.rotate(180)]}
    return [
        encode(image, "JPEG", exif=exif, icc_profile=icc),
        encode(image, "JPEG", progressive=True),
        encode(image.convert("CMYK"), "JPEG"),
        encode(image, "PNG", exif=exif, icc_profile=icc),
        encode(paletted, "PNG", transparency=3),
        encode(image.convert("L").convert("I;16"), "PNG"),
        encode(image, "PNG", **frames),
        encode(image, "GIF", **frames),
        encode(paletted, "GIF", transparency=0),
        encode(image, "WEBP", exif=exif),
        encode(image, "WEBP", lossless=True, **frames),
        encode(image, "BMP"),
        encode(image, "AVIF", exif=exif),
        encode(image, "TIFF"),
        encode(image, "TIFF", compression="tiff_lzw", exif=exif),
        encode(image, "TIFF", compression="jpeg"),
        encode(image.convert("1"), "TIFF", compression="group4"),
        encode(image.convert("F"), "TIFF"),
        encode(image, "JPEG2000"),
        encode(image.convert("RGBA"), "JPEG2000", no_jp2=True),
        *(file.read_bytes() for file in HEIC_FILES),
    ]


REAL_IMAGES = _real_images()


@st.composite
def damaged_images(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(REAL_IMAGES)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.one_of(st.integers(0, 120), st.integers(0, len(data)))) % max(len(data), 1)
        match draw(st.sampled_from(["change", "cut", "remove", "insert"])):
            case "change":
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
            case "cut":
                del data[at:]
            case "remove":
                del data[at : at + draw(st.integers(1, 40))]
            case "insert":
                data[at:at] = draw(st.binary(max_size=20))
    return bytes(data)


@settings(max_examples=extent(500, of_all=1500), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(damaged_images(), st.binary(max_size=300)))
@pytest.mark.filterwarnings("error")
def test_any_bytes_raise_only_rejected(data: bytes) -> None:
    try:
        stored = normalise(data)
    except Rejected as rejected:
        assert rejected.reason in REJECTION_REASONS
        assert 0 < len(rejected.detail) <= 300
        assert rejected.detail.isprintable()
        assert "object at 0x" not in rejected.detail
    else:
        assert min(stored.width_px, stored.height_px) <= 320
        assert pixels(stored).shape == (stored.height_px, stored.width_px, 3)

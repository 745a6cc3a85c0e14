"""Source images: what is read, what is made of every kind of image, and that no bytes at all escape as an error."""

from __future__ import annotations

import io
import os
import pickle
import socket
import struct
import time
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from jobs.images import MAX_SOURCE_BYTES, NormalisedImage, Rejected, normalise, read_source, resolve_uri
from jobs.schema import REJECTION_REASONS

BASE = Path("/catalog")
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def plain(colour: Any = RED, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, colour)


def palette(index: int) -> Image.Image:
    image = plain(index, mode="P")
    image.putpalette(bytes(range(256)) * 3)
    return image


def pixels(stored: NormalisedImage) -> np.ndarray[Any, Any]:
    """Decode what was stored: int (height_px, width_px, 3)."""
    image = Image.open(io.BytesIO(stored.jpeg))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (stored.width_px, stored.height_px))
    return np.asarray(image).astype(int)


def assert_colour(stored: NormalisedImage, colour: tuple[int, int, int], *, within: int = 4) -> None:
    mean = pixels(stored).mean(axis=(0, 1))
    assert np.abs(mean - colour).max() <= within, f"expected {colour}, stored {mean.round(1)}"


def rejection(data: bytes) -> Rejected:
    with pytest.raises(Rejected) as caught:
        normalise(data)
    return caught.value


class TestResolveUri:
    @pytest.mark.parametrize(
        ("image_uri", "path"),
        [
            ("red.jpg", "/catalog/red.jpg"),
            ("shirts/red shirt.jpg", "/catalog/shirts/red shirt.jpg"),
            ("/photos/red.jpg", "/photos/red.jpg"),
            ("100%20.jpg", "/catalog/100%20.jpg"),  # a plain path is literal
            ("a:b.jpg", "/catalog/a:b.jpg"),
            ("12:30:00.jpg", "/catalog/12:30:00.jpg"),
            ("file:///photos/red.jpg", "/photos/red.jpg"),
            ("FILE:///photos/red.jpg", "/photos/red.jpg"),
            ("file://localhost/photos/red.jpg", "/photos/red.jpg"),
            ("file:/photos/red.jpg", "/photos/red.jpg"),
            ("file:shirts/red.jpg", "/catalog/shirts/red.jpg"),
            ("file:///photos/red%20shirt%23%3F%C3%A9.jpg", "/photos/red shirt#?é.jpg"),
        ],
    )
    def test_local_paths_and_file_uris(self, image_uri: str, path: str) -> None:
        assert resolve_uri(image_uri, BASE) == Path(path)

    def test_percent_encoded_bytes_that_are_no_utf8_still_name_their_file(self, tmp_path: Path) -> None:
        name = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
        Path(os.fsdecode(name)).write_bytes(b"x")
        assert read_source(resolve_uri(f"file://{tmp_path}/caf%E9.jpg", BASE)) == b"x"

    @pytest.mark.parametrize(
        "image_uri",
        [
            "",
            "  ",
            "http://shop.example/red.jpg",
            "s3://bucket/red.jpg",
            "hdfs://node/red.jpg",
            "data:image/png;base64,iVBORw0KGgo=",
            "file://otherhost/red.jpg",
            "file://",
            "file:",
            "file:///",
            "red\x00.jpg",
            "file:///red%00.jpg",
            "C:\\photos\\red.jpg",
            "d:/photos/red.jpg",
            "\\\\server\\photos\\red.jpg",
            "red\ud800.jpg",
        ],
    )
    def test_everything_else_is_refused(self, image_uri: str) -> None:
        with pytest.raises(Rejected) as caught:
            resolve_uri(image_uri, BASE)
        assert caught.value.reason == "uri_not_allowed"

    @given(st.text())
    def test_no_text_escapes_as_another_error(self, image_uri: str) -> None:
        try:
            read_source(resolve_uri(image_uri, Path("/nowhere/at/all")), max_bytes=10)
        except Rejected as rejected:
            assert rejected.reason in REJECTION_REASONS


class TestReadSource:
    def read(self, path: Path, max_bytes: int = MAX_SOURCE_BYTES) -> str:
        with pytest.raises(Rejected) as caught:
            read_source(path, max_bytes=max_bytes)
        return caught.value.reason

    def test_returns_the_bytes(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"12345")
        assert read_source(tmp_path / "a", max_bytes=5) == b"12345"

    def test_missing(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"1")
        (tmp_path / "dangling").symlink_to(tmp_path / "gone")
        assert self.read(tmp_path / "gone") == "missing"
        assert self.read(tmp_path / "file" / "below") == "missing"
        assert self.read(tmp_path / "dangling") == "missing"

    def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / "a").touch()
        assert self.read(tmp_path / "a") == "empty"

    def test_only_regular_files_are_opened(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "socket"))
            for path in (tmp_path, tmp_path / "fifo", tmp_path / "socket", Path("/dev/zero")):
                assert self.read(path) == "unreadable", path

    def test_a_fifo_that_replaces_the_file_after_the_first_look_does_not_hang(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "regular").write_bytes(b"1")
        os.mkfifo(tmp_path / "fifo")
        before = (tmp_path / "regular").stat()
        monkeypatch.setattr(Path, "stat", lambda self, **_: before)
        assert self.read(tmp_path / "fifo") == "unreadable"

    def test_a_large_file_is_refused_unread(self, tmp_path: Path) -> None:
        with (tmp_path / "sparse").open("wb") as file:
            file.truncate(2**40)
        started = time.perf_counter()
        assert self.read(tmp_path / "sparse") == "too_large"
        assert time.perf_counter() - started < 1

    @pytest.mark.parametrize("moment", ["open", "fstat"])
    def test_a_file_that_grows_while_it_is_read_is_not_read_past_the_limit(
        self, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "growing"
        path.write_bytes(b"1")
        original = getattr(os, moment)

        def call_and_grow(*arguments: Any) -> Any:
            result = original(*arguments)
            with path.open("ab") as file:
                file.write(b"1" * 10)
            return result

        monkeypatch.setattr(os, moment, call_and_grow)
        assert self.read(path, max_bytes=10) == "too_large"

    def test_forbidden(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a").write_bytes(b"1")

        def refuse(*_: Any) -> int:  # root may read a file of mode 000, so the refusal is played
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
        assert self.read(tmp_path / "a") == "unreadable"


class TestColours:
    @pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "MPO"])
    def test_every_accepted_format(self, form: str) -> None:
        assert_colour(normalise(encode(plain((200, 40, 90)), form)), (200, 40, 90), within=6)

    @pytest.mark.parametrize(
        ("image", "form", "options"),
        [
            (plain((9, 9, 9, 0), mode="RGBA"), "PNG", {}),
            (plain((9, 0), mode="LA"), "PNG", {}),
            (plain((9, 9, 9, 0), mode="RGBA"), "WEBP", {"lossless": True}),
            (plain((9, 9, 9, 0), mode="RGBA"), "TIFF", {}),
            (palette(3), "GIF", {"transparency": 3}),
            (palette(3), "PNG", {"transparency": 3}),
            (palette(3), "PNG", {"transparency": b"\xff\xff\xff\x00"}),
            (plain((9, 8, 7)), "PNG", {"transparency": (9, 8, 7)}),
            (plain(9, mode="L"), "PNG", {"transparency": 9}),
            (plain(0, mode="1"), "PNG", {"transparency": 0}),
            (plain(900, mode="I;16"), "PNG", {"transparency": 900}),
        ],
        ids=lambda value: value.mode if isinstance(value, Image.Image) else None,
    )
    def test_what_is_transparent_is_white(self, image: Image.Image, form: str, options: dict[str, Any]) -> None:
        assert_colour(normalise(encode(image, form, **options)), WHITE)

    def test_half_transparent_black_is_grey_and_what_lies_under_it_does_not_bleed(self) -> None:
        image = plain((0, 0, 0, 128), mode="RGBA", size=(800, 800))
        assert_colour(normalise(encode(image, "PNG")), (127, 127, 127))
        image = plain((0, 0, 0, 0), mode="RGBA", size=(800, 800))
        image.paste((255, 255, 255, 255), (0, 0, 401, 800))
        assert pixels(normalise(encode(image, "PNG"))).min() > 250

    def test_a_16_bit_colour_key_is_found_after_the_decoder_has_halved_its_bits(self) -> None:
        def chunk(kind: bytes, body: bytes) -> bytes:
            return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

        sample = struct.pack(">3H", 5000, 6000, 7000)
        data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 10, 10, 16, 2, 0, 0, 0))
        data += chunk(b"tRNS", sample) + chunk(b"IDAT", zlib.compress((b"\x00" + sample * 10) * 10))
        assert_colour(normalise(data + chunk(b"IEND", b"")), WHITE)

    @pytest.mark.parametrize("form", ["JPEG", "TIFF"])
    def test_cmyk_red_stays_red(self, form: str) -> None:
        assert_colour(normalise(encode(plain((0, 255, 255, 0), mode="CMYK"), form)), (254, 0, 0), within=6)

    @pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "LAB"])
    def test_other_modes_keep_their_white_and_black(self, mode: str) -> None:
        for grey in (0, 255):
            if mode == "LAB":
                image = plain((grey, 128, 128), mode="LAB")
            else:
                image = plain(grey, mode="L").convert(mode, dither=Image.Dither.NONE)
            form = "TIFF" if mode == "LAB" else "PNG"
            assert_colour(normalise(encode(image, form)), (grey,) * 3, within=5)

    @pytest.mark.parametrize(
        ("values", "grey"),
        [
            (np.full((9, 9), 65535, np.uint16), 255),
            (np.full((9, 9), 32768, np.uint16), 128),
            (np.full((9, 9), 12850, np.uint16), 50),
            (np.full((9, 9), 200, np.int32), 200),
            (np.full((9, 9), 32768, np.int32), 128),
            (np.full((9, 9), 0.5, np.float32), 128),
            (np.full((9, 9), 128.0, np.float32), 128),
            (np.full((9, 9), np.nan, np.float32), 0),
            (np.full((9, 9), -np.inf, np.float32), 0),
        ],
    )
    def test_wide_greys_are_scaled_and_not_clipped(self, values: np.ndarray[Any, Any], grey: int) -> None:
        forms = ("PNG", "TIFF") if values.dtype == np.uint16 else ("TIFF",)
        for form in forms:
            assert_colour(normalise(encode(Image.fromarray(values), form)), (grey,) * 3, within=1)

    def test_16_bit_grey_of_either_byte_order_and_with_white_as_zero(self) -> None:
        image = Image.fromarray(np.full((9, 9), 12850, np.uint16))
        inverted = encode(image, "TIFF", tiffinfo={262: 0})
        assert_colour(normalise(inverted), (205, 205, 205), within=1)
        big_endian = Image.fromarray(np.full((9, 9), 12850, ">u2"))
        assert_colour(normalise(encode(big_endian, "TIFF")), (50, 50, 50), within=1)

    def test_an_embedded_profile_is_converted_to_srgb_and_not_kept(self) -> None:
        swapped = _rgb_profile_with_red_and_green_swapped()
        stored = normalise(encode(plain((250, 10, 10)), "PNG", icc_profile=swapped))
        assert_colour(stored, (10, 250, 10), within=6)
        assert "icc_profile" not in Image.open(io.BytesIO(stored.jpeg)).info

    @pytest.mark.parametrize("profile", [b"", b"not a profile", bytes(200)])
    def test_a_broken_profile_is_dropped(self, profile: bytes) -> None:
        assert_colour(normalise(encode(plain(), "PNG", icc_profile=profile)), (254, 0, 0))

    def test_a_profile_for_other_colours_than_the_image_has_is_dropped(self) -> None:
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        assert_colour(normalise(encode(plain(77, mode="L"), "PNG", icc_profile=srgb)), (77, 77, 77))


def _rgb_profile_with_red_and_green_swapped() -> bytes:
    """Return sRGB's own profile with its rXYZ and gXYZ tags exchanged, under another description."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    entries = [132 + 12 * index for index in range(int.from_bytes(profile[128:132], "big"))]
    tags = {bytes(profile[at : at + 4]): at for at in entries}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "xxxx".encode("utf-16-be"))


class TestShape:
    # Where the top left, top right, bottom left and bottom right of the file's pixels belong, by EXIF orientation.
    CORNERS: ClassVar = (RED, GREEN, BLUE, WHITE)
    UPRIGHT: ClassVar = {
        1: (RED, GREEN, BLUE, WHITE),
        2: (GREEN, RED, WHITE, BLUE),
        3: (WHITE, BLUE, GREEN, RED),
        4: (BLUE, WHITE, RED, GREEN),
        5: (RED, BLUE, GREEN, WHITE),
        6: (BLUE, RED, WHITE, GREEN),
        7: (WHITE, GREEN, BLUE, RED),
        8: (GREEN, WHITE, RED, BLUE),
    }

    @pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation(self, orientation: int, form: str) -> None:
        image = plain(WHITE, size=(64, 48))
        for colour, corner in zip(self.CORNERS, [(0, 0), (32, 0), (0, 24), (32, 24)], strict=True):
            image.paste(colour, (*corner, corner[0] + 32, corner[1] + 24))
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = normalise(encode(image, form, exif=exif))
        found = pixels(stored)
        assert found.shape[:2] == ((48, 64) if orientation < 5 else (64, 48))
        corners = (found[4, 4], found[4, -5], found[-5, 4], found[-5, -5])
        for corner, colour in zip(corners, self.UPRIGHT[orientation], strict=True):
            assert np.abs(corner - colour).max() < 40, (corner, colour)
        assert not Image.open(io.BytesIO(stored.jpeg)).getexif()

    @pytest.mark.parametrize(
        ("size", "stored_size"),
        [
            ((400, 533), (320, 426)),
            ((533, 400), (426, 320)),
            ((3000, 4000), (320, 427)),
            ((320, 320), (320, 320)),
            ((321, 2000), (320, 1994)),
            ((100, 50), (100, 50)),
            ((8, 8), (8, 8)),
            ((8, 20_000), (8, 20_000)),
            ((40_000, 640), (20_000, 320)),
        ],
    )
    @pytest.mark.parametrize("form", ["JPEG", "PNG"])
    def test_the_short_side_is_at_most_320_px_and_never_enlarged(
        self, size: tuple[int, int], stored_size: tuple[int, int], form: str
    ) -> None:
        stored = normalise(encode(plain(size=size), form))
        assert (stored.width_px, stored.height_px) == stored_size
        assert_colour(stored, RED)

    def test_decoding_a_large_jpeg_at_a_fraction_loses_nothing_that_the_eye_would_see(self) -> None:
        noise = np.random.default_rng(3).integers(0, 255, (60, 40, 3), dtype=np.uint8)
        large = Image.fromarray(noise).resize((1600, 2400), Image.Resampling.BICUBIC)
        from_png = pixels(normalise(encode(large, "PNG")))
        from_jpeg = pixels(normalise(encode(large, "JPEG", quality=98)))
        assert np.abs(from_png - from_jpeg).mean() < 2

    def test_fine_stripes_are_averaged_and_not_sampled(self) -> None:
        stripes = np.zeros((1280, 1280, 3), np.uint8)
        stripes[:, ::2] = 255
        assert_colour(normalise(encode(Image.fromarray(stripes), "PNG")), (128, 128, 128))
        assert pixels(normalise(encode(Image.fromarray(stripes), "PNG"))).std() < 5

    @pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
    def test_the_first_frame_of_an_animation(self, form: str) -> None:
        data = encode(plain(RED), form, save_all=True, append_images=[plain(BLUE), plain(GREEN)])
        assert_colour(normalise(data), (254, 0, 0), within=6)

    def test_the_same_source_gives_the_same_bytes_without_its_comment(self) -> None:
        data = encode(plain(), "JPEG", comment=b"secret", dpi=(300, 300))
        assert normalise(data) == normalise(data)
        assert b"secret" not in normalise(data).jpeg


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
            (b"\x00\x00\x00\x18ftypheic" + bytes(20), "unsupported_format", "HEIC"),
            (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic", "unsupported_format", "HEIC"),
            (b"\x00\x00\x01\x00\x01\x00" + bytes(30), "unsupported_format", "ICO"),
            (b"%PDF-1.7\n", "unsupported_format", "PDF"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported_format", "EPS"),
            (encode(plain(), "JPEG2000"), "unsupported_format", "JPEG 2000"),
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

    @pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "MPO"])
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

    def test_a_rejection_survives_the_way_between_processes(self) -> None:
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
    icc = _rgb_profile_with_red_and_green_swapped()
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


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(damaged_images(), st.binary(max_size=300)))
@pytest.mark.filterwarnings("error")
def test_no_bytes_escape_as_another_error(data: bytes) -> None:
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

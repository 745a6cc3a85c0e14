"""What is made of every kind of image: its colours, its way up, its size."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image, ImageCms

from jobs.images import pixels as image_pixels
from jobs.images.normalise import normalise
from jobs.images.pixels import _transform_to_srgb, eight_bit
from tests.unit.images.pictures import (
    BLUE,
    GREEN,
    RED,
    WHITE,
    assert_colour,
    encode,
    palette,
    pixels,
    plain,
    rgb_profile_with_red_and_green_swapped,
)


class TestColours:
    @pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "MPO", "JPEG2000"])
    def test_every_accepted_format_is_decoded(self, form: str) -> None:
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
    def test_transparent_pixels_become_white(self, image: Image.Image, form: str, options: dict[str, Any]) -> None:
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

    def test_a_wide_grey_has_one_white_from_top_to_bottom(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is converted in bands, so that a large one takes little memory; the brightest of all of them is white."""
        monkeypatch.setattr(image_pixels, "_BAND_PIXELS", 50)
        values = np.repeat(np.linspace(0, 3000, 40, dtype=np.float32)[:, None], 9, axis=1)
        grey = np.asarray(eight_bit(Image.fromarray(values)))
        np.testing.assert_allclose(grey[:, 0], values[:, 0] / 65535 * 255, atol=0.51)
        assert grey.shape == values.shape

    def test_16_bit_grey_of_either_byte_order_and_with_white_as_zero(self) -> None:
        image = Image.fromarray(np.full((9, 9), 12850, np.uint16))
        inverted = encode(image, "TIFF", tiffinfo={262: 0})
        assert_colour(normalise(inverted), (205, 205, 205), within=1)
        big_endian = Image.fromarray(np.full((9, 9), 12850, ">u2"))
        assert_colour(normalise(encode(big_endian, "TIFF")), (50, 50, 50), within=1)

    def test_an_embedded_profile_is_converted_to_srgb_and_not_kept(self) -> None:
        swapped = rgb_profile_with_red_and_green_swapped()
        stored = normalise(encode(plain((250, 10, 10)), "PNG", icc_profile=swapped))
        assert_colour(stored, (10, 250, 10), within=6)
        assert "icc_profile" not in Image.open(io.BytesIO(stored.jpeg)).info

    @pytest.mark.parametrize("profile", [b"", b"not a profile", bytes(200)])
    def test_a_broken_profile_is_dropped(self, profile: bytes) -> None:
        assert_colour(normalise(encode(plain(), "PNG", icc_profile=profile)), (254, 0, 0))

    def test_a_huge_profile_is_dropped_and_not_kept_with_the_process(self) -> None:
        kept = _transform_to_srgb.cache_info().currsize
        huge = rgb_profile_with_red_and_green_swapped() + bytes(2**20)
        assert_colour(normalise(encode(plain((250, 10, 10)), "TIFF", icc_profile=huge)), (250, 10, 10), within=6)
        assert _transform_to_srgb.cache_info().currsize == kept

    def test_a_profile_for_other_colours_than_the_image_has_is_dropped(self) -> None:
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        assert_colour(normalise(encode(plain(77, mode="L"), "PNG", icc_profile=srgb)), (77, 77, 77))


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

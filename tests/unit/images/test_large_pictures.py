"""JPEG 2000, and pictures of which less is decoded than they have."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.images import jpeg, jpeg2000
from jobs.images import normalise as normalising
from jobs.images.formats import recognise
from jobs.images.normalise import MAX_JPEG_PIXELS, MAX_PIXELS, normalise
from tests.unit.images.pictures import (
    WHITE,
    assert_colour,
    encode,
    pixels,
    plain,
    rejection,
    rgb_profile_with_red_and_green_swapped,
)


class TestJpeg:
    def test_a_camera_picture_over_the_limit_is_reduced(self) -> None:
        stored = normalise(encode(plain((200, 40, 90), size=(3000, 2600)), "JPEG"), max_pixels=1_000_000)
        assert (stored.width_px, stored.height_px) == (369, 320)
        assert_colour(stored, (200, 40, 90), within=6)

    def test_what_is_decoded_counts(self) -> None:
        """A long narrow picture can hardly be reduced while it is decoded."""
        assert rejection(encode(plain(size=(2600, 500)), "JPEG"), max_pixels=1_000_000).reason == "too_large"

    @pytest.mark.parametrize(("form", "options"), [("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {})])
    def test_a_jpeg_whose_coefficients_are_all_held_has_the_limit_of_other_formats(
        self, form: str, options: dict[str, Any]
    ) -> None:
        data = encode(plain(size=(3000, 2600)), form, **options)
        found = rejection(data, max_pixels=7_000_000)
        assert found.reason == "too_large"
        assert found.detail.endswith(" 7,000,000 pixels, the limit of SHELFWISE_MAX_MEGAPIXELS") or (
            found.detail.endswith(" over the 7,000,000, the limit of SHELFWISE_MAX_MEGAPIXELS")
        )
        assert normalise(data, max_pixels=8_000_000).height_px == 320

    def test_which_are_decoded_in_parts(self) -> None:
        baseline = encode(plain(), "JPEG")
        at = baseline.index(b"\xff\xda")
        assert baseline[at + 4] == 3
        one_colour_a_scan = baseline[:at] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + baseline[at + 14 :]
        assert jpeg.decoded_in_parts(baseline)
        assert jpeg.decoded_in_parts(encode(plain(9, mode="L"), "JPEG"))
        assert not jpeg.decoded_in_parts(one_colour_a_scan)
        assert not jpeg.decoded_in_parts(encode(plain(), "JPEG", progressive=True))
        assert not jpeg.decoded_in_parts(b"\xff\xd8\xff")

    def test_the_limit_of_the_header(self) -> None:
        data = encode(plain(), "JPEG")
        at = data.index(b"\xff\xc0") + 5

        def announcing(width_px: int, height_px: int) -> bytes:
            return data[:at] + struct.pack(">HH", height_px, width_px) + data[at + 4 :]

        assert rejection(announcing(20_001, 20_000)).reason == "too_large"
        assert rejection(announcing(65_501, 640)).reason == "too_large"
        assert rejection(announcing(MAX_JPEG_PIXELS // 20_000 + 1, 20_000)).reason == "too_large"
        assert normalise(announcing(16_320, 12_240)).width_px == 427


class TestJpeg2000:
    @pytest.mark.parametrize("no_jp2", [False, True])
    def test_a_large_one_is_decoded_at_a_fraction(self, no_jp2: bool) -> None:
        noise = np.random.default_rng(3).integers(0, 255, (30, 20, 3), dtype=np.uint8)
        large = Image.fromarray(noise).resize((1300, 1500), Image.Resampling.BICUBIC)
        data = encode(large, "JPEG2000", no_jp2=no_jp2)
        assert jpeg2000.resolution_levels(data) == 5
        with normalising._open(data, recognise(data)) as image:
            normalising._load(image, data, MAX_PIXELS)
            assert image.size == (650, 750)
        found = pixels(normalise(data))
        assert found.shape == (369, 320, 3)
        assert np.abs(found - pixels(normalise(encode(large, "PNG")))).mean() < 2

    def test_one_without_smaller_resolutions_is_decoded_whole(self) -> None:
        data = encode(plain(size=(1280, 1290)), "JPEG2000", num_resolutions=1)
        assert jpeg2000.resolution_levels(data) == 0
        assert (normalise(data).width_px, normalise(data).height_px) == (320, 322)

    def test_its_profile_and_transparency(self) -> None:
        data = encode(plain((250, 10, 10)), "JPEG2000")
        colr = data.index(b"colr") - 4
        assert data[colr : colr + 8] == b"\x00\x00\x00\x0fcolr"
        body = b"\x02\x00\x00" + rgb_profile_with_red_and_green_swapped()
        box = struct.pack(">I", len(body) + 8) + b"colr" + body
        head = data.index(b"jp2h") - 4
        size_bytes = int.from_bytes(data[head : head + 4], "big") + len(box) - 15
        data = data[:head] + struct.pack(">I", size_bytes) + data[head + 4 : colr] + box + data[colr + 15 :]
        assert_colour(normalise(data), (10, 250, 10), within=6)
        assert_colour(normalise(encode(plain((9, 9, 9, 0), mode="RGBA"), "JPEG2000")), WHITE)

    @pytest.mark.parametrize("no_jp2", [False, True])
    def test_a_bomb_is_refused_by_its_codestream_whatever_its_boxes_say(
        self, no_jp2: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = encode(plain(), "JPEG2000", no_jp2=no_jp2)
        at = data.index(b"\xff\x4f\xff\x51") + 8
        monkeypatch.setattr("PIL.Image.open", None)
        bomb = data[:at] + struct.pack(">II", 30_000, 30_000) + data[at + 8 :]
        assert rejection(bomb).detail.startswith("its header promises 675,000,000 pixels")
        many = data[:at] + struct.pack(">II", 8_000, 8_000) + data[at + 8 : at + 32] + b"\x00\x0f" + data[at + 34 :]
        assert jpeg2000.samples(many) == 15 * 8_000 * 8_000 > 4 * MAX_PIXELS
        assert rejection(many).reason == "too_large"

    def test_a_codestream_in_another_box_is_not_mistaken_for_the_picture(self) -> None:
        data = encode(plain(), "JPEG2000")
        decoy = b"uuid" + data[data.index(b"\xff\x4f\xff\x51") :]
        at = data.index(b"ftyp") - 4
        box = struct.pack(">I", len(decoy) + 4) + decoy
        stream = data.index(b"\xff\x4f\xff\x51")
        bomb = data[: stream + 8] + struct.pack(">II", 30_000, 30_000) + data[stream + 16 :]
        assert rejection(bomb[:at] + box + bomb[at:]).reason == "too_large"

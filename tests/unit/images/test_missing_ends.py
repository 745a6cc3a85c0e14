"""Files that lack only their end are stored; files that lack pixels are truncated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from jobs.images import jpeg
from jobs.images.normalise import normalise
from tests.unit.images.pictures import encode, pixels, rejection

NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 255, (48, 40, 3), dtype=np.uint8))
JPEGS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 1},
    "full colour": {"subsampling": 0},
}


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
class TestJpeg:
    @pytest.mark.parametrize("missing", [1, 2])
    def test_a_missing_end_marker_costs_nothing(self, options: dict[str, Any], missing: int) -> None:
        data = encode(NOISE, "JPEG", **options)
        assert normalise(data[:-missing]) == normalise(data)

    def test_zero_bytes_in_place_of_the_end_marker(self, options: dict[str, Any]) -> None:
        data = encode(NOISE, "JPEG", **options)
        assert normalise(data[:-2] + bytes(700)) == normalise(data)

    def test_a_cut_through_the_pixels_is_truncated_wherever_it_is(self, options: dict[str, Any]) -> None:
        """Of the last bytes every one is tried: the last block, the last restart marker, the last scan."""
        data = encode(NOISE, "JPEG", **options)
        for end in (*range(30, len(data) - 180, 97), *range(len(data) - 180, len(data) - 2)):
            assert rejection(data[:end]).reason == "truncated", end - len(data)


def test_a_progressive_jpeg_that_lacks_its_last_scans_is_truncated() -> None:
    data = encode(NOISE, "JPEG", progressive=True)
    scans = [at for at in range(len(data)) if data[at : at + 2] in (b"\xff\xc4", b"\xff\xda")]
    assert len(scans) > 8
    for at in scans:
        assert rejection(data[:at]).reason == "truncated"


def test_a_large_jpeg_without_end_marker_is_compared_at_the_size_at_which_it_is_decoded() -> None:
    data = encode(NOISE.resize((1300, 1400)), "JPEG")
    assert normalise(data[:-2]) == normalise(data)
    assert rejection(data[:-3000]).reason == "truncated"


def test_no_switch_for_the_whole_process_is_used() -> None:
    normalise(encode(NOISE, "JPEG")[:-2])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_a_jpeg_with_its_end_marker_is_decoded_once() -> None:
    assert jpeg.continuations(encode(NOISE, "JPEG")) == ()
    assert jpeg.continuations(b"\xff\xd8\xff\xe0\x00") == ()


@pytest.mark.parametrize(
    ("form", "options", "missing"),
    [
        ("PNG", {}, [1, 12, 16]),
        ("PNG", {"save_all": True, "append_images": [NOISE.rotate(90)]}, [12, 100]),
        ("GIF", {}, [1, 2]),
        ("GIF", {"save_all": True, "append_images": [NOISE.rotate(90)]}, [1, 100]),
        ("MPO", {"save_all": True, "append_images": [NOISE.rotate(90)]}, [2, 100]),
    ],
)
def test_what_follows_the_first_picture_may_be_missing(form: str, options: dict[str, Any], missing: list[int]) -> None:
    data = encode(NOISE, form, **options)
    for count in missing:
        np.testing.assert_array_equal(pixels(normalise(data[:-count])), pixels(normalise(data)))


def test_a_webp_may_lack_the_byte_that_pads_it_and_no_other() -> None:
    lossless = (encode(NOISE.crop((0, 0, 40, height)), "WEBP", lossless=True) for height in range(20, 48))
    by_padding: dict[int, bytes] = {data[16] & 1: data for data in lossless}
    assert normalise(by_padding[1][:-1]) == normalise(by_padding[1])
    assert rejection(by_padding[1][:-2]).reason == "truncated"
    assert rejection(by_padding[0][:-1]).reason == "truncated"

"""Pictures of phones: HEIC files as libheif writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pi_heif import HeifImageFile

from jobs.images import normalise as normalising
from jobs.images.normalise import normalise
from tests.unit.images.pictures import (
    BLUE,
    GREEN,
    RED,
    WHITE,
    assert_colour,
    pixels,
    rejection,
)

FOLDER = Path(__file__).with_name("heic")
EXIF_ORIENTATION = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00"


def heic(name: str) -> bytes:
    return (FOLDER / f"{name}.heic").read_bytes()


def corners(data: bytes) -> list[tuple[int, ...]]:
    """Return the nearest colours of the top left, top right, bottom left and bottom right."""
    found = pixels(normalise(data))
    colours = np.array([RED, GREEN, BLUE, WHITE])
    at = (found[4, 4], found[4, -5], found[-5, 4], found[-5, -5])
    return [tuple(map(int, colours[np.abs(colours - corner).sum(axis=1).argmin()])) for corner in at]


def test_colours_and_size() -> None:
    stored = normalise(heic("corners-1"))
    assert (stored.width_px, stored.height_px) == (64, 48)
    assert corners(heic("corners-1")) == [RED, GREEN, BLUE, WHITE]


def test_the_rotation_of_the_file_is_applied_once_and_that_of_exif_not_again() -> None:
    stored = normalise(heic("corners-6"))
    assert (stored.width_px, stored.height_px) == (48, 64)
    assert corners(heic("corners-6")) == [BLUE, RED, WHITE, GREEN]


def test_an_orientation_in_exif_alone_turns_nothing() -> None:
    """Phones write both; programs that turn the picture themselves leave the one in EXIF as it was."""
    data = heic("corners-1").replace(EXIF_ORIENTATION + b"\x01", EXIF_ORIENTATION + b"\x06")
    assert data != heic("corners-1")
    assert corners(data) == [RED, GREEN, BLUE, WHITE]


def test_profile_transparency_and_the_main_picture() -> None:
    assert_colour(normalise(heic("profile")), (10, 250, 10), within=6)
    assert_colour(normalise(heic("transparent")), WHITE)
    assert_colour(normalise(heic("two-pictures")), (250, 10, 10), within=6)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_cut_file_is_truncated(share: float) -> None:
    data = heic("corners-1")
    assert rejection(data[: int(len(data) * share)]).reason == "truncated"


def test_the_size_is_checked_before_pixels_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extents count, for which memory is allocated, and the size that is shown of them."""
    data = heic("corners-1")
    at = data.index(b"ispe") + 8
    monkeypatch.setattr(HeifImageFile, "load", _never)
    bomb = data[:at] + (30_000).to_bytes(4, "big") * 2 + data[at + 8 :]
    assert rejection(bomb).detail.startswith("its header promises 900,000,000 pixels")
    monkeypatch.setattr(normalising, "MIN_SIDE_PX", 49)
    assert rejection(data).reason == "too_small"


def test_a_stream_that_is_larger_than_its_header_says_is_refused() -> None:
    data = heic("corners-1")
    at = data.index(b"ispe") + 8
    assert rejection(data[:at] + (8).to_bytes(4, "big") * 2 + data[at + 8 :]).reason == "corrupt"


def _never(*_: Any) -> Any:
    raise AssertionError("pixels were decoded for an image that is over the limit")

"""Small images of every kind, and how a stored one is looked at."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from jobs.images.normalise import MAX_PIXELS, NormalisedImage, Rejected, normalise

HEIC_FILES = sorted(Path(__file__).with_name("heic").glob("*.heic"))
"""Written by libheif and x265, 64 x 48 px: the red, green, blue and white corners of `TestShape` without and with a
rotation by the file and in EXIF (6), and a plain red picture with a profile, with full transparency, and before a blue
one."""

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


def rejection(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Rejected:
    with pytest.raises(Rejected) as caught:
        normalise(data, max_pixels=max_pixels)
    return caught.value


def rgb_profile_with_red_and_green_swapped() -> bytes:
    """Return sRGB's own profile with its rXYZ and gXYZ tags exchanged, under another description."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    entries = [132 + 12 * index for index in range(int.from_bytes(profile[128:132], "big"))]
    tags = {bytes(profile[at : at + 4]): at for at in entries}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "xxxx".encode("utf-16-be"))

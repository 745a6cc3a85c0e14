"""Convert a decoded image of any Pillow mode to the small, upright sRGB image that is stored."""

from __future__ import annotations

import io
from contextlib import suppress
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageCms

_MAX_PROFILE_BYTES = 2**20
_BAND_PIXELS = 2**20
_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def eight_bit(image: Image.Image) -> Image.Image:
    """Convert a decoded image to 8 bits per channel, in mode L, RGB or CMYK, or in RGBA if it has transparency."""
    if image.mode.startswith("I") or image.mode == "F":
        return _grey_from_wide(image)
    if image.has_transparency_data:
        key = image.info.get("transparency")
        if (
            isinstance(key, tuple) and max(key) > 255
        ):  # a 16-bit PNG, which Pillow decodes to 8 bits but for this colour
            image.info["transparency"] = tuple(value >> 8 for value in key)
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("L" if image.mode == "1" else "RGB")


def _grey_from_wide(image: Image.Image) -> Image.Image:
    """Scale grey values of 12, 16 or 32 bits or floating point to 8 bits, so that white stays white.

    Args:
        image: Image in a mode that starts with I, or in mode F.

    Returns:
        Image in mode L, or in RGBA if it has a transparent colour.
    """
    values: NDArray[Any] = np.asarray(image)
    grey: NDArray[np.uint8]
    tags = getattr(image, "tag_v2", {})  # TIFF tag 258: bits per sample; tag 262: 0 if the value 0 means white
    if image.mode.startswith("I;16"):
        bits = int(tags.get(258, (16,))[0])
        grey = (values >> (bits - 8)).astype(np.uint8)
        if tags.get(262) == 0:
            grey = np.invert(grey)
    else:
        bands = np.array_split(
            values, values.size // _BAND_PIXELS + 1
        )  # float copies of the whole image may take a gigabyte
        peak = max(float(np.max(_numbers(band), initial=0.0)) for band in bands)
        ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        white = next((limit for limit in ranges if peak <= limit), peak)
        grey = np.concatenate(
            [np.clip(_numbers(band) * (255.0 / white) + 0.5, 0, 255).astype(np.uint8) for band in bands]
        )
    result = Image.fromarray(grey)
    key = image.info.get("transparency")
    if isinstance(key, int):
        alpha = Image.fromarray(np.where(values == key, np.uint8(0), np.uint8(255)))
        return Image.merge("RGBA", (result, result, result, alpha))
    return result


def _numbers(band: NDArray[Any]) -> NDArray[np.float32]:
    """Return grey values as float32; NaN and infinite values become 0, which is black."""
    return np.nan_to_num(band.astype(np.float32), copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def shrink(image: Image.Image, short_side_px: int) -> Image.Image:
    """Shrink a decoded image to a short side of `short_side_px`; a smaller image stays unchanged.

    Grey and RGB images are averaged over whole blocks of pixels, and the rest, less than half, is interpolated. That
    takes a quarter of the time of Pillow's bicubic filter; stored photographs differ by 1.3 grey levels on average
    (`tests/benchmarks/bench_ingest.py`). Images with transparency or of four inks are shrunk by Pillow, which weights
    colours by their opacity.
    """
    scale = short_side_px / min(image.size)
    if scale >= 1:
        return image
    size = (round(image.width * scale), round(image.height * scale))
    if image.mode not in ("L", "RGB"):
        return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    pixels: NDArray[Any] = _pixels(image)
    blocks = int(1 / scale)
    if blocks > 1:
        averaged = (image.width // blocks, image.height // blocks)
        pixels = cv2.resize(pixels, averaged, interpolation=cv2.INTER_AREA)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
    stored = "RGBX" if image.mode == "RGB" and small.shape[-1] == 4 else image.mode
    result = Image.frombuffer(stored, size, small, "raw", stored, 0, 1).convert(image.mode)
    result.info = image.info
    return result


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Return an image's pixels, without a copy where Pillow has them in one piece of memory.

    Args:
        image: Image in mode L or RGB.

    Returns:
        (height, width) of mode L; of RGB (height, width, 4) with an unused last value, or (height, width, 3) if copied.
    """
    if image.mode == "RGB":
        with suppress(ValueError):  # several pieces of memory
            values = pa.array(image).values
            return np.frombuffer(values.buffers()[1], np.uint8).reshape(image.height, image.width, 4)
    return np.asarray(image)


def srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert a decoded image to sRGB colours, mode RGB, with transparency on white.

    Args:
        image: Image in mode L, RGB, CMYK or RGBA.
        profile: ICC profile of the image; None, or a profile that cannot be used, converts without a profile.
    """
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    coloured = image.convert("RGB") if alpha else image
    usable = (
        profile is not None and len(profile) <= _MAX_PROFILE_BYTES
    )  # transforms are cached for the life of the process
    transform = _transform_to_srgb(profile, coloured.mode) if profile and usable else None
    coloured = transform.apply(coloured) if transform else coloured.convert("RGB")
    if alpha is None:
        return coloured
    white = Image.new("RGB", image.size, "white")
    white.paste(coloured, mask=alpha)
    return white


@lru_cache(maxsize=16)
def _transform_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from a colour profile to sRGB; None if it is sRGB, invalid, or for another mode."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if mode == "RGB" and "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None


def upright(small: Image.Image, source: Image.Image) -> Image.Image:
    """Turn a decoded image upright by the EXIF orientation of its source.

    Args:
        small: Image to turn.
        source: Decoded source image, which holds the EXIF data. Pillow has already turned a TIFF and removed its
            orientation.
    """
    try:
        orientation = source.getexif().get(_ORIENTATION)
    except Exception:  # invalid EXIF data is ignored: the image can be used without it
        return small
    transpose = _TRANSPOSE.get(orientation) if isinstance(orientation, int) else None
    return small if transpose is None else small.transpose(transpose)

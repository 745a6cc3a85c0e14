"""The steps between a decoded image of any mode and the small, upright sRGB image that is stored."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
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
    """Return the image as L, RGB, CMYK or, with transparency, RGBA."""
    if image.mode.startswith("I") or image.mode == "F":
        return _grey_from_wide(image)
    if image.has_transparency_data:
        key = image.info.get("transparency")
        if isinstance(key, tuple) and max(key) > 255:  # a PNG of 16 bits, which Pillow has decoded to 8
            image.info["transparency"] = tuple(value >> 8 for value in key)
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("L" if image.mode == "1" else "RGB")


def _grey_from_wide(image: Image.Image) -> Image.Image:
    """Scale grey of 12, 16 or 32 bits or floating point to 8 bits: white stays white."""
    values: NDArray[Any] = np.asarray(image)
    grey: NDArray[np.uint8]
    tags = getattr(image, "tag_v2", {})  # of TIFF: 258 is its bits a sample, 262 is 0 where 0 means white
    if image.mode.startswith("I;16"):
        bits = int(tags.get(258, (16,))[0])
        grey = (values >> (bits - 8)).astype(np.uint8)
        if tags.get(262) == 0:
            grey = np.invert(grey)
    else:
        bands = np.array_split(values, values.size // _BAND_PIXELS + 1)  # a copy or two of all of it may be a gigabyte
        peak = max(float(_numbers(band).max(initial=0.0)) for band in bands)
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
    """Return grey values as numbers: what is none, or endless, is black."""
    return np.nan_to_num(band.astype(np.float32), copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def shrink(image: Image.Image, short_side_px: int) -> Image.Image:
    """Return the image with its short side reduced to `short_side_px`; a smaller one as it is."""
    scale = short_side_px / min(image.size)
    if scale >= 1:
        return image
    size = (round(image.width * scale), round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return the image in RGB, on white, converted from its colour profile where it has a usable one."""
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    coloured = image.convert("RGB") if alpha else image
    usable = profile is not None and len(profile) <= _MAX_PROFILE_BYTES  # what is cached stays with the process
    transform = _transform_to_srgb(profile, coloured.mode) if profile and usable else None
    coloured = transform.apply(coloured) if transform else coloured.convert("RGB")
    if alpha is None:
        return coloured
    white = Image.new("RGB", image.size, "white")
    white.paste(coloured, mask=alpha)
    return white


@lru_cache(maxsize=16)
def _transform_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the way from a profile to sRGB; None where it is sRGB, unusable, or for other colours than `mode`."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if mode == "RGB" and "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None


def upright(small: Image.Image, source: Image.Image) -> Image.Image:
    """Return the small image turned as the EXIF orientation of its decoded source says; Pillow has turned a TIFF."""
    try:
        orientation = source.getexif().get(_ORIENTATION)
    except Exception:  # EXIF that does not parse says nothing, and the image is good without it
        return small
    transpose = _TRANSPOSE.get(orientation) if isinstance(orientation, int) else None
    return small if transpose is None else small.transpose(transpose)

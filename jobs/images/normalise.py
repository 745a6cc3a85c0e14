"""From an image_uri to a normalised JPEG, or to the reason why not. No Spark in here: these run inside ingest's tasks.

What comes in is whatever shops keep behind their image links, so every failure ends as `Rejected` with a reason of
`jobs.dataset.schema.REJECTION_REASONS`, and nothing is decoded before its header says that it is of an accepted size.
"""

from __future__ import annotations

import io
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from jobs.images.formats import Content, ends_early, recognise, webp_pixels
from jobs.images.pixels import eight_bit, shrink, srgb, upright

MAX_SOURCE_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000
MAX_SIDE_PX = 65_500
"""The longest side that a JPEG can have."""
MIN_SIDE_PX = 8
STORED_SHORT_SIDE_PX = 320
JPEG_QUALITY = 95

_MAX_DETAIL_CHARS = 300
_STDERR = threading.Lock()

# What Pillow has to say about a bad image is in its rejection; its log lines would only repeat it, a night's worth.
logging.getLogger("PIL").setLevel(logging.CRITICAL)


class Rejected(Exception):
    """An image that cannot be used.

    Attributes:
        reason: One of `jobs.dataset.schema.REJECTION_REASONS`.
        detail: One printable sentence for people, at most 300 characters.
    """

    def __init__(self, reason: str, detail: str) -> None:
        """Make the detail safe to store and to print, whatever it quotes."""
        printable = "".join(character if character.isprintable() else " " for character in detail)
        self.reason = reason
        self.detail = " ".join(printable.split())[:_MAX_DETAIL_CHARS]
        super().__init__(reason, self.detail)


@dataclass(frozen=True)
class NormalisedImage:
    """An image as the dataset stores it.

    Attributes:
        jpeg: RGB, upright, without metadata; its short side is at most 320 px.
        width_px: Of the JPEG.
        height_px: Of the JPEG.
    """

    jpeg: bytes
    width_px: int
    height_px: int


def normalise(data: bytes) -> NormalisedImage:
    """Decode an image of any accepted kind and store it the one way that networks read.

    Upright by its EXIF orientation, in sRGB, transparency on white, the first frame of an animation, 16-bit and
    floating-point values scaled to 8 bits, the short side reduced to at most 320 px and never enlarged.

    Args:
        data: The source file, whole.

    Returns:
        The JPEG and its size.

    Raises:
        Rejected: If it is no image, not of an accepted format or size, or does not decode.
    """
    content = recognise(data)
    if not data:
        raise Rejected("empty", "the file has no bytes")
    if not content.is_image:
        raise Rejected("not_an_image", f"expected an image, received what looks like {content.name}")
    if not content.is_read:
        raise Rejected("unsupported_format", f"{content.name} images are not read; convert it to JPEG, PNG or WebP")
    if content.name == "WEBP" and webp_pixels(data) > MAX_PIXELS:
        raise Rejected("too_large", f"its header promises {webp_pixels(data):,} pixels, over {MAX_PIXELS:,}")
    try:
        with warnings.catch_warnings(), _silent_libtiff() if content.name == "TIFF" else nullcontext():
            warnings.simplefilter("ignore")
            return _decode(data, content)
    except Rejected:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise Rejected("too_large", f"its header promises more than {MAX_PIXELS:,} pixels") from error
    except Exception as error:  # decoders meet hostile bytes with any exception; none may end the night
        raise _decoder_failure(error, content, data) from error


@contextmanager
def _silent_libtiff() -> Iterator[None]:
    """Keep libtiff from writing its complaints, which do not say about which file, to the process's standard error."""
    with _STDERR, Path(os.devnull).open("wb") as nowhere:
        saved = os.dup(2)
        try:
            os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _decode(data: bytes, content: Content) -> NormalisedImage:
    with Image.open(io.BytesIO(data), formats=[content.name]) as image:
        _check_size(*image.size)
        scale = min(1.0, STORED_SHORT_SIDE_PX / min(image.size))
        if image.format in ("JPEG", "MPO"):
            # libjpeg decodes at 1/2, 1/4 or 1/8 for less; twice the final size leaves the good filter its say.
            image.draft(None, (round(image.width * scale * 2), round(image.height * scale * 2)))
        image.load()
        _check_size(*image.size)
        small = shrink(eight_bit(image), STORED_SHORT_SIDE_PX)
        stored = upright(srgb(small, image.info.get("icc_profile")), image)
    stored.info.clear()  # a comment would be stored with it
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return NormalisedImage(buffer.getvalue(), *stored.size)


def _check_size(width_px: int, height_px: int) -> None:
    if min(width_px, height_px) < MIN_SIDE_PX:
        raise Rejected("too_small", f"it is {width_px} x {height_px} px; each side needs at least {MIN_SIDE_PX}")
    if width_px * height_px > MAX_PIXELS or max(width_px, height_px) > MAX_SIDE_PX:
        raise Rejected(
            "too_large",
            f"it is {width_px} x {height_px} px, over the limit of {MAX_PIXELS:,} pixels or {MAX_SIDE_PX:,} px a side",
        )


def _decoder_failure(error: Exception, content: Content, data: bytes) -> Rejected:
    message = str(error)
    if isinstance(error, EOFError) or "truncated" in message.lower() or ends_early(content, data):
        return Rejected("truncated", f"the {content.name} file ends too soon, after {len(data):,} bytes")
    if isinstance(error, UnidentifiedImageError) or not message:
        message = "its header does not parse"  # Pillow's own words are a memory address
    return Rejected("corrupt", f"the {content.name} file does not decode: {message}")

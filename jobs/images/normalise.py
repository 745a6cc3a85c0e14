"""Decode a source image and encode it as a normalised JPEG, or reject it with a reason.

These functions run inside the tasks of ingest and do not use Spark. The links of a shop can lead to any bytes. So every
failure raises `Rejected` with a reason of `sql.records.REJECTION_REASONS`, and an image is decoded only if its
header announces an accepted size.
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

from pi_heif import HeifImageFile
from PIL import Image, UnidentifiedImageError
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile

from jobs.images import jpeg, jpeg2000, png
from jobs.images.formats import Content, ends_early, heic_pixels, recognise, webp_padded, webp_pixels
from jobs.images.pixels import eight_bit, shrink, srgb, upright

MAX_SOURCE_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000
"""Most pixels that are decoded of an image, if SHELFWISE_MAX_MEGAPIXELS says nothing else."""
MAX_JPEG_PIXELS = 400_000_000
"""Most pixels of a JPEG file that is decoded some rows at a time and at a fraction of its size; the fraction is limited
as other images are. If their limit is higher, it is that of such files too."""
MAX_SIDE_PX = 65_500
"""Longest side of an accepted image in pixels: the limit of the JPEG format."""
MIN_SIDE_PX = 8
STORED_SHORT_SIDE_PX = 320
JPEG_QUALITY = 95

_PILLOW_NAMES = {"JPEG 2000": "JPEG2000"}
_MAX_DETAIL_CHARS = 300
_BY_SETTING = "the limit of SHELFWISE_MAX_MEGAPIXELS"
_STDERR = threading.Lock()

# Pillow's message about a bad image is stored in the rejection; its log lines would repeat it for every bad image.
logging.getLogger("PIL").setLevel(logging.CRITICAL)


class Rejected(Exception):
    """Raised for a source image that cannot be normalised; has the reason.

    Attributes:
        reason: One of `sql.records.REJECTION_REASONS`.
        detail: One printable sentence for people, at most 300 characters long.
    """

    def __init__(self, reason: str, detail: str) -> None:
        """Replace unprintable characters in the detail and shorten it, so that it can be stored and printed safely."""
        printable = "".join(character if character.isprintable() else " " for character in detail)
        self.reason = reason
        self.detail = " ".join(printable.split())[:_MAX_DETAIL_CHARS]
        super().__init__(reason, self.detail)


@dataclass(frozen=True)
class NormalisedImage:
    """A normalised image, as the dataset stores it.

    Attributes:
        jpeg: JPEG file content: RGB, upright, without metadata, with a short side of at most 320 px.
        width_px: Width of the JPEG in pixels.
        height_px: Height of the JPEG in pixels.
    """

    jpeg: bytes
    width_px: int
    height_px: int


def normalise(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NormalisedImage:
    """Normalise a source image: decode any accepted format, and encode it in the single form that networks read.

    The image is turned upright by its EXIF orientation, of HEIC by the file's own rotation, and converted to sRGB.
    Transparency becomes white. Of an animation the first frame is used, of several pictures in a HEIC file the main
    one. 16-bit and floating-point values are scaled to 8 bits. The short side is reduced to at most 320 px and never
    enlarged.

    Args:
        data: Content of the whole source file.
        max_pixels: Most pixels that are decoded of it, at least 1.

    Returns:
        The JPEG and its size.

    Raises:
        Rejected: If it is not an image, has an unsupported format or size, or cannot be decoded.
    """
    content = recognise(data)
    if not data:
        raise Rejected("empty", "the file has no bytes")
    if not content.is_image:
        raise Rejected("not_an_image", f"expected an image, received what looks like {content.name}")
    if not content.is_read:
        raise Rejected("unsupported_format", f"{content.name} images are not read; convert it to JPEG, PNG or WebP")
    _check_announced(data, content, max_pixels)
    try:
        with warnings.catch_warnings(), _silent_libtiff() if content.name == "TIFF" else nullcontext():
            warnings.simplefilter("ignore")
            try:
                return _decode(data, content, max_pixels)
            except OSError:
                stored = _without_end_marker(data, content, max_pixels)
                if stored is None:
                    raise
                return stored
    except Rejected:
        raise
    except Image.DecompressionBombError as error:
        raise Rejected("too_large", f"its header promises more than {max_pixels:,} pixels, {_BY_SETTING}") from error
    except Exception as error:  # on invalid bytes decoders raise any exception; none may end the run
        if _lacks_memory(error):
            raise Rejected("too_large", "decoding it takes more memory than a process that decodes may have") from error
        raise _decoder_failure(error, content, data) from error


@contextmanager
def _silent_libtiff() -> Iterator[None]:
    """Discard what libtiff writes to the process's standard error: its messages do not name the file."""
    with _STDERR, Path(os.devnull).open("wb") as nowhere:
        saved = os.dup(2)
        try:
            os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _lacks_memory(error: Exception) -> bool:
    """Return whether a decoder found no memory; Pillow's C code and OpenCV say so in a text alone."""
    return isinstance(error, MemoryError) or "out of memory" in str(error) or "Insufficient memory" in str(error)


def _check_announced(data: bytes, content: Content, max_pixels: int) -> None:
    """Check the size that a header announces, where a decoder needs memory before it reports the size, or for more."""
    match content.name:
        case "WEBP":
            pixels = webp_pixels(data)
        case "HEIC":
            pixels = heic_pixels(data)
        case "JPEG 2000":  # its decoder needs the memory of up to four components for each pixel
            pixels = -(-jpeg2000.samples(data) // 4)
        case _:
            return
    if pixels > max_pixels:
        raise Rejected("too_large", f"its header promises {pixels:,} pixels, over the {max_pixels:,}, {_BY_SETTING}")


def _decode(data: bytes, content: Content, max_pixels: int) -> NormalisedImage:
    with _open(data, content) as image:
        _load(image, data, max_pixels)
        return _stored(image)


def _open(data: bytes, content: Content) -> Image.Image:
    """Read an image's header; no pixels are decoded."""
    if content.name in ("JPEG", "HEIC"):
        try:
            # Not by Image.open, which also refuses what is decoded at a fraction of its size.
            return (JpegImageFile if content.name == "JPEG" else HeifImageFile)(io.BytesIO(data))
        except SyntaxError as error:
            raise UnidentifiedImageError from error
    whole = {"PNG": png.essential, "WEBP": webp_padded}.get(content.name, bytes)(data)
    image = Image.open(io.BytesIO(whole), formats=[_PILLOW_NAMES.get(content.name, content.name)])
    if content.name == "JPEG 2000":
        image.info["icc_profile"] = jpeg2000.profile(data)
    return image


def _load(image: Image.Image, data: bytes, max_pixels: int) -> None:
    """Decode an image, at a fraction of its size where the format allows that and the rest is not needed."""
    in_parts = isinstance(image, JpegImageFile) and jpeg.decoded_in_parts(data)
    _check_size(*image.size, max_pixels=max(MAX_JPEG_PIXELS, max_pixels) if in_parts else max_pixels)
    for name in ("xmp", "XML:com.adobe.xmp"):
        image.info.pop(name, None)  # Pillow would turn the image by an orientation in it, which no browser does
    # At least twice the final size is kept, so that the better filter of `shrink` does the rest.
    short_side_px = min(image.size)
    scale = min(1.0, STORED_SHORT_SIDE_PX / short_side_px)
    if isinstance(image, JpegImageFile):
        # libjpeg decodes faster at 1/2, 1/4 or 1/8 of the size.
        image.draft(None, (round(image.width * scale * 2), round(image.height * scale * 2)))
    elif isinstance(image, Jpeg2KImageFile):
        halvings = max(short_side_px // (2 * STORED_SHORT_SIDE_PX), 1).bit_length() - 1
        image.reduce = min(halvings, jpeg2000.resolution_levels(data))
    _check_size(*image.size, max_pixels=max_pixels)
    image.load()
    _check_size(*image.size, max_pixels=max_pixels)


def _stored(image: Image.Image) -> NormalisedImage:
    small = shrink(eight_bit(image), STORED_SHORT_SIDE_PX)
    stored = upright(srgb(small, image.info.get("icc_profile")), image)
    stored.info.clear()  # else a comment of the source would be written into the JPEG
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return NormalisedImage(buffer.getvalue(), *stored.size)


def _without_end_marker(data: bytes, content: Content, max_pixels: int) -> NormalisedImage | None:
    """Normalise a JPEG that lacks only its end marker; None if it lacks more.

    Browsers show such a file. Pillow can decode it only with a switch for the whole process, and then it also accepts
    files of which rows are missing.
    """
    ends = jpeg.continuations(data) if content.name == "JPEG" else ()
    if not ends:
        return None
    with _open(ends[0], content) as image:
        _load(image, data, max_pixels)
        for end in ends[1:]:
            with _open(end, content) as other:
                _load(other, data, max_pixels)
                if not _same_pixels(image, other):
                    return None
        return _stored(image)


def _same_pixels(one: Image.Image, other: Image.Image) -> bool:
    bands = ((0, top, one.width, min(top + 256, one.height)) for top in range(0, one.height, 256))
    return all(one.crop(band).tobytes() == other.crop(band).tobytes() for band in bands)


def _check_size(width_px: int, height_px: int, *, max_pixels: int) -> None:
    if min(width_px, height_px) < MIN_SIDE_PX:
        raise Rejected("too_small", f"it is {width_px} x {height_px} px; each side needs at least {MIN_SIDE_PX}")
    if max(width_px, height_px) > MAX_SIDE_PX:
        raise Rejected("too_large", f"it is {width_px} x {height_px} px, over the limit of {MAX_SIDE_PX:,} px a side")
    if width_px * height_px > max_pixels:
        raise Rejected("too_large", f"it is {width_px} x {height_px} px, over the {max_pixels:,} pixels, {_BY_SETTING}")


def _decoder_failure(error: Exception, content: Content, data: bytes) -> Rejected:
    message = str(error)
    if isinstance(error, EOFError) or "truncated" in message.lower() or ends_early(content, data):
        return Rejected("truncated", f"the {content.name} file ends too soon, after {len(data):,} bytes")
    if isinstance(error, UnidentifiedImageError) or not message:
        message = "its header does not parse"  # Pillow's own message is only a memory address
    return Rejected("corrupt", f"the {content.name} file does not decode: {message}")

"""Samples on which a foreign network is compared with its copy: generated, or given with the expected answers."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.foreign.archives import check_archive
from models.networks.inputs import to_square
from models.release import ReleaseError
from models.spec import Images

SAMPLES = 16
"""Number of generated samples."""

MOST_SAMPLES = 64
"""Most samples that are compared."""

_MOST_BYTES = 2**29
_BROKEN = (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError, zipfile.BadZipFile)


@dataclass(frozen=True)
class ExpectedAnswers:
    """Images with the answers that a foreign network gave where it was trained.

    Attributes:
        images: uint8 (images, height_px, width_px, 3), RGB, 0-255.
        answers: Outputs of the network, float64 (images, categories).
    """

    images: Images
    answers: NDArray[np.float64]


def generated_samples(side_px: int) -> Images:
    """Generate images on which to compare a foreign network with its copy; the same at every call.

    Returns:
        Smooth, varied images, uint8 (SAMPLES, side_px, side_px, 3), RGB, 0-255.
    """
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (SAMPLES, 5, 5, 3), np.uint8)
    return np.stack([to_square(picture, side_px) for picture in coarse])


def read_expected(path: Path, *, input_px: int, categories: int) -> ExpectedAnswers:
    """Read images and a network's answers to them from an `.npz` file.

    Args:
        path: File with the arrays `images`, (images, input_px, input_px, 3), RGB, whole numbers 0-255 before any
            preprocessing, and `answers`, (images, categories).
        input_px: Side of the network's input, in pixels.
        categories: Number of categories.

    Raises:
        ReleaseError: If the file cannot be read, or an array has another shape or content; the message says what was
            expected.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive)
            images, answers = (_array(archive, f"{name}.npy") for name in ("images", "answers"))
    except OSError as error:
        raise ReleaseError(f"{path} cannot be read ({error.strerror or error}); give an .npz file") from error
    except _BROKEN as error:
        raise ReleaseError(
            f"{path} does not hold the arrays images and answers ({error}); write it with numpy.savez as "
            "`shelfwise release import --help` shows"
        ) from error
    side = (input_px, input_px, 3)
    if images.shape[1:] != side or images.dtype.kind not in "uif" or not len(images) >= 2:
        raise ReleaseError(
            f"the images in {path} are {images.dtype} of shape {images.shape}, and at least two of {side} were "
            "expected; correct --input-px, or write them again"
        )
    images = images[:MOST_SAMPLES]
    whole = images.astype(np.uint8)
    if not np.array_equal(whole, images) or whole.max() <= 1:
        raise ReleaseError(
            f"the images in {path} are not whole numbers from 0 to 255; write them as they are before preprocessing"
        )
    if answers.ndim != 2 or answers.shape[1] != categories or len(answers) < len(images):
        raise ReleaseError(
            f"the answers in {path} have the shape {answers.shape}, and ({len(images)}, {categories}) was expected; "
            "name each of the network's outputs, in their order, and write one row per image"
        )
    answers = answers[: len(images)].astype(np.float64)
    if not np.isfinite(answers).all():
        raise ReleaseError(f"the answers in {path} are not all numbers; write them again")
    return ExpectedAnswers(whole, answers)


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read an array of numbers from an archive, whose header may claim another size than the entry has."""
    size = archive.getinfo(name).file_size
    if size > _MOST_BYTES:
        raise ValueError(f"{name} takes {size:,} bytes where at most {_MOST_BYTES:,} were expected")
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
        claimed = dtype.itemsize
        for length in shape:
            claimed *= length
        if dtype.kind not in "uif" or claimed > size:
            raise ValueError(f"{name} claims to be {dtype} of shape {shape}")
    with archive.open(name) as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))

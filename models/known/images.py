"""The description of the images that a release knows, its file, and the score of an image's features.

The file is HDF5: one group for each network with its arrays, one for the pixels, and attributes with the numbers of the
score. It comes
with a release, which may come from others: sizes and types are checked before an array is read, nothing in it is
executed, and a link to another file is refused.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.known.score import (
    NEIGHBOURS,
    VERSION,
    NetworkImages,
    PixelImages,
    Rows,
    network_part,
    pixel_part,
)
from models.networks.pixels import PIXELS, STATISTICS
from models.spec import Features

FILE = "known.h5"
"""File name of the description in a release's directory."""

MOST_BYTES = 64 * 2**20
"""Most bytes of a file, and of its arrays in memory; those that are made here have a sixteenth of it."""

_MOST_NETWORKS = 64
_ARRAYS = {"mean": np.float32, "projection": np.float16, "references": np.int8, "scale": np.float32}
"""Arrays of a network's group, with their types."""

_PIXEL_ARRAYS = {"mean": np.float32, "unit": np.float32, "whitening": np.float32}
"""Arrays of the group of the pixels, with their types."""

_BROKEN = (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, IndexError, OverflowError)
"""What h5py raises for damaged files."""


@dataclass(frozen=True)
class KnownImages:
    """Description of the images that a release knows.

    Attributes:
        networks: References of each network, by architecture name, in the order of the release's networks.
        pixels: Statistics of the references' pixels; None in a description without.
        spread: Standard deviation of the networks' part among the calibrating images, above 0.
        low: What is subtracted, so that no calibrating image has a score below 0, in standard deviations.
        limit: What is above `low` by more than this is foreign, above 0; scores are in units of it.
    """

    networks: Mapping[str, NetworkImages]
    pixels: PixelImages | None = None
    spread: float = 1.0
    low: float = 0.0
    limit: float = 1.0

    @property
    def widths(self) -> dict[str, int]:
        """Number of features of each network, and of the statistics of the pixels, by their name in the features."""
        widths = {name: len(network.mean) for name, network in self.networks.items()}
        return widths if self.pixels is None else {**widths, PIXELS: len(self.pixels.mean)}

    def scores(self, features: Mapping[str, Features], *, without: Sequence[Rows] | None = None) -> NDArray[np.float64]:
        """Return how unlike the known images each image is: at least 0, above 1 it is foreign; float64 (images,).

        Args:
            features: Features of each network, by architecture name, and statistics of the pixels, float32 (images,
                features).
            without: For each image, the rows of the references that do not count; None if all count.

        Returns:
            The scores; NaN for an image whose features are not finite.

        Raises:
            ValueError: If a network has no features, or another number of them than the description.
        """
        return self.described(features, without=without)[0]

    def described(
        self, features: Mapping[str, Features], *, without: Sequence[Rows] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
        """Return the scores of images, and what the networks saw of them in eight bits.

        Args:
            features: As for `scores`.
            without: As for `scores`.

        Returns:
            The scores as `scores` returns them, and the descriptors, int8 (images, dimensions of all networks): one
            network after the other, in units of its `scale`. Images of one description can be compared by them.

        Raises:
            ValueError: If a network has no features, or another number of them than the description.
        """
        for name, expected in self.widths.items():
            found = np.shape(features.get(name, ()))
            if len(found) != 2 or found[1] != expected:
                raise ValueError(
                    f"the known images are described by {expected} features of {name}, and features of shape {found} "
                    "were given; calibrate the release again"
                )
        points = {name: each.points(features[name]) for name, each in self.networks.items()}
        distances = {name: each.distances_of(points[name], without=without) for name, each in self.networks.items()}
        descriptors = np.hstack([each.descriptors(points[name]) for name, each in self.networks.items()])
        raw = network_part(self.networks, distances, self.spread)
        if self.pixels is not None:
            raw = raw + pixel_part(self.pixels, self.pixels.distances(features[PIXELS]))
        return np.maximum(np.where(np.isfinite(raw), raw, np.nan) - self.low, 0.0) / self.limit, descriptors

    def content(self) -> bytes:
        """Return the bytes of the file; the same description gives the same bytes."""
        import h5py

        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            file.attrs["version"] = VERSION
            file.attrs["neighbours"] = NEIGHBOURS
            for number in _NUMBERS:
                file.attrs[number] = float(getattr(self, number))
            for place, (name, network) in enumerate(self.networks.items()):
                group = file.create_group(name)
                group.attrs["place"] = place
                _write(group, network, _ARRAYS, ("middle", "spread"))
            if self.pixels is not None:
                _write(file.create_group(PIXELS), self.pixels, _PIXEL_ARRAYS, ("middle", "spread", "cap"))
        return buffer.getvalue()


_NUMBERS = ("spread", "low", "limit")


def _write(group: Any, part: NetworkImages | PixelImages, arrays: Mapping[str, Any], numbers: Sequence[str]) -> None:
    for name in arrays:
        group.create_dataset(name, data=getattr(part, name), track_times=False)
    for name in numbers:
        group.attrs[name] = float(getattr(part, name))


def read_known(path: Path) -> KnownImages:
    """Read the file of a description.

    Args:
        path: Path of the file.

    Raises:
        ValueError: If it cannot be used: another version or shape, too large, or damaged; in one sentence.
    """
    import h5py

    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise _Refused(f"has {size:,} bytes, and at most {MOST_BYTES:,} are read")
        with h5py.File(path, "r") as file:
            _check_version(file)
            groups = _groups(file)
            pixels = _pixels(groups.pop(PIXELS)) if PIXELS in groups else None
            in_order = sorted(groups.items(), key=lambda item: int(item[1].attrs["place"]))
            networks = {name: _network(name, group) for name, group in in_order}
            spread, low, limit = _positive(file, "spread"), _number(file, "low"), _positive(file, "limit")
    except _Refused as error:
        raise ValueError(f"{path} {error}") from error
    except _BROKEN as error:
        reason = (str(error) or type(error).__name__).partition("\n")[0][:200]
        raise ValueError(f"{path} cannot be read ({reason})") from error
    if len({len(network.references) for network in networks.values()}) > 1:
        raise ValueError(f"{path} has another number of references for each network")
    return KnownImages(networks, pixels, spread, low, limit)


class _Refused(Exception):
    """Raised with what is wrong with a file, to follow its name."""


def _check_version(file: Any) -> None:
    version, neighbours = int(file.attrs["version"]), int(file.attrs["neighbours"])
    if version != VERSION:
        raise _Refused(f"has the version {version} where {VERSION} was expected; upgrade shelfwise")
    if neighbours != NEIGHBOURS:
        raise _Refused(f"counts {neighbours} neighbours where {NEIGHBOURS} were expected")


def _groups(file: Any) -> dict[str, Any]:
    """Return the group of each network, and of the pixels, after the sizes of all arrays were added up."""
    import h5py

    names = list(file)
    count = len(set(names) - {PIXELS})
    if not 0 < count <= _MOST_NETWORKS:
        raise _Refused(f"describes {count} networks where 1 to {_MOST_NETWORKS} were expected")
    groups, total = {}, 0
    for name in names:
        group = _inside(file, name)
        if not isinstance(group, h5py.Group):
            raise _Refused(f"has no group of arrays at {name[:80]!r}")
        for array, kind in (_PIXEL_ARRAYS if name == PIXELS else _ARRAYS).items():
            data = _inside(group, array)
            if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
                raise _Refused(f"keeps {name[:80]}/{array} outside of itself")
            if data.dtype != kind:
                raise _Refused(f"has {data.dtype} in {name[:80]}/{array} where {np.dtype(kind)} was expected")
            total += data.size * data.dtype.itemsize
            if total > MOST_BYTES:
                raise _Refused(f"claims arrays of over {total:,} bytes, and at most {MOST_BYTES:,} are read")
        groups[name] = group
    return groups


def _inside(group: Any, name: str) -> Any:
    """Return what a group has by a name; a link to another place is refused."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise _Refused(f"has nothing of its own at {name[:80]!r}")
    return group[name]


def _network(name: str, group: Any) -> NetworkImages:
    """Read the arrays of a network, after their shapes were compared."""
    shapes = {array: tuple(group[array].shape) for array in _ARRAYS}
    if [len(shapes[array]) for array in _ARRAYS] != [1, 2, 2, 1]:
        raise _Refused(f"has arrays of the shapes {shapes} in {name[:80]}")
    (width,), (rows, columns), (references, dimensions), (units,) = (shapes[array] for array in _ARRAYS)
    if width != rows or not columns == dimensions == units or min(width, references, dimensions) < 1:
        raise _Refused(f"has arrays of the shapes {shapes} in {name[:80]}, which do not fit each other")
    return NetworkImages(
        **_finite(name, group, _ARRAYS), middle=_number(group, "middle"), spread=_positive(group, "spread")
    )


def _pixels(group: Any) -> PixelImages:
    """Read the arrays of the pixels, after their shapes were compared."""
    shapes = {array: tuple(group[array].shape) for array in _PIXEL_ARRAYS}
    if shapes != {"mean": (STATISTICS,), "unit": (STATISTICS,), "whitening": (STATISTICS, STATISTICS)}:
        raise _Refused(f"has arrays of the shapes {shapes} in {PIXELS}, where {STATISTICS} statistics were expected")
    arrays = _finite(PIXELS, group, _PIXEL_ARRAYS)
    if not (arrays["unit"] > 0).all():
        raise _Refused(f"has a unit in {PIXELS} that is not above 0")
    middle, spread, cap = _number(group, "middle"), _positive(group, "spread"), _positive(group, "cap")
    return PixelImages(**arrays, middle=middle, spread=spread, cap=cap)


def _finite(name: str, group: Any, arrays: Mapping[str, Any]) -> dict[str, Any]:
    values = {array: group[array][()] for array in arrays}
    if not all(np.isfinite(array).all() for array in values.values()):
        raise _Refused(f"has numbers in {name[:80]} that are none")
    return values


def _number(item: Any, name: str) -> float:
    value = float(item.attrs[name])
    if not math.isfinite(value):
        raise _Refused(f"has the {name} {value} where a number was expected")
    return value


def _positive(item: Any, name: str) -> float:
    value = float(item.attrs[name])
    if not 0 < value < math.inf:
        raise _Refused(f"has the {name} {value} where a number above 0 was expected")
    return value

"""Open HDF5 files of others: refuse what leads out of the file, and what claims to be larger than any network of ours.

HDF5 can name other files, whose content would then be read: by external links, external storage and virtual datasets.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.foreign.archives import check_archive, refuse_ratio
from models.release import ReleaseError

MOST_BYTES = 2**31
"""Most bytes that the arrays of a network's file may take in memory. EfficientNetB7 takes 2**28."""

MOST_OBJECTS = 100_000
"""Most groups and arrays in a file."""

WEIGHTS = "model.weights.h5"
"""Entry of a `.keras` archive with the weights."""

BROKEN = (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, IndexError, zipfile.BadZipFile)
"""What h5py and zipfile raise for damaged files."""


@contextmanager
def opened(path: Path, writer: str = "") -> Iterator[Any]:
    """Open the HDF5 file at a path, or the weights in the `.keras` archive there, after checking it.

    Args:
        path: Path of an HDF5 file or of a `.keras` archive.
        writer: Name of the program that wrote it, for messages; empty as long as it is not read from the file.

    Yields:
        The h5py.File, in which `path` can be read without leading to another file.

    Raises:
        ReleaseError: If the file is refused or damaged; the message says why.
    """
    import h5py

    try:
        if not zipfile.is_zipfile(path):
            with h5py.File(path, "r") as file:
                _check(file, path)
                yield file
            return
        with zipfile.ZipFile(path) as archive:
            check_archive(archive)
            entry = archive.getinfo(WEIGHTS)
            if entry.file_size > MOST_BYTES:
                raise ReleaseError(f"{path} holds weights of {entry.file_size:,} bytes; {_MOST}")
            with h5py.File(io.BytesIO(archive.read(entry)), "r") as file:
                _check(file, path)
                yield file
    except ReleaseError:
        raise
    except BROKEN as error:
        reason = str(error).partition("\n")[0][:200]
        wrote, where = (f", which {writer} wrote,", " there") if writer else ("", "")
        raise ReleaseError(
            f"the weights in {path}{wrote} cannot be read ({reason}); save the model{where} again"
        ) from error


_MOST = f"at most {MOST_BYTES:,} are read, so give a file of the network alone"


def _check(file: Any, path: Path) -> None:
    """Refuse links and arrays of other files, too many objects, and arrays that together claim too many bytes."""
    import h5py

    seen: set[Any] = set()  # two groups may contain each other
    waiting, total, stored = [file], 0, 0
    while waiting:
        group = waiting.pop()
        for name in group:
            if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
                raise ReleaseError(f"{path} links to another file at {name[:80]!r}; save the model again as one file")
            item = group.get(name)
            place = h5py.h5o.get_info(item.id) if item is not None else None
            if place is None or (place.fileno, place.addr) in seen:
                continue
            seen.add((place.fileno, place.addr))
            if len(seen) > MOST_OBJECTS:
                raise ReleaseError(f"{path} holds over {MOST_OBJECTS:,} groups and arrays; save the model again")
            if isinstance(item, h5py.Group):
                waiting += [item] if not name.startswith("optimizer") else []
                continue
            if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
                raise ReleaseError(f"{path} keeps {name[:80]!r} outside of itself; save the model again as one file")
            total += item.size * item.dtype.itemsize
            if total > MOST_BYTES:
                raise ReleaseError(f"{path} claims to hold weights of over {total:,} bytes; {_MOST}")
            stored += item.id.get_storage_size()
    refuse_ratio(total, stored)


def stored_values(file: Any) -> int:
    """Return how many numbers a checked file stores in its arrays, which may be fewer than these claim."""
    import h5py

    sizes: list[int] = []

    def add(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            sizes.append(min(item.size, item.id.get_storage_size()))

    file.visititems(add)
    return sum(sizes)

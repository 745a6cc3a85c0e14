"""Look at what a ZIP archive of others claims before anything in it is unpacked.

A compressed entry of a megabyte can unpack to a gigabyte, and an entry can hold more than the archive says of it.
"""

from __future__ import annotations

import copy
import zipfile

MOST_ENTRIES = 100
"""Most entries of an archive. Keras writes three, and one more for each file that a layer keeps."""

MOST_UNPACKED = 2**31 + 2**27
"""Most bytes that all entries of an archive may take together: arrays, descriptions and what is beside them."""

MOST_RATIO = 100
"""Most bytes that one stored byte may become. Trained weights become at most half as long by compression."""

SMALL = 2**26
"""Bytes that may be unpacked whatever the ratio, as small files of equal numbers are."""

_CHUNK = 2**20


def check_archive(archive: zipfile.ZipFile) -> None:
    """Refuse an archive with too many entries, two of one name, names that lead out of it, or too much content.

    Entries that are stored as they are cost nothing to check; the content of compressed ones is counted in parts.

    Args:
        archive: The archive, open for reading.

    Raises:
        ValueError: If the archive is refused; the message says what was found and what is read.
    """
    entries = archive.infolist()
    if len(entries) > MOST_ENTRIES:
        raise ValueError(f"it has {len(entries):,} entries, and at most {MOST_ENTRIES} are read")
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has two entries named {twice[:80]!r}")
    for name in names:
        if name.startswith(("/", "\\")) or ":" in name or ".." in name.replace("\\", "/").split("/"):
            raise ValueError(f"its entry {name[:80]!r} leads out of it")
    unpacked, stored = sum(entry.file_size for entry in entries), sum(entry.compress_size for entry in entries)
    if unpacked > MOST_UNPACKED:
        raise ValueError(f"its entries take {unpacked:,} bytes, and at most {MOST_UNPACKED:,} are read")
    refuse_ratio(unpacked, stored)
    for entry in entries:
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"its entry {entry.filename[:80]!r} is compressed in another way than by deflating")
        if not _holds_what_it_says(archive, entry):
            raise ValueError(f"its entry {entry.filename[:80]!r} holds more than the {entry.file_size:,} bytes it says")


def refuse_ratio(unpacked: int, stored: int) -> None:
    """Refuse content that becomes far larger than it is stored.

    Args:
        unpacked: Bytes that the content takes in memory.
        stored: Bytes that it takes in the file.

    Raises:
        ValueError: If it is larger than trained weights become; the message has both sizes.
    """
    if unpacked > SMALL and unpacked > MOST_RATIO * stored:
        raise ValueError(f"its {stored:,} bytes unpack to {unpacked:,}, as no trained weights do")


def _holds_what_it_says(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    """Return whether an entry holds no more bytes than the archive says; stops at the first byte more."""
    if entry.compress_type == zipfile.ZIP_STORED:
        return entry.compress_size == entry.file_size
    told = copy.copy(entry)
    told.file_size, told.CRC = entry.file_size + 1, None  # type: ignore[assignment]  # zipfile stops at the told size
    left = told.file_size
    with archive.open(told) as file:
        while left and (content := file.read(min(left, _CHUNK))):
            left -= len(content)
    return left > 0

"""Store in a .keras file on what data the network was trained, and read it back.

The metadata is an additional entry of the file's ZIP archive, which Keras ignores. It is the only record that a network
which was trained on another machine has seen this catalog's products.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

_ENTRY = "shelfwise.json"
_MOST_BYTES = 4096
"""Largest metadata entry that is read."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def add_origin(archive: IO[bytes], origin: Mapping[str, Any]) -> None:
    """Add the origin of a network, its training metadata, to a .keras archive.

    Args:
        archive: The archive, open for reading and writing.
        origin: `train_images` (count) and `data_sha256` (64 hexadecimal digits), as `origin_of` returns them.
    """
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(_ENTRY, json.dumps(origin))


def origin_of(path: Path) -> dict[str, Any]:
    """Read the origin of a network, its training metadata, from a .keras file.

    Args:
        path: A network's file from any source; only a `.keras` archive has an origin. Nothing but a count and
            a hash is accepted from its metadata.

    Returns:
        `train_images` and `data_sha256`; an empty dict if the file does not contain both in valid form.
    """
    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as file:
        if _ENTRY not in file.namelist() or file.getinfo(_ENTRY).file_size > _MOST_BYTES:
            return {}
        try:
            origin = json.loads(file.read(_ENTRY))
        except ValueError:
            return {}
    match origin:
        case {"train_images": int(images), "data_sha256": str(digest)} if images > 0 and _SHA256.fullmatch(digest):
            return {"train_images": int(images), "data_sha256": digest}
    return {}

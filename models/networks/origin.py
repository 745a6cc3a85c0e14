"""What a .keras file says of the training that made it, in an entry of its archive that Keras passes over.

Without it nobody knows that a network which comes back from an accelerator has learned from this catalog's products.
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
_SHA256 = re.compile(r"[0-9a-f]{64}")


def add_origin(archive: IO[bytes], told: Mapping[str, Any]) -> None:
    """Add to an archive what `origin_of` returns."""
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(_ENTRY, json.dumps(told))


def origin_of(path: Path) -> dict[str, Any]:
    """Return what a file says of the training that made it.

    Args:
        path: A `.keras` file of anybody; it is not trusted further than a count and a hash.

    Returns:
        `train_images` and `data_sha256`, or nothing where the file does not tell both.
    """
    with zipfile.ZipFile(path) as file:
        if _ENTRY not in file.namelist() or file.getinfo(_ENTRY).file_size > _MOST_BYTES:
            return {}
        try:
            told = json.loads(file.read(_ENTRY))
        except ValueError:
            return {}
    match told:
        case {"train_images": int(images), "data_sha256": str(digest)} if images > 0 and _SHA256.fullmatch(digest):
            return {"train_images": int(images), "data_sha256": digest}
    return {}

"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def in_place_of(target: Path) -> Iterator[Path]:
    """Yield a hidden name beside a file; what the block writes there replaces the file when it ends well.

    Args:
        target: The file, of one writer at a time; its directory is made.

    Raises:
        OSError: If it cannot be written; a former file stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.tmp")
    try:
        yield scratch
        os.replace(scratch, target)
    finally:
        scratch.unlink(missing_ok=True)


def write_whole(target: Path, content: str | bytes | memoryview) -> int:
    """Write a file as `in_place_of` does; what a text cannot hold becomes a question mark. Return its bytes."""
    with in_place_of(target) as scratch:
        return scratch.write_bytes(content.encode("utf-8", "replace") if isinstance(content, str) else content)

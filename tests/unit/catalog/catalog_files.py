"""Catalog files of the tests: written, read by one reader to plain rows, or refused."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from jobs.catalog.layout import Layout
from jobs.catalog.rows import Batches, Part
from jobs.errors import UsageError

Read = Callable[[Path, str, Layout, Part], Batches]
Rows = list[tuple[Any, ...]]


def written(path: Path, content: str | bytes) -> Path:
    """Write a file: bytes as they are, a text in UTF-8, compressed if the name ends with `.gz`."""
    if isinstance(content, str):
        content = gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode()
    path.write_bytes(content)
    return path


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip archive of these files."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def rows_of(read: Read, path: Path, layout: Layout, *names: str) -> Rows:
    """Return the columns of these names of every row of a file."""
    batches = read(path, str(path), layout, Part(str(path)))
    return [tuple(row[name] for name in names) for batch in batches for row in batch.to_pylist()]


def refusal_of(path: Path, read: Callable[[], object]) -> str:
    """Return the sentence with which reading a file is refused, without the file's name."""
    with pytest.raises(UsageError) as caught:
        read()
    message = str(caught.value)
    assert message.startswith(f"catalog {path} ")
    assert "\n" not in message
    return message.removeprefix(f"catalog {path} ")

"""Files whose reads are timed, for a reader that takes URLs and a file system only, and does not decode the former."""

from __future__ import annotations

import io
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes


def url_of(path: Path) -> str:
    """Return a URL of a local file in which nothing but the slashes has a meaning; `timed_files` reads it."""
    return f"file://{quote(os.fsencode(path.absolute()))}"


def _path_of(name: Any) -> Path:
    return Path(os.fsdecode(unquote_to_bytes(str(name))))


def timed_files(count: Callable[[float], None]) -> Any:
    """Return local files in pyarrow's old kind of file system, which Petastorm takes, with their reads timed.

    Its files are named by the paths of `url_of`, as Petastorm gives them on.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        from pyarrow.filesystem import FileSystem

        class TimedFile(io.FileIO):
            def read(self, size: int | None = -1) -> Any:
                started = time.perf_counter()
                try:
                    return super().read(-1 if size is None else size)
                finally:
                    count(time.perf_counter() - started)

            def __del__(self) -> None:  # Petastorm leaves its files to the garbage collector, which would warn
                self.close()

        class TimedFiles(FileSystem):  # type: ignore[misc]
            """Is no LocalFileSystem: pyarrow opens the files of such a one itself, by their undecoded names."""

            def open(self, path: Any, mode: str = "rb") -> Any:
                return TimedFile(_path_of(path), mode)

            def exists(self, path: Any) -> bool:
                return _path_of(path).exists()

            def isdir(self, path: Any) -> bool:
                return _path_of(path).is_dir()

            def isfile(self, path: Any) -> bool:
                return _path_of(path).is_file()

        return TimedFiles()

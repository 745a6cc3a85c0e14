"""Files whose reads are timed, for a reader that only takes a file system."""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Callable
from typing import Any


def timed_files(count: Callable[[float], None]) -> Any:
    """Return local files in pyarrow's old kind of file system, which Petastorm takes, with their reads timed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        from pyarrow.filesystem import LocalFileSystem

        class TimedFile(io.FileIO):
            def read(self, size: int | None = -1) -> Any:
                started = time.perf_counter()
                try:
                    return super().read(-1 if size is None else size)
                finally:
                    count(time.perf_counter() - started)

            def __del__(self) -> None:  # Petastorm leaves its files to the garbage collector, which would warn
                self.close()

        class TimedFiles(LocalFileSystem):  # type: ignore[misc]
            def open(self, path: Any, mode: str = "rb") -> Any:
                return TimedFile(path) if mode == "rb" else super().open(path, mode)

        return TimedFiles()

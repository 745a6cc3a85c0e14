"""Petastorm 0.13.1 on the installed pyarrow and NumPy: replacements for the names that both have removed.

Petastorm reads through pyarrow's legacy ParquetDataset, which pyarrow 16 removed, and uses two names that NumPy 2
removed. This module replaces `pq` and `np` inside Petastorm's own modules; pyarrow and NumPy stay unchanged. The
replacement covers what `make_batch_reader` needs for a list of files: no directories, partitions or filters.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.pins import check_pins

_REMOVED_MODULES = {
    "pyarrow.filesystem": ("LocalFileSystem",),
    "pyarrow.hdfs": ("HadoopFileSystem",),
    "distutils": (),
    "distutils.version": ("LooseVersion",),
}
"""Modules that `import petastorm` imports, and their names that it uses. A reader of local files needs none of them."""

_PARQUET_USERS = ("reader", "arrow_reader_worker", "etl.dataset_metadata")
_loading = Lock()


@dataclass(frozen=True)
class RowGroup:
    """Part of a Parquet file; has the interface of pyarrow's legacy ParquetDatasetPiece.

    Attributes:
        path: Path of the file, as `open_file_func` takes it.
        open_file_func: Opens a path for reading.
        row_group: Number of the row group, from 0; None stands for the whole file.
        partition_keys: Always empty; Petastorm reads it.
    """

    path: str
    open_file_func: Callable[[str], Any] = field(repr=False)
    row_group: int | None = None
    partition_keys: Sequence[Any] = ()

    def get_metadata(self) -> pq.FileMetaData:
        """Return the footer of the file, which its file system may have read before."""
        with self.open_file_func(self.path) as source:
            return source.footer

    def read(self, columns: Collection[str] | None = None, partitions: None = None) -> pa.Table:
        """Read columns of the row group.

        Args:
            columns: Names of the columns to read; None reads all.
            partitions: Always None; part of the legacy interface.

        Returns:
            The columns in the order of the file.
        """
        with self.open_file_func(self.path) as source, parquet_file(source) as file:
            names = [name for name in file.schema_arrow.names if columns is None or name in columns]
            return file.read(names) if self.row_group is None else file.read_row_group(self.row_group, names)


def parquet_file(source: Any) -> pq.ParquetFile:
    """Open a Parquet file without reading its footer again; replaces pyarrow's class in Petastorm's worker.

    Args:
        source: Open file of a file system, with its `footer`.
    """
    return pq.ParquetFile(source, metadata=source.footer)


class FileList:
    """Parquet files with one schema; has the interface of pyarrow's legacy ParquetDataset.

    Attributes:
        paths: Paths of the files.
        fs: File system with a method `open(path)`; its files have an attribute `footer`.
        pieces: One piece for each file.
    """

    metadata = common_metadata = partitions = None

    def __init__(self, paths: Sequence[str], filesystem: Any, *, filters: Any = None, **_unused: Any) -> None:
        """Take the arguments that Petastorm passes.

        Args:
            paths: Paths of the files.
            filesystem: File system with a method `open(path)`.
            filters: Must be None.

        Raises:
            NotImplementedError: If a directory or filters are passed; pass the files of the directory instead.
        """
        if isinstance(paths, str) or filters is not None:
            raise NotImplementedError("expected a list of files without filters; list the files of a directory first")
        self.paths, self.fs = list(paths), filesystem
        self.pieces = [RowGroup(path, filesystem.open) for path in self.paths]


class _Overlay(ModuleType):
    """A module with some names replaced; every other name is looked up in the original module."""

    def __init__(self, module: ModuleType, **names: Any) -> None:
        super().__init__(module.__name__)
        self.__dict__.update(names, __getattr__=lambda name: getattr(module, name))


@contextmanager
def _removed_modules() -> Iterator[None]:
    """Provide empty versions of modules that pyarrow and Python 3.12 have removed, for the duration of the block."""
    added = {name: ModuleType(name) for name in _REMOVED_MODULES if name not in sys.modules}
    for name, module in added.items():
        module.__dict__.update({attribute: type(attribute, (), {}) for attribute in _REMOVED_MODULES[name]})
    sys.modules.update(added)
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]


def petastorm() -> Any:
    """Import Petastorm and adapt it to the installed pyarrow and NumPy; later calls return the same module.

    Raises:
        RunFailed: If the installed Petastorm or pyarrow is none that works; the message names the one to install.
    """
    with _loading:
        return _adapted()


@lru_cache(maxsize=1)
def _adapted() -> Any:
    check_pins()
    with _removed_modules():
        package = importlib.import_module("petastorm")
        users = [importlib.import_module(f"petastorm.{name}") for name in _PARQUET_USERS]
    parquet = _Overlay(pq, ParquetDataset=FileList, ParquetDatasetPiece=RowGroup)
    for module in users:
        module.pq = parquet  # type: ignore[attr-defined]
    unischema: Any = importlib.import_module("petastorm.unischema")
    worker: Any = importlib.import_module("petastorm.arrow_reader_worker")
    unischema.np = worker.np = _Overlay(np, unicode_=np.str_, string_=np.bytes_)
    worker.ParquetFile = parquet_file
    return package

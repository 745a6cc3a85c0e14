"""What is put in a store is seen whole or not at all, also where the store does not see to that; a full disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import _registry
from upath import UPath
from upath._flavour import WrappedFileSystemFlavour

from jobs.spark.faults import sentence
from jobs.storage import stores
from jobs.storage.faults import StoreError
from jobs.storage.stores import place


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_disk_space_for_a_copy_gives_one_sentence_at_once(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code), "/tmp/copy")

    monkeypatch.setattr(LocalFileSystem, "get_file", full)
    with pytest.raises(StoreError, match="no space is left on the disk of /tmp/copy; free some"):
        stores.fetch(UPath("local:///a.parquet"), Path("/tmp/copy"))


class Hdfs(LocalFileSystem):  # type: ignore[misc]
    """A namenode's ways on this disk: a file is seen while it is written, and nothing is moved over what is there."""

    protocol = "hdfs"
    seen: ClassVar[list[str]] = []

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        Path(rpath).write_bytes(b"half")
        self.seen.extend(path.name for path in Path(rpath).parent.iterdir())
        if Path(lpath).name == "broken":
            raise ValueError("the connection ended")
        Path(rpath).write_bytes(Path(lpath).read_bytes())

    def mv(self, path1: str, path2: str, **_: Any) -> None:
        assert not Path(path2).exists()
        Path(path1).rename(path2)


@pytest.fixture
def hdfs(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hdfs]]:
    """Let that be what speaks to HDFS; UPath remembers how a store writes its paths, so it must forget."""
    monkeypatch.setitem(_registry, "hdfs", Hdfs)
    WrappedFileSystemFlavour.from_protocol.cache_clear()
    yield Hdfs
    WrappedFileSystemFlavour.from_protocol.cache_clear()


@pytest.mark.usefixtures("hdfs")
def test_a_file_of_hdfs_is_never_seen_half_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target = place(f"hdfs://{tmp_path}/there/2026-11-01--part-1.parquet")
    for content in (b"one", b"two"):
        (tmp_path / "source").write_bytes(content)
        stores.put(tmp_path / "source", target)
        assert (tmp_path / "there" / target.name).read_bytes() == content
    (tmp_path / "broken").write_bytes(b"three")
    with pytest.raises(ValueError, match="ended"):
        stores.put(tmp_path / "broken", target)
    assert [path.name for path in (tmp_path / "there").iterdir()] == [target.name]
    assert (tmp_path / "there" / target.name).read_bytes() == b"two"
    assert all(name == target.name or name.startswith(".") for name in Hdfs.seen)


def test_a_file_named_by_its_content_is_not_replaced_by_an_equal_one(
    tmp_path: Path, hdfs: type[Hdfs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two attempts at a task the later one may be killed at any moment; what the earlier one put there stays."""
    (tmp_path / "there").mkdir()
    (tmp_path / "source").write_bytes(b"one")
    target = place(f"hdfs://{tmp_path}/there/part-1.parquet")
    stores.put(tmp_path / "source", target)
    removed: list[str] = []

    def remove(_: Hdfs, path: str) -> None:
        removed.append(path)
        Path(path).unlink()

    monkeypatch.setattr(hdfs, "rm_file", remove)
    stores.put(tmp_path / "source", target)
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["part-1.parquet"]
    assert all("/.part-1.parquet." in path for path in removed)


def test_a_full_disk_of_an_executor_gives_one_sentence() -> None:
    for code in (errno.ENOSPC, errno.EDQUOT):
        said = sentence(f"java.io.IOException: {os.strerror(code)}")
        assert said.startswith("a disk that this run writes to is full")

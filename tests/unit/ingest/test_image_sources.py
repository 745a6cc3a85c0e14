"""From an image_uri to bytes: what is allowed, and that no file makes reading hang or run away."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.images.normalise import MAX_SOURCE_BYTES, Rejected
from jobs.ingest.local_files import read_source, resolve_uri
from sql.records import REJECTION_REASONS

BASE = Path("/catalog")


class TestResolveUri:
    @pytest.mark.parametrize(
        ("image_uri", "path"),
        [
            ("red.jpg", "/catalog/red.jpg"),
            ("shirts/red shirt.jpg", "/catalog/shirts/red shirt.jpg"),
            ("/photos/red.jpg", "/photos/red.jpg"),
            ("100%20.jpg", "/catalog/100%20.jpg"),  # a plain path is literal
            ("a:b.jpg", "/catalog/a:b.jpg"),
            ("12:30:00.jpg", "/catalog/12:30:00.jpg"),
            ("file:///photos/red.jpg", "/photos/red.jpg"),
            ("FILE:///photos/red.jpg", "/photos/red.jpg"),
            ("file://localhost/photos/red.jpg", "/photos/red.jpg"),
            ("file:/photos/red.jpg", "/photos/red.jpg"),
            ("file:shirts/red.jpg", "/catalog/shirts/red.jpg"),
            ("file:///photos/red%20shirt%23%3F%C3%A9.jpg", "/photos/red shirt#?é.jpg"),
        ],
    )
    def test_local_paths_and_file_uris(self, image_uri: str, path: str) -> None:
        assert resolve_uri(image_uri, BASE) == Path(path)

    def test_percent_encoded_bytes_that_are_no_utf8_still_name_their_file(self, tmp_path: Path) -> None:
        name = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
        Path(os.fsdecode(name)).write_bytes(b"x")
        assert read_source(resolve_uri(f"file://{tmp_path}/caf%E9.jpg", BASE)) == b"x"

    @pytest.mark.parametrize(
        "image_uri",
        [
            "",
            "  ",
            "http://shop.example/red.jpg",
            "s3://bucket/red.jpg",
            "hdfs://node/red.jpg",
            "data:image/png;base64,iVBORw0KGgo=",
            "file://otherhost/red.jpg",
            "file://",
            "file:",
            "file:///",
            "red\x00.jpg",
            "file:///red%00.jpg",
            "C:\\photos\\red.jpg",
            "d:/photos/red.jpg",
            "\\\\server\\photos\\red.jpg",
            "red\ud800.jpg",
        ],
    )
    def test_other_kinds_of_uris_are_refused(self, image_uri: str) -> None:
        with pytest.raises(Rejected) as caught:
            resolve_uri(image_uri, BASE)
        assert caught.value.reason == "uri_not_allowed"

    @given(st.text())
    def test_any_text_raises_only_rejected(self, image_uri: str) -> None:
        try:
            read_source(resolve_uri(image_uri, Path("/nowhere/at/all")), max_bytes=10)
        except Rejected as rejected:
            assert rejected.reason in REJECTION_REASONS


class TestReadSource:
    def read(self, path: Path, max_bytes: int = MAX_SOURCE_BYTES) -> str:
        with pytest.raises(Rejected) as caught:
            read_source(path, max_bytes=max_bytes)
        return caught.value.reason

    def test_returns_the_bytes(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"12345")
        assert read_source(tmp_path / "a", max_bytes=5) == b"12345"

    def test_missing(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"1")
        (tmp_path / "dangling").symlink_to(tmp_path / "gone")
        assert self.read(tmp_path / "gone") == "missing"
        assert self.read(tmp_path / "file" / "below") == "missing"
        assert self.read(tmp_path / "dangling") == "missing"

    def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / "a").touch()
        assert self.read(tmp_path / "a") == "empty"

    def test_only_regular_files_are_opened(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "socket"))
            for path in (tmp_path, tmp_path / "fifo", tmp_path / "socket", Path("/dev/zero")):
                assert self.read(path) == "unreadable", path

    def test_a_fifo_that_replaces_the_file_after_the_check_does_not_hang(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "regular").write_bytes(b"1")
        os.mkfifo(tmp_path / "fifo")
        before = (tmp_path / "regular").stat()
        monkeypatch.setattr(Path, "stat", lambda self, **_: before)
        assert self.read(tmp_path / "fifo") == "unreadable"

    def test_a_large_file_is_refused_unread(self, tmp_path: Path) -> None:
        with (tmp_path / "sparse").open("wb") as file:
            file.truncate(2**40)
        started = time.perf_counter()
        assert self.read(tmp_path / "sparse") == "too_large"
        assert time.perf_counter() - started < 20, "a tebibyte takes longer"

    @pytest.mark.parametrize("moment", ["open", "fstat"])
    def test_a_file_that_grows_while_it_is_read_is_not_read_past_the_limit(
        self, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "growing"
        path.write_bytes(b"1")
        original = getattr(os, moment)

        def call_and_grow(*arguments: Any) -> Any:
            result = original(*arguments)
            with path.open("ab") as file:
                file.write(b"1" * 10)
            return result

        monkeypatch.setattr(os, moment, call_and_grow)
        assert self.read(path, max_bytes=10) == "too_large"

    def test_forbidden(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a").write_bytes(b"1")

        def refuse(*_: Any) -> int:  # root may read a file of mode 000, so the refusal is played
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
        assert self.read(tmp_path / "a") == "unreadable"

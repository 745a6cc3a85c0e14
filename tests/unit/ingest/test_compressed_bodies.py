"""Web servers that compress images although they were asked not to."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
from backports import zstd

from jobs.images.normalise import Rejected
from jobs.ingest.web import WebImages
from tests.unit.ingest.test_web_images import HERE, RED
from tests.web import Answer, WebServer

LIMIT = 2**20
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "deflate, gzip": lambda data: gzip.compress(zlib.compress(data)),
}


def encoded(body: bytes, encoding: str) -> Answer:
    return lambda handler: handler.give(body, 200, Content_Encoding=encoding)


def rejection(server: WebServer) -> Rejected:
    with pytest.raises(Rejected) as caught:
        WebImages(HERE, max_bytes=LIMIT).fetch(f"{server.url}/a.jpg")
    assert server.asked["/a.jpg"] == 1, "the next try would bring the same"
    return caught.value


@pytest.mark.parametrize("encoding", PACKED)
def test_a_compressed_image_is_unpacked(server: WebServer, encoding: str) -> None:
    server.answers["/a.jpg"] = encoded(PACKED[encoding](RED), encoding)
    assert WebImages(HERE).fetch(f"{server.url}/a.jpg").data == RED


def test_deflate_without_its_header_is_unpacked_as_browsers_do(server: WebServer) -> None:
    server.answers["/a.jpg"] = encoded(zlib.compress(RED)[2:-4], "deflate")
    assert WebImages(HERE).fetch(f"{server.url}/a.jpg").data == RED


@pytest.mark.parametrize("encoding", PACKED)
def test_a_bomb_is_refused_without_unpacking_all_of_it(server: WebServer, encoding: str) -> None:
    bomb = PACKED[encoding](bytes(64 * LIMIT))
    server.answers["/a.jpg"] = encoded(bomb, encoding)
    tracemalloc.start()
    found = rejection(server)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.reason, found.detail) == ("too_large", f"the body went on after the limit of {LIMIT:,} bytes")
    assert peak_bytes < 8 * LIMIT


def zstd_frame(window_log: int, content: bytes = b"x") -> bytes:
    """Return a frame of zstd that asks for a window of 2**window_log bytes, with one block as it is."""
    block = (len(content) << 3 | 1).to_bytes(3, "little") + content
    return b"\x28\xb5\x2f\xfd" + bytes([0, window_log - 10 << 3]) + block


@pytest.mark.parametrize("window_log", [24, 27, 30, 31, 41])
@pytest.mark.parametrize("before", [b"", zstd_frame(23, RED)], ids=["first frame", "second frame"])
def test_a_body_that_asks_for_a_window_of_gigabytes_is_refused(
    server: WebServer, before: bytes, window_log: int
) -> None:
    server.answers["/a.jpg"] = encoded(before + zstd_frame(window_log), "zstd")
    found = rejection(server)
    assert (found.reason, "does not unpack as zstd" in found.detail) == ("unreadable", True)


def test_a_window_of_8_mib_and_several_frames_are_unpacked(server: WebServer) -> None:
    server.answers["/a.jpg"] = encoded(zstd_frame(23, RED[:100]) + zstd.compress(RED[100:]), "zstd")
    assert WebImages(HERE).fetch(f"{server.url}/a.jpg").data == RED


def test_a_body_that_is_cut_off_is_not_an_image(server: WebServer) -> None:
    server.answers["/a.jpg"] = encoded(zstd.compress(RED)[:-10], "zstd")
    assert rejection(server).reason == "unreadable"


def test_a_body_that_was_compressed_again_and_again_is_refused(server: WebServer) -> None:
    server.answers["/a.jpg"] = encoded(RED, ", ".join(["zstd"] * 4))
    assert rejection(server).detail == "the body is compressed 4 times, over 3"


@pytest.mark.parametrize("encoding", [name for name in PACKED if "," not in name])
def test_a_body_that_is_not_what_its_header_says_is_unreadable(server: WebServer, encoding: str) -> None:
    server.answers["/a.jpg"] = encoded(RED, encoding)
    found = rejection(server)
    assert found.reason == "unreadable"
    assert encoding in found.detail


def test_an_empty_compressed_body_is_empty(server: WebServer) -> None:
    server.answers["/a.jpg"] = encoded(gzip.compress(b""), "gzip")
    assert rejection(server).reason == "empty"


@pytest.mark.parametrize("encoding", ["identity", "binary", "utf-8", ""])
def test_a_header_that_names_no_compression_changes_nothing(server: WebServer, encoding: str) -> None:
    server.answers["/a.jpg"] = encoded(RED, encoding)
    assert WebImages(HERE).fetch(f"{server.url}/a.jpg").data == RED


@pytest.mark.parametrize("encoding", ["compress", "dcz", "gzip, compress"])
def test_a_compression_that_is_not_known_is_named(server: WebServer, encoding: str) -> None:
    server.answers["/a.jpg"] = encoded(RED, encoding)
    found = rejection(server)
    assert found.reason == "unreadable"
    assert found.detail.startswith(f"the body is compressed as {encoding.split()[-1]}, which")

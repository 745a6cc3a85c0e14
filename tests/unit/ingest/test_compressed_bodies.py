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

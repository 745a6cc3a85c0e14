"""Images of a catalog in object stores: what can never be had is a rejection at once, a store that is away is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec import get_filesystem_class
from upath import UPath

from jobs import store_faults
from jobs.config import HttpLimits, Place
from jobs.images import Rejected
from jobs.sources import Source, SourceReader, in_store
from jobs.store_faults import StoreError
from tests.object_store import ENVIRONMENT
from tests.web import Answer, Handler, WebServer, image, in_turn, status, web_server

RED = b"the bytes of an image"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """What answers for S3, as each test tells it to."""
    monkeypatch.setattr(Handler, "do_HEAD", Handler.do_GET, raising=False)
    with web_server() as running:
        for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": running.url}.items():
            monkeypatch.setenv(name, value)
        get_filesystem_class("s3").clear_instance_cache()
        yield running
    get_filesystem_class("s3").clear_instance_cache()


def read(image_uri: str, *, base: Place = Path("/catalog"), home: Place | None = None) -> Source:
    """Read one image as ingest does."""
    reader = SourceReader(base, HttpLimits(), home=home)
    [(_, source)] = reader.read([{"image_uri": image_uri, "known_source_version": None}])
    return source


def rejected(image_uri: str, **places: Any) -> tuple[str, str]:
    """Return why an image is rejected, and see that it is so at once."""
    started = time.monotonic()
    rejection = read(image_uri, **places).rejection
    assert rejection is not None
    assert time.monotonic() - started < 20, "a store that is away is waited for much longer"
    return rejection.reason, rejection.detail


@pytest.mark.parametrize("code", [301, 307, 400])
def test_what_a_store_refuses_is_a_rejection_at_once(server: WebServer, code: int) -> None:
    server.answers["/b/a.jpg"] = status(code)
    assert rejected("s3://b/a.jpg") == ("unreadable", f"the store refuses it: HTTP {code}")


@pytest.mark.parametrize("bucket", ["bad bucket!", "arn:aws:s3:us-west-2:1:accesspoint", "a" * 300])
def test_what_can_be_no_bucket_is_a_rejection_at_once(server: WebServer, bucket: str) -> None:
    assert rejected(f"s3://{bucket}/a.jpg") == ("unreadable", "the store refuses it: ParamValidationError")
    assert not server.asked


@pytest.mark.parametrize("answer", [status(503), status(429)], ids=["503", "429"])
def test_a_store_that_is_busy_is_waited_for_and_ends_the_run_if_it_stays_so(
    server: WebServer, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["/b/a.jpg"] = in_turn(*[answer] * 5, image(RED))
    assert read("s3://b/a.jpg").data == RED
    monkeypatch.setattr(store_faults, "PATIENCE_SECONDS", 0.5)
    server.answers["/b/a.jpg"] = answer
    with pytest.raises(StoreError, match=r"could not be .* for \d+ s .*; see that the store answers"):
        read("s3://b/a.jpg")


def test_a_store_that_does_not_answer_ends_the_run(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_faults, "PATIENCE_SECONDS", 0.5)
    server.shutdown()
    server.socket.close()
    with pytest.raises(StoreError, match="see that the store answers"):
        read("s3://b/a.jpg")


def test_without_credentials_others_images_are_rejections_and_our_own_store_ends_the_run(
    server: WebServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    assert rejected("s3://b/a.jpg") == ("unreadable", "there are no credentials for s3://")
    for own in ({"base": UPath("s3://shop")}, {"home": UPath("s3://shop")}):
        with pytest.raises(StoreError, match="without credentials; set AWS_ACCESS_KEY_ID"):
            read("s3://b/a.jpg", **own)


@pytest.mark.parametrize(
    "image_uri",
    [
        "hdfs://10.0.0.5:8020/a.jpg",
        "hdfs://name:8021/a.jpg",
        "HDFS://root@name:8020/a.jpg",
        "hdfs://name:8020@evil/a.jpg",
        "hdfs:///a.jpg",
    ],
)
def test_a_catalog_names_no_namenode_of_its_own(image_uri: str) -> None:
    for own in ({}, {"base": UPath("s3://shop/catalog")}, {"home": UPath("hdfs://name:8020/shelfwise")}):
        assert rejected(image_uri, **own) == (
            "uri_not_allowed",
            "hdfs:// may name the namenode of catalog or SHELFWISE_HOME alone",
        )
    with pytest.raises(Rejected, match="libraries"):  # it gets as far as to Hadoop's, which are not here
        in_store("hdfs://name:8020/a.jpg", Path("/catalog"), [UPath("hdfs://name:8020/shelfwise")])


@pytest.mark.parametrize("image_uri", ["hdfs://name:port/a.jpg", "hdfs://[::1/a.jpg", "hdfs://"])
def test_a_link_that_is_no_link_is_a_rejection(image_uri: str) -> None:
    assert rejected(image_uri)[0] == "uri_not_allowed"

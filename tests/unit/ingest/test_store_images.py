"""Catalogs in object stores: what can never be had is a rejection at once; a store that is away loses nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fsspec import get_filesystem_class
from upath import UPath

from jobs.catalog.forms.folders import walk_store
from jobs.images.normalise import Rejected
from jobs.ingest.config import HttpLimits
from jobs.ingest.sources import Source, SourceReader, in_store
from jobs.storage import faults as store_faults
from jobs.storage.faults import StoreError
from jobs.storage.places import Place
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
def test_an_image_that_a_store_refuses_is_rejected_at_once(server: WebServer, code: int) -> None:
    server.answers["/b/a.jpg"] = status(code)
    assert rejected("s3://b/a.jpg") == ("unreadable", f"the store refuses it: HTTP {code}")


@pytest.mark.parametrize("bucket", ["bad bucket!", "arn:aws:s3:us-west-2:1:accesspoint", "a" * 300])
def test_an_impossible_bucket_name_is_rejected_at_once(server: WebServer, bucket: str) -> None:
    assert rejected(f"s3://{bucket}/a.jpg") == ("unreadable", "the store refuses it: ParamValidationError")
    assert not server.asked


@pytest.mark.parametrize("answer", [status(503), status(429)], ids=["503", "429"])
def test_a_run_waits_for_a_busy_store_and_ends_if_it_stays_busy(
    server: WebServer, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda _: None))  # up to half a minute in all
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


def test_without_credentials_images_of_other_stores_are_rejected_and_the_own_store_ends_the_run(
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
    ("code", "status_code", "own"),
    [("ExpiredToken", 400, None), ("InvalidAccessKeyId", 403, "s3://b/shelfwise"), ("InvalidToken", 400, "s3://b/c")],
)
def test_credentials_that_have_expired_end_the_run_and_reject_no_image(
    server: WebServer, code: str, status_code: int, own: str | None
) -> None:
    """A token that ends in the middle of a night says nothing of the images; HEAD is answered without a reason."""

    server.answers["/b/a.jpg"] = said_by_s3(code, status_code)
    with pytest.raises(StoreError, match=rf"knows the credentials that were found no more \({code}\); renew them"):
        read("s3://b/a.jpg", home=UPath(own) if own else None)


@pytest.mark.parametrize(("code", "status_code"), [("InvalidAccessKeyId", 403), ("InvalidToken", 400)])
def test_a_foreign_bucket_that_does_not_know_the_credentials_does_not_end_the_run(
    server: WebServer, code: str, status_code: int
) -> None:
    """A region that an account has not enabled, or another partition, says the same of good credentials."""
    server.answers["/b/a.jpg"] = said_by_s3(code, status_code)
    for own in ({}, {"home": UPath("s3://shop/shelfwise")}, {"base": UPath("s3://shop/b")}):
        found = rejected("s3://b/a.jpg", **own)
        assert found == ("unreadable", "the store does not know the credentials that were found")


def said_by_s3(code: str, status_code: int) -> Answer:
    """Refuse as S3 does: with a reason, but to HEAD without one."""

    def answer(handler: Handler) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>No more.</Message></Error>".encode()
        handler.send_response(status_code)
        handler.send_header("Content-Type", "application/xml")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    return answer


@pytest.mark.parametrize("code", [400, 403])
def test_a_forbidden_image_is_rejected_and_not_taken_for_wrong_credentials(server: WebServer, code: int) -> None:
    server.answers["/b/a.jpg"] = status(code)
    assert rejected("s3://b/a.jpg")[0] == "unreadable"


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
def test_a_link_to_another_namenode_is_rejected(image_uri: str) -> None:
    for own in ({}, {"base": UPath("s3://shop/catalog")}, {"home": UPath("hdfs://name:8020/shelfwise")}):
        assert rejected(image_uri, **own) == (
            "uri_not_allowed",
            "hdfs:// may name the namenode of catalog or SHELFWISE_HOME alone",
        )
    with pytest.raises(Rejected, match="libraries"):  # it gets as far as to Hadoop's, which are not here
        in_store("hdfs://name:8020/a.jpg", Path("/catalog"), [UPath("hdfs://name:8020/shelfwise")])


@pytest.mark.parametrize("image_uri", ["hdfs://name:port/a.jpg", "hdfs://[::1/a.jpg", "hdfs://"])
def test_an_invalid_link_is_rejected(image_uri: str) -> None:
    assert rejected(image_uri)[0] == "uri_not_allowed"


def listing(*, folders: str = "", files: str = "") -> Answer:
    """Answer as S3 does when it is asked for a folder."""
    entries = "".join(f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>" for name in folders.split())
    entries += "".join(
        f"<Contents><Key>{name}</Key><Size>1</Size><LastModified>2026-11-01T00:00:00Z</LastModified></Contents>"
        for name in files.split()
    )
    body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()
    return lambda handler: handler.give(body, 200, Content_Type="application/xml")


@pytest.fixture
def by_folder(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> WebServer:
    """A server whose answers are kept by the folder that a listing asks for."""
    original = Handler.do_GET

    def by_prefix(handler: Handler) -> None:
        handler.path = parse_qs(urlsplit(handler.path).query).get("prefix", ["other"])[0]
        original(handler)

    monkeypatch.setattr(Handler, "do_GET", by_prefix)
    server.answers["shop/"] = listing(folders="shop/shoes/ shop/tops/ shop/.hidden/")
    server.answers["shop/tops/"] = listing(files="shop/tops/ shop/tops/a.jpg")
    return server


def test_a_folder_whose_listing_fails_for_a_while_is_not_left_out(by_folder: WebServer) -> None:
    found = listing(folders="shop/shoes/red/")
    by_folder.answers["shop/shoes/"] = in_turn(*[status(503)] * 2, found)
    by_folder.answers["shop/shoes/red/"] = in_turn(*[status(500)] * 2, listing(files="shop/shoes/red/c.jpg"))
    folders = []
    for folder, subfolders, files in walk_store(UPath("s3://b/shop", use_listings_cache=False)):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        folders.append((folder, files))
    assert folders == [
        ("", []),
        ("shoes", []),
        ("shoes/red", ["c.jpg"]),
        ("tops", ["a.jpg"]),
    ]
    assert ".hidden" not in "".join(by_folder.asked)


@pytest.mark.parametrize("code", [403, 503])
def test_a_folder_that_cannot_be_listed_ends_the_run(
    by_folder: WebServer, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_faults, "PATIENCE_SECONDS", 0.5)
    by_folder.answers["shop/shoes/"] = status(code)
    with pytest.raises(StoreError, match=r"^s3://b/shop (may not|could not) be listed"):
        list(walk_store(UPath("s3://b/shop", use_listings_cache=False)))

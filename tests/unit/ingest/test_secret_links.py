"""A signed link is fetched with its signature, which is in no file, message or log line that an ingest leaves."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.catalog.files import read_part
from jobs.catalog.layout import Layout
from jobs.catalog.rows import Part
from jobs.dataset.shards import shards
from jobs.ingest.changes import _may_have_changed
from jobs.ingest.config import HttpLimits, IngestConfig
from jobs.ingest.sources import SourceReader
from jobs.ingest.task import read_and_store
from jobs.storage.places import Places
from tests.conftest import picture
from tests.web import WebServer, image, status

DAY, NEXT_DAY = date(2026, 11, 1), date(2026, 11, 2)
HERE = HttpLimits(connect_seconds=20, read_seconds=20, total_seconds=40, tries=1, allowed_networks=("127.0.0.1",))


class Night:
    """Ingests a catalog of links in this process, as the tasks of Spark do."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.places = directory, Places(directory / "home")
        self.max_megapixels = 64

    def rows(self, *links: str) -> list[dict[str, Any]]:
        catalog = self.directory / "catalog.csv"
        text = "".join(f'p{number},"{link}"\n' for number, link in enumerate(links))
        catalog.write_text("product_id,image_uri\n" + text, encoding="utf-8")
        batches = read_part(Part(str(catalog)), Layout("csv"))
        return [{**row, "image_no": 0, **dict(new())} for batch in batches for row in batch.to_pylist()]

    def __call__(self, rows: list[dict[str, Any]], day: date = DAY) -> dict[str, int]:
        config = IngestConfig("catalog.csv", day, self.places, http=HERE, max_megapixels=self.max_megapixels)
        return read_and_store(iter(rows), config, base=self.directory)

    def stored(self, root: str, day: date = DAY) -> list[dict[str, Any]]:
        return [row for path in shards(getattr(self.places, root), [day]) for row in pq.read_table(path).to_pylist()]

    def contents(self) -> bytes:
        """Every value of every file of the home."""
        files = [path for path in (self.directory / "home").rglob("*") if path.is_file()]
        return b"".join(path.read_bytes() + str(pq.read_table(path).to_pylist()).encode() for path in files)


def new() -> Mapping[str, Any]:
    """What is known of an image that the dataset does not have."""
    known = dict.fromkeys(("known_sha256", "known_ingest_date", "known_source_version", "known_reason"))
    return {**known, "to_read": True, "catalog_row_changed": False}


def seen_before(row: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a catalog whose image the dataset has."""
    known = {"known_sha256": stored["image_sha256"], "known_source_version": stored["source_version"]}
    return {**row, **known, "known_image_uri": stored["image_uri"], "known_ingest_date": str(DAY)}


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(tmp_path)


def test_a_link_signed_every_night_is_the_same_link_and_is_fetched_with_its_signature(
    night: Night, server: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "jobs")
    first, second = (f"/a.jpg?v=1&Expires={secret}&Signature={secret}" for secret in ("5ECRET1", "5ECRET2"))
    server.answers[first] = image(picture(1), etag='"1"')
    [row] = night.rows(server.url + first)
    assert night([row])["stored"] == 1
    assert server.asked == {first: 1}
    [stored] = night.stored("images")
    assert stored["image_uri"] == f"{server.url}/a.jpg?v=1&Expires=***&Signature=***"

    server.answers = {second: image(picture(1), etag='"1"')}
    [row] = night.rows(server.url + second)
    row = seen_before(row, stored)
    assert _may_have_changed(row, night.directory)
    counts = night([row], NEXT_DAY)
    assert (counts["unchanged"], counts["files"], counts["source_bytes"]) == (1, 0, 0), "the server answered 304"
    assert server.asked[second] == 1
    assert b"5ECRET" not in night.contents()
    assert "5ECRET" not in caplog.text


def test_the_rejection_of_a_signed_link_shows_nothing_of_it(night: Night, server: WebServer) -> None:
    signed = "?token=5ECRET"
    server.answers[f"/moved.jpg{signed}"] = status(302, Location=f"/gone.jpg{signed}")
    server.answers[f"/away.jpg{signed}"] = status(302, Location=f"ftp://shop.example/a.jpg{signed}")
    server.answers[f"/odd.jpg{signed}"] = status(302, Location=f"http://[5ECRET/a.jpg{signed}")
    server.answers[f"/busy.jpg{signed}"] = status(503)
    links = [f"{server.url}/{name}.jpg{signed}" for name in ("gone", "moved", "away", "odd", "busy")]
    links += [f"http://name.invalid/a.jpg{signed}", f"http://[::1/a.jpg{signed}", f"http://127.0.0.1:9/a.jpg{signed}"]
    links += [
        f"http://{'x' * 300}.example/a.jpg{signed}",
        f"http://a..b/a.jpg{signed}",
        f"http://\u2488.example/a{signed}",
    ]
    links += [f"http://ada:5ECRET@127.0.0.1/a.jpg{signed}", f"Image: {server.url}/a.jpg{signed}", f"a.jpg{signed}"]
    links += [f"{server.url}/a.jpg{signed}" + "5ECRET" * 999, f"{server.url}/a.jpg{signed}\x07"]
    assert night(night.rows(*links))["rejected"] == len(links)
    reasons = {row["product_id"]: row["reason"] for row in night.stored("seen")}
    assert [reasons[f"p{number}"] for number in range(5)] == [
        *("missing", "missing", "uri_not_allowed", "uri_not_allowed", "unreadable")
    ]
    assert [reasons[f"p{number}"] for number in (11, 12, 13, 14, 15)] == [
        *("uri_not_allowed", "bad_link", "missing", "bad_link", "bad_link")
    ]
    assert b"5ECRET" not in night.contents()


def test_an_exception_while_a_signed_link_is_fetched_does_not_show_it(server: WebServer) -> None:
    reader = SourceReader(Path("/"), HERE)
    for link in (f"{server.url}:99999/a.jpg?sig=5ECRET", "http://[5ECRET", "http://a b/?sig=5ECRET"):
        [(_, source)] = reader.read([{"image_uri": "https://shop.example/", "fetch_uri": link}])
        assert source.rejection is not None
        chained = source.rejection.__cause__ if source.rejection.__cause__ else None
        assert "5ECRET" not in f"{source.rejection} {chained}"
        assert source.rejection.__suppress_context__


def test_a_local_file_whose_name_looks_like_a_signed_link_is_read(night: Night) -> None:
    (night.directory / "a.jpg?key=7").write_bytes(picture(1))
    [row] = night.rows("a.jpg?key=7")
    assert row["image_uri"] == "a.jpg?key=***"
    assert night([row])["stored"] == 1
    [stored] = night.stored("images")
    known = {"known_source_size_bytes": stored["source_size_bytes"], "known_source_mtime_ns": stored["source_mtime_ns"]}
    row = {**seen_before(row, stored), **known}
    assert not _may_have_changed(row, night.directory)
    (night.directory / "a.jpg?key=7").write_bytes(picture(2) + b"more")
    assert _may_have_changed(row, night.directory)


def test_a_catalog_of_stored_links_keeps_what_is_stored_and_says_why_it_fetches_no_other(
    night: Night, server: WebServer
) -> None:
    """The product database's own table has links without their signatures."""
    [row] = night.rows(f"{server.url}/a.jpg?sig=***")
    assert row["fetch_uri"] is None
    assert _may_have_changed({**row, "known_image_uri": None}, night.directory)
    assert night([row])["rejected"] == 1
    [seen] = night.stored("seen")
    assert (seen["reason"], "name the catalog that has the whole link" in seen["detail"]) == ("bad_link", True)
    assert not server.asked
    assert not _may_have_changed({**row, "known_image_uri": row["image_uri"]}, night.directory)
    again = {**row, "known_image_uri": row["image_uri"], "known_reason": "bad_link"}
    assert _may_have_changed(again, night.directory)


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("Image: https://shop.example/a.jpg", "bad_link"),
        ("https;//shop.example/a.jpg", "bad_link"),
        ("https://ada:hunter2@shop.example/a.jpg", "uri_not_allowed"),
        ("//ada:hun/ter2@shop.example/a.jpg", "uri_not_allowed"),
        ("s3://ada:hunter2@bucket/a.jpg", "uri_not_allowed"),
        ("ftp://shop.example/a.jpg", "uri_not_allowed"),
        ("", "uri_not_allowed"),
        ("a.jpg", "missing"),
    ],
)
def test_a_bad_link_is_a_rejection_of_its_own_row(night: Night, link: str, reason: str) -> None:
    (night.directory / "good.jpg").write_bytes(picture(1))
    counts = night(night.rows(link, "good.jpg"))
    assert (counts["stored"], counts["rejected"]) == (1, 1)
    assert [row["reason"] for row in night.stored("seen")] == [reason]

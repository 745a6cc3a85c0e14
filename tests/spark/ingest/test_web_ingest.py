"""Catalogs whose images are on web servers: fetched once, asked for politely, and never a way into this network."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from jobs.dataset.partitions import partition
from jobs.dataset.shards import shards
from jobs.ingest import job as ingest
from jobs.ingest.config import HttpLimits, IngestConfig
from jobs.ingest.job import IngestSummary
from jobs.storage.places import Places
from tests.conftest import picture
from tests.web import image, status, web_server

DAY, NEXT_DAY, THIRD_DAY = date(2026, 11, 1), date(2026, 11, 2), date(2026, 11, 3)
HERE = HttpLimits(read_seconds=20, total_seconds=40, tries=2, allowed_networks=("127.0.0.0/8", "::1"))


class WebIngest:
    """Ingests a small catalog of links."""

    def __init__(self, spark: SparkSession, directory: Path) -> None:
        self.spark, self.places, self.catalog = spark, Places(directory / "home"), directory / "catalog.csv"

    def __call__(self, links: dict[str, str], day: date = DAY, limits: HttpLimits = HERE) -> IngestSummary:
        with self.catalog.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("product_id", "image_uri"), *links.items()])
        return ingest.run(self.spark, IngestConfig(str(self.catalog), day, self.places, http=limits))

    def rejected(self, day: date = DAY) -> dict[str, str]:
        return {row["product_id"]: row["reason"] for row in partition(self.places, day).rejections}


@pytest.fixture
def run(spark: SparkSession, tmp_path: Path) -> WebIngest:
    return WebIngest(spark, tmp_path)


def test_unchanged_images_are_not_fetched_again_and_dead_links_are_reported_once(run: WebIngest) -> None:
    with web_server() as server:
        links = {name: f"{server.url}/{name}.jpg" for name in ("tagged", "dated", "plain", "changing", "gone")}
        server.answers["/tagged.jpg"] = image(picture(1), etag='"1"')
        server.answers["/dated.jpg"] = image(picture(2), last_modified="Sun, 01 Nov 2026 00:00:00 GMT")
        server.answers["/plain.jpg"] = image(picture(3))
        server.answers["/changing.jpg"] = image(picture(4), etag='"1"')
        first = run(links)
        assert (first.images_stored, first.images_rejected) == (4, 1)
        assert run.rejected() == {"gone": "missing"}

        server.answers["/changing.jpg"] = image(picture(5), etag='"2"')
        second = run(links, NEXT_DAY)
        assert (second.images_stored, second.images_unchanged, second.images_rejected) == (1, 4, 0)
        assert second.source_bytes == len(picture(5)) + len(picture(3)), "the rest was not sent again"
        assert [pq.read_table(path)["product_id"].to_pylist() for path in shards(run.places.images, [NEXT_DAY])] == [
            ["changing"]
        ]
        assert not shards(run.places.seen, [NEXT_DAY]), "nothing new is known of the others"

        server.answers["/gone.jpg"] = image(picture(6))
        third = run({**links, "tagged": f"{server.url}/plain.jpg"}, THIRD_DAY)
        assert (third.images_stored, third.images_unchanged) == (2, 3), "another link may be another image"


def test_concurrent_requests_to_one_server_are_limited_over_all_tasks(run: WebIngest) -> None:
    with web_server() as server:
        links = {f"p{number:02d}": f"{server.url}/{number}.jpg" for number in range(40)}
        for number in range(40):
            server.answers[f"/{number}.jpg"] = image(picture(number), seconds=0.05)
        assert run(links, limits=replace(HERE, per_host=4)).images_stored == 40
        assert 1 < server.most_at_once <= 4
        assert server.connections <= 4


def test_links_into_this_network_and_links_with_passwords_are_refused_and_not_stored(run: WebIngest) -> None:
    with web_server() as server, web_server("127.0.0.2", server.server_port) as secret:
        server.answers["/away.jpg"] = status(302, Location=f"{secret.url}/a.jpg")
        links = {
            "redirected": f"{server.url}/away.jpg",
            "direct": f"{secret.url}/a.jpg",
            "metadata": "http://169.254.169.254/latest/meta-data/",
            "password": f"http://ada:pass%20word@127.0.0.1:{server.server_port}/a.jpg",
            "shouting": f" HTTPS://ada:pass%20word@127.0.0.1:{server.server_port}/a.jpg",
        }
        run(links, limits=replace(HERE, allowed_networks=("127.0.0.1",)))
        assert run.rejected() == dict.fromkeys(links, "uri_not_allowed")
        assert secret.connections == 0
    stored = [str(pq.read_table(path).to_pylist()) for path in shards(run.places.seen, [DAY])]
    assert not any("pass%20word" in text or "ada:" in text for text in stored)
    assert any("***@127.0.0.1" in text for text in stored)


def test_links_signed_every_night_are_the_same_links_and_their_signatures_stay_nowhere(run: WebIngest) -> None:
    with web_server() as server:
        for night, day in enumerate((DAY, NEXT_DAY)):
            links = {name: f"/{name}.jpg?v=1&Expires={night}9&Signature=5ECRET{night}" for name in ("a", "b")}
            server.answers = {links["a"]: image(picture(1), etag='"1"'), links["b"]: image(picture(2 + night))}
            done = run({name: server.url + path for name, path in links.items()}, day)
            assert (done.images_stored, done.images_unchanged, done.images_rejected) == [(2, 0, 0), (1, 1, 0)][night]
            assert [server.asked[path] for path in links.values()] == [1, 1], "each was asked for as it is signed"
        stored = [row for path in shards(run.places.images, [DAY, NEXT_DAY]) for row in pq.read_table(path).to_pylist()]
    assert {row["image_uri"].partition("?")[2] for row in stored} == {"v=1&Expires=***&Signature=***"}
    files = list(Path(str(run.places.home)).rglob("*.parquet"))
    recorded = {file.parts[-3] for file in files}
    assert recorded == {"images", "catalogs"}, "a new signature changes no row, and an unchanged image is not recorded"
    assert not any("5ECRET" in str(pq.read_table(path).to_pylist()) for path in files)

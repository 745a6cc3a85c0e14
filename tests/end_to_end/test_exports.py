"""Exports of shop systems are ingested with nothing but their names, from a disk and from a store."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.storage.places import Place
from jobs.storage.stores import place, write_bytes
from tests.conftest import picture
from tests.end_to_end.conftest import Shelfwise, ask, shared_spark
from tests.object_store import object_store

CATALOGS = Path(__file__).parents[1] / "catalogs"
EXPORTS = {
    "disk": ("google.xml", "shopify.csv"),
    "store": ("google.tsv", "shopify.csv", "woocommerce.csv", "amazon.txt"),
}
NIGHTS = ("google.tsv", "shopify.csv", "woocommerce.csv", "amazon.txt")
"""Exports that a whole night takes from a disk; its first step is `ingest`."""

DAY = "2026-11-01"

pytestmark = pytest.mark.usefixtures("bucket")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A bucket, and a Spark session for all tests: its workers know the store from their start."""
    with object_store(), shared_spark(tmp_path_factory.mktemp("spark")):
        root = place("s3://exports/shop")
        root.fs.mkdir("exports")  # type: ignore[union-attr]
        yield root


def images_of(name: str) -> set[tuple[str, str]]:
    """Product and file of each image that an export has; a row without a link is none."""
    rows = json.loads((CATALOGS / f"{name}.rows.json").read_text(encoding="utf-8"))
    return {(row[0], row[2].rpartition("/")[2]) for row in rows if row[2]}


def put(name: str, directory: Place) -> str:
    """Write an export with its pictures beside it, instead of on a web server."""
    text = re.sub(r"https://[a-z.]+/(?:[\w-]+/)*(?=[\w.-]+\.jpg)", "", (CATALOGS / name).read_text(encoding="utf-8"))
    if isinstance(directory, Path):
        directory.mkdir()
    write_bytes(directory / name, text.encode())
    for number, file in enumerate(sorted(file for _, file in images_of(name))):
        write_bytes(directory / file, picture(number))
    return str(directory / name)


def described(shelfwise: Shelfwise, catalog: str, command: str) -> None:
    """Write the description of an export that a command refuses without it."""
    refused = shelfwise(command, "--catalog", catalog, "--run-date", DAY)
    assert (refused.code, "catalog check --write" in refused.err) == (2, True)
    assert shelfwise.done("catalog", "check", catalog, "--write")["refusals"] == []


@pytest.mark.timeout(600)  # one ingest for each export
@pytest.mark.parametrize("on", EXPORTS)
def test_an_export_is_ingested_by_its_name_alone(
    shelfwise: Shelfwise, bucket: Place, tmp_path: Path, on: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in EXPORTS[on]:
        monkeypatch.setenv("SHELFWISE_HOME", str(tmp_path / f"home of {name}"))
        catalog = put(name, (tmp_path if on == "disk" else bucket) / name.replace(".", "-"))
        if name == "amazon.txt":
            described(shelfwise, catalog, "ingest")
        assert shelfwise.done("catalog", "check", catalog)["images"] == len(images_of(name)), name
        done = shelfwise.done("ingest", "--catalog", catalog, "--run-date", DAY)
        assert (done["images_stored"], done["images_rejected"]) == (len(images_of(name)), 0), name
    again = shelfwise.done("ingest", "--catalog", catalog, "--run-date", "2026-11-02")
    assert (again["images_stored"], again["images_unchanged"]) == (0, len(images_of(name)))


@pytest.mark.parametrize("name", NIGHTS)
def test_a_night_answers_for_the_products_of_an_export(
    shelfwise: Shelfwise, home: Path, tmp_path: Path, name: str
) -> None:
    catalog = put(name, tmp_path / "shop")
    if name == "amazon.txt":
        described(shelfwise, catalog, "nightly")
    assert shelfwise.night(catalog, DAY)["state"] == "published"
    counts = ask(home, "SELECT product_id, image_count FROM product_categories ORDER BY product_id")
    assert dict(counts) == Counter(product_id for product_id, _ in images_of(name))

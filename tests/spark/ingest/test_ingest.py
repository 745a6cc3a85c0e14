"""What ingest stores, what it leaves alone, and what it rejects."""

from __future__ import annotations

import hashlib
import io
import os
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from jobs.dataset.labels import labelled_images
from jobs.dataset.partitions import Partition, partition
from jobs.dataset.schema import IMAGES, SEEN
from jobs.dataset.shards import shards
from jobs.errors import UsageError
from jobs.ingest import job as ingest
from jobs.ingest.changes import known_images
from jobs.ingest.config import IngestConfig
from jobs.ingest.job import IngestSummary
from jobs.ingest.membership import CatalogNight
from jobs.storage.places import Places
from sql.records import REJECTION_REASONS
from tests.conftest import SmallShop, picture
from tests.dataset_rows import without_groups

DAY, NEXT_DAY = date(2026, 11, 1), date(2026, 11, 2)


class Ingest:
    """Runs ingests into one home."""

    def __init__(self, spark: SparkSession, home: Path) -> None:
        self.spark, self.places = spark, Places(home)

    def __call__(self, catalog: str, day: date = DAY, *, shard_bytes: int = 10**9) -> IngestSummary:
        return ingest.run(self.spark, IngestConfig(catalog, day, self.places, shard_bytes))

    def images(self, day: date = DAY) -> dict[str, dict[str, object]]:
        rows = [row for path in shards(self.places.images, [day]) for row in pq.read_table(path).to_pylist()]
        return {row["product_id"]: row for row in rows}

    def partition(self, day: date = DAY) -> Partition:
        return partition(self.places, day)


@pytest.fixture
def run(spark: SparkSession, home: Path) -> Ingest:
    return Ingest(spark, home)


def test_every_image_is_stored_once_with_its_key_and_its_pixels(run: Ingest, shop: SmallShop) -> None:
    shop.add_many(["a", "b", "c"])
    summary = run(shop.catalog)
    assert (summary.catalog_rows, summary.images_stored, summary.images_rejected) == (3, 3, 0)
    stored = run.images()
    assert stored.keys() == {"a", "b", "c"}
    for product_id, row in stored.items():
        source = (shop.directory / f"{product_id}-0.jpg").read_bytes()
        assert row["image_sha256"] == hashlib.sha256(source).hexdigest()
        jpeg: Any = row["jpeg"]
        pixels: Any = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert pixels.shape[:2] == (row["height_px"], row["width_px"]) == (40, 60)
        original: Any = cv2.imdecode(np.frombuffer(source, np.uint8), cv2.IMREAD_COLOR)
        assert np.abs(pixels.astype(int) - original.astype(int)).mean() < 3
    files = shards(run.places.images, [DAY])
    assert all(pq.read_schema(path) == IMAGES for path in files)


def test_large_images_are_reduced_to_320_px(run: Ingest, shop: SmallShop) -> None:
    shop.rows["big", 0] = "big.jpg"
    (shop.directory / "big.jpg").write_bytes(picture(1, width_px=1200, height_px=800))
    run(shop.catalog)
    assert (run.images()["big"]["width_px"], run.images()["big"]["height_px"]) == (480, 320)


def test_an_unchanged_catalog_is_not_read_again(run: Ingest, shop: SmallShop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.add_many(["a", "b"])
    run(shop.catalog)
    (shop.directory / "a-0.jpg").chmod(0)  # a second read would fail, were this not root
    summary = run(shop.catalog, NEXT_DAY)
    assert (summary.images_unchanged, summary.images_stored, summary.source_bytes) == (2, 0, 0)
    assert run.images(NEXT_DAY) == {}


@pytest.mark.parametrize("name", ["home[12]", "{a,b}*", "2026-11-01T02:00:00", "_home", ".home", "a\\b%20#"])
def test_known_images_are_found_in_a_home_with_any_name(spark: SparkSession, shop: SmallShop, name: str) -> None:
    """Spark takes a path as a pattern, refuses a colon, and leaves hidden names out: the second night would not go."""
    run = Ingest(spark, shop.directory.parent / name)
    shop.add_many(["a", "b"])
    run(shop.catalog)
    summary = run(shop.catalog, NEXT_DAY)
    assert (summary.images_unchanged, summary.images_stored, summary.source_bytes) == (2, 0, 0)


def test_only_what_changed_is_stored_again(run: Ingest, shop: SmallShop) -> None:
    shop.add_many(["same", "touched", "changed"])
    run(shop.catalog)
    shop.add("changed", seed=99)
    os.utime(shop.directory / "touched-0.jpg", (2_000_000_000, 2_000_000_000))
    shop.add("new")
    summary = run(shop.catalog, NEXT_DAY)
    assert (summary.images_unchanged, summary.images_stored) == (2, 2)
    assert run.images(NEXT_DAY).keys() == {"changed", "new"}
    again = run(shop.catalog, NEXT_DAY)
    assert (again.images_unchanged, again.source_bytes) == (4, 0), "the new time of a touched file is remembered"


def test_the_content_decides_if_only_the_modification_time_changed(run: Ingest, shop: SmallShop) -> None:
    path = shop.add("p", seed=1)
    run(shop.catalog)
    before = path.stat().st_mtime_ns
    path.write_bytes(picture(2))
    os.utime(path, ns=(before + 1_000_000_000, before + 1_000_000_000))
    assert run(shop.catalog, NEXT_DAY).images_stored == 1


def test_a_new_title_is_kept_once_and_its_image_is_not_read(run: Ingest, shop: SmallShop) -> None:
    shop.add_many(["same", "renamed", "redone"])
    run(shop.catalog)
    assert not shards(run.places.catalog_rows, [DAY]), "a new image brings its own words"
    shop.titles = {"renamed": "Boots", "redone": "Shoes"}
    shop.add("redone", seed=99)
    summary = run(shop.catalog, NEXT_DAY)
    assert (summary.images_unchanged, summary.images_stored) == (2, 1)
    heard = [row for path in shards(run.places.catalog_rows, [NEXT_DAY]) for row in pq.read_table(path).to_pylist()]
    assert {(row["product_id"], row["title"]) for row in heard} == {("renamed", "Boots"), ("redone", "Shoes")}
    summary = run(shop.catalog, date(2026, 11, 3))
    assert (summary.images_unchanged, summary.source_bytes) == (3, 0)
    assert not shards(run.places.catalog_rows, [date(2026, 11, 3)]), "what was said once is known"


def test_a_home_of_an_earlier_version_is_not_recorded_again(run: Ingest, shop: SmallShop) -> None:
    """Its files have no column `group_id`: that is the same as no group."""
    shop.add_many(["a", "b", "c"])
    run(shop.catalog)
    assert without_groups(run.places.images) > 0  # type: ignore[arg-type]
    summary = run(shop.catalog, NEXT_DAY)
    assert (summary.images_unchanged, summary.images_stored, summary.source_bytes) == (3, 0, 0)
    assert not shards(run.places.catalog_rows, [NEXT_DAY])
    catalog = Path(shop.catalog)
    header, *lines = catalog.read_text(encoding="utf-8").splitlines()
    grouped = [f"{line},{'g' if line.startswith('b,') else ''}" for line in lines]
    catalog.write_text("\n".join([f"{header},group_id", *grouped]) + "\n", encoding="utf-8")
    assert run(str(catalog), NEXT_DAY).images_unchanged == 3
    recorded = [row for path in shards(run.places.catalog_rows, [NEXT_DAY]) for row in pq.read_table(path).to_pylist()]
    assert [(row["product_id"], row["group_id"]) for row in recorded] == [("b", "g")]


def test_a_label_is_corrected_by_moving_a_file_or_by_the_column_of_a_table(
    run: Ingest, shop: SmallShop, tmp_path: Path
) -> None:
    """Neither image is stored again, and both are learned from under their new label."""
    for product_id, folder in (("p1", "shoes"), ("p2", "shirts")):
        shop.add(product_id).rename(folder_of(tmp_path, folder) / f"{product_id}.jpg")
    run(str(tmp_path / "kinds"))
    (tmp_path / "kinds/shoes/p1.jpg").rename(tmp_path / "kinds/shirts/p1.jpg")
    assert run(str(tmp_path / "kinds"), NEXT_DAY).images_stored == 0
    assert {one.product_id: one.category_id for one in labelled_images(run.places)} == {"p1": "shirts", "p2": "shirts"}
    table = tmp_path / "kinds/table.csv"
    table.write_text(
        "product_id,image_uri,category\np1,shirts/p1.jpg,shirts\np2,shirts/p2.jpg,hats\n", encoding="utf-8"
    )
    assert run(str(table), NEXT_DAY).images_stored == 0
    assert {one.product_id: one.category_id for one in labelled_images(run.places)} == {"p1": "shirts", "p2": "hats"}


def folder_of(home: Path, name: str) -> Path:
    place = home / "kinds" / name
    place.mkdir(parents=True, exist_ok=True)
    return place


def test_shards_are_bounded(run: Ingest, shop: SmallShop) -> None:
    shop.add_many([f"p{number:03d}" for number in range(40)])
    run(shop.catalog, shard_bytes=20_000)
    files = shards(run.places.images, [DAY])
    assert len(files) > 3
    assert sum(pq.read_metadata(path).num_rows for path in files) == 40


def hostile_files(directory: Path) -> dict[str, str]:
    """Write one file for each way in which an image can be bad; return the expected reasons."""
    whole = picture(5, width_px=300, height_px=300)
    bomb = Image.new("1", (30_000, 30_000))
    packed = io.BytesIO()
    bomb.save(packed, "PNG")
    frames = [Image.new("P", (32, 32), colour) for colour in (1, 2)]
    animated = io.BytesIO()
    frames[0].save(animated, "GIF", save_all=True, append_images=frames[1:])
    contents = {
        "empty": (b"", "empty"),
        "html": (b"<!DOCTYPE html><title>404</title>", "not_an_image"),
        "truncated": (whole[: len(whole) // 2], "truncated"),
        "one-pixel": (picture(1, width_px=1, height_px=1), "too_small"),
        "bomb": (packed.getvalue(), "too_large"),
        "vector": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_format"),
        "animated": (animated.getvalue(), ""),
    }
    for name, (content, _) in contents.items():
        (directory / f"{name}.jpg").write_bytes(content)
    return {name: reason for name, (_, reason) in contents.items()} | {"missing": "missing"}


def test_bad_images_are_rejected_with_a_reason_and_the_rest_is_stored(run: Ingest, shop: SmallShop) -> None:
    expected = hostile_files(shop.directory)
    for name in expected:
        shop.rows[name, 0] = f"{name}.jpg"
    shop.rows["folder", 0] = "."
    shop.rows["web", 0] = "ftp://example.com/a.jpg"
    shop.rows["nothing", 0] = ""
    expected |= {"folder": "unreadable", "web": "uri_not_allowed"}
    shop.add_many(["good-1", "good-2"])
    summary = run(shop.catalog)
    found = {row["product_id"]: row for row in run.partition().rejections}
    assert run.images().keys() == {"good-1", "good-2", "animated"}
    assert {name: found[name]["reason"] for name in expected if name != "animated"} == {
        name: reason for name, reason in expected.items() if reason
    }
    assert found.keys() == expected.keys() - {"animated"} | {"nothing"}
    assert summary.images_stored + summary.images_rejected == summary.catalog_rows
    for row in found.values():
        assert row["reason"] in REJECTION_REASONS
        assert row["detail"]
        assert "\n" not in row["detail"]
    assert all(pq.read_schema(path) == SEEN for path in shards(run.places.seen, [DAY]))


def test_a_rejected_image_is_reported_once_and_read_again_when_it_changes(run: Ingest, shop: SmallShop) -> None:
    shop.add("good")
    shop.rows["late", 0] = "late-0.jpg"
    run(shop.catalog)
    assert run(shop.catalog, NEXT_DAY).images_rejected == 0
    shop.add("late")
    assert run(shop.catalog, NEXT_DAY).images_stored == 1
    assert run.images(NEXT_DAY).keys() == {"late"}


def test_an_image_corrected_on_the_same_date_is_no_longer_a_rejection(run: Ingest, shop: SmallShop) -> None:
    shop.add("good")
    shop.rows["late", 0] = "late-0.jpg"
    run(shop.catalog)
    assert run.partition().rejected_share == 0.5
    shop.add("late")
    run(shop.catalog)
    assert (run.partition().images, run.partition().rejections) == (2, [])


def test_the_ingest_no_orders_two_contents_of_a_date_without_a_clock(run: Ingest, shop: SmallShop) -> None:
    hashes = []
    for seed in (1, 2):
        path = shop.add("p", seed=seed)
        run(shop.catalog)
        hashes.append(hashlib.sha256(path.read_bytes()).hexdigest())
    contents = {}
    for shard in shards(run.places.images, [DAY]):
        [row] = pq.read_table(shard).to_pylist()
        contents[row["ingest_no"]] = row["image_sha256"]
        if row["ingest_no"] == 2:  # as an executor leaves it whose clock is late
            row["seen_at_utc"] -= timedelta(days=1)
            pq.write_table(pa.Table.from_pylist([row], IMAGES), shard)
    assert contents == {1: hashes[0], 2: hashes[1]}
    assert run(shop.catalog).images_unchanged == 1


def test_a_photo_that_is_put_back_on_the_same_date_is_the_newest_again(run: Ingest, shop: SmallShop) -> None:
    for seed, stored in ((1, 1), (2, 1), (1, 0)):
        shop.add("p", seed=seed)
        assert run(shop.catalog).images_stored == stored, "a photo that returns is known"
    assert len(shards(run.places.images, [DAY])) == 2, "a file of an earlier ingest must not be written over"
    [(known, number)] = [
        (row["known_image_sha256"], row["known_ingest_date"])
        for row in known_images(run.spark, run.places, CatalogNight("catalog", DAY)).collect()
    ]
    first = min(
        (row["ingest_no"], row["image_sha256"])
        for shard in shards(run.places.images, [DAY])
        for row in pq.read_table(shard).to_pylist()
    )
    assert (known, number) == (first[1], DAY.isoformat())


def test_a_missed_night_is_compared_with_what_was_known_on_its_date(run: Ingest, shop: SmallShop) -> None:
    shop.add("p", seed=1)
    run(shop.catalog, NEXT_DAY)
    shop.add("p", seed=2)
    assert run(shop.catalog, DAY).images_stored == 1
    assert run(shop.catalog, DAY).images_stored == 0, "the same night again finds nothing new"
    shop.add("p", seed=1)
    assert run(shop.catalog, NEXT_DAY).images_stored == 0, "nor does the later night, whose content is still there"


def test_a_killed_ingest_is_repeated_without_duplicates(run: Ingest, shop: SmallShop) -> None:
    shop.add_many([f"p{number}" for number in range(12)])
    run(shop.catalog, shard_bytes=1500)
    whole = shards(run.places.images, [DAY])
    for path in whole[::2]:  # what a kill leaves: some files in place, some not
        path.unlink()
    (whole[0].parent / f".{whole[0].name}.dead.tmp").write_bytes(b"PAR1")
    run(shop.catalog)
    names = [row["product_id"] for path in shards(run.places.images, [DAY]) for row in pq.read_table(path).to_pylist()]
    assert sorted(names) == sorted(f"p{number}" for number in range(12))


def test_an_unusable_catalog_writes_nothing(run: Ingest, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("product_id,image_uri\np1,a.jpg\np1,b.jpg\n", encoding="utf-8")
    with pytest.raises(UsageError):
        run(str(bad))
    assert not run.places.images.exists()
    assert not run.places.seen.exists()

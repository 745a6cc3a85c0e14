"""What leaves with a catalog and what returns: full, partial and late nights, several catalogs, and moved pictures."""

from __future__ import annotations

import csv
import hashlib
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from jobs.dataset.partitions import partition
from jobs.dataset.shards import shards
from jobs.errors import RunFailed
from jobs.ingest import job as ingest
from jobs.ingest import leaving
from jobs.ingest.config import IngestConfig
from jobs.ingest.job import IngestSummary
from jobs.storage.places import Places
from tests.conftest import SmallShop
from tests.dataset_rows import without_columns

D1, D2, D3, D4 = (date(2026, 11, day) for day in (1, 2, 3, 4))


class Nights:
    """Reads catalogs of one shop into one home; a catalog is a list of products, or of (product_id, image_no)."""

    def __init__(self, spark: SparkSession, home: Path, shop: SmallShop) -> None:
        self.spark, self.places, self.shop = spark, Places(home), shop

    def __call__(
        self, day: date, *products: str | tuple[str, int], name: str = "shop", **options: Any
    ) -> IngestSummary:
        keys = [(each, 0) if isinstance(each, str) else each for each in products]
        for product_id, image_no in keys:
            if not (self.shop.directory / f"{product_id}-{image_no}.jpg").exists():
                self.shop.add(product_id, image_no=image_no)
        path = self.shop.directory / f"{name}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = [(product_id, image_no, f"{product_id}-{image_no}.jpg") for product_id, image_no in keys]
            csv.writer(file).writerows([("product_id", "image_no", "image_uri"), *rows])
        options = {"max_left": 1.0, **options}
        return ingest.run(self.spark, IngestConfig(str(path), day, self.places, **options))

    def seen(self, day: date) -> list[tuple[Any, ...]]:
        """The rows under seen/ of a date: outcome, product, image, catalog, and the night from which it counts."""
        rows = [row for path in shards(self.places.seen, [day]) for row in pq.read_table(path).to_pylist()]
        columns = ("outcome", "product_id", "image_no", "catalog_name", "counts_from")
        return sorted((tuple(row[name] for name in columns) for row in rows), key=str)

    def catalog_rows(self, day: date) -> list[tuple[str, int]]:
        """The positions of the rows under catalog_rows/ of a date."""
        rows = [row for path in shards(self.places.catalog_rows, [day]) for row in pq.read_table(path).to_pylist()]
        return sorted((row["product_id"], row["image_no"]) for row in rows)

    def files(self) -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in Path(str(self.places.home)).rglob("*.parquet")}


@pytest.fixture
def nights(spark: SparkSession, home: Path, shop: SmallShop) -> Nights:
    return Nights(spark, home, shop)


def test_what_a_full_catalog_no_longer_names_leaves_once_and_returns(nights: Nights) -> None:
    assert nights(D1, "a", "b", ("b", 1), "c").images_left == 0
    done = nights(D2, "a", "b")
    assert (done.catalog_name, done.images_left, done.products_left, done.images_unchanged) == ("shop", 2, 1, 2)
    assert nights.seen(D2) == [("left", "b", 1, "shop", None), ("left", "c", 0, "shop", None)]
    files = nights.files()
    assert nights(D2, "a", "b").images_left == 0
    assert nights.files() == files, "the same night again changes no file"
    done = nights(D3, "a", "b", "c")
    assert (done.images_named, done.images_stored, done.images_left, done.source_bytes) == (1, 0, 0, 0)
    assert nights.seen(D3) == [("named", "c", 0, "shop", None)]


def test_a_partial_catalog_removes_nothing_and_holds_what_it_names(
    nights: Nights, caplog: pytest.LogCaptureFixture
) -> None:
    nights(D1, "a", "b", "c")
    with caplog.at_level("WARNING"):
        nights(D3, "b", "new", name="delta", partial=True)
        assert "'delta' names changes only and was never read in full" in caplog.text
        assert "--catalog-name: 'shop'" in caplog.text
        caplog.clear()
        done = nights(D3, "c", "d", name="changes", catalog_name="shop", partial=True)
        assert not caplog.text
    assert (done.catalog_name, done.images_named, done.images_left, done.images_stored) == ("shop", 1, 0, 1)
    assert ("named", "c", 0, "shop", None) in nights.seen(D3)
    assert not [row for row in nights.seen(D3) if row[0] == "left"]
    nights(D2, "a")
    assert nights.seen(D2) == [("left", "b", 0, "shop", None)], "the later delta named c and d"


def test_a_late_night_changes_nothing_that_a_later_full_night_decided(nights: Nights) -> None:
    nights(D1, "a", "b", "gone")
    nights(D4, "a", "b")
    done = nights(D2, "a", "gone", "never")
    assert (done.images_left, done.products_left, done.images_stored) == (0, 0, 1)
    assert nights.seen(D2) == [("left", "never", 0, "shop", "2026-11-04")], "b stays: D4 has named it"
    files = nights.files()
    nights(D2, "a", "gone", "never")
    nights(D4, "a", "b")
    assert nights.files() == files
    assert nights(D4, "a", "b", "never").images_named == 1, "the later night is corrected, and counts"


def test_two_catalogs_do_not_remove_each_others_products(nights: Nights) -> None:
    nights(D1, "a", "both", name="one")
    done = nights(D1, "b", "both", name="two")
    assert (done.images_left, done.images_named) == (0, 1)
    assert nights.seen(D1) == [("named", "both", 0, "two", None)]
    nights(D2, "a", name="one")
    assert nights.seen(D2) == [("left", "both", 0, "one", None)], "it is still in the other catalog"


def test_a_name_that_is_new_for_known_products_is_warned_of(nights: Nights, caplog: pytest.LogCaptureFixture) -> None:
    """With a number in its name that changes every night, each night was another catalog, and nothing left."""
    with caplog.at_level("WARNING", logger="jobs.ingest"):
        nights(D1, "a", "b", name="shop-471")
        nights(D2, "c", "d", "a", name="other")
        assert not caplog.messages, "a first catalog, and one that has few products of others"
        nights(D2, "a", "b", "e", name="shop-472")
        assert caplog.messages == [
            "catalog 'shop-472' is read in full for the first time, and 2 of its 3 images are known from other "
            "catalogs: if it is one of these with a new date or number in its name, stop and give it that catalog's "
            "name with --catalog-name, or nothing leaves any more: 'other', 'shop-471'"
        ]
        caplog.clear()
        nights(D2, "a", "b", "e", name="shop-472")
        nights(D3, "a", "b", name="shop-472")
        assert not caplog.messages


def test_files_without_names_are_of_every_full_catalog(nights: Nights) -> None:
    nights(D1, "a", "b")
    for directory in (nights.places.images, nights.places.seen):
        without_columns(Path(str(directory)), "catalog_name", "counts_from")
    done = nights(D2, "a")
    assert (done.images_left, done.images_named) == (1, 1)
    assert nights.seen(D2) == [("left", "b", 0, "", None), ("named", "a", 0, "shop", None)]
    nights(D3, "c")
    assert [row[:4] for row in nights.seen(D3)] == [("left", "a", 0, ""), ("left", "a", 0, "shop")]


def test_pictures_in_a_new_order_are_not_stored_again(nights: Nights) -> None:
    keys = [("a", 0), ("a", 1), ("a", 2)]
    nights(D1, *keys, "b")
    paths = [nights.shop.directory / f"a-{number}.jpg" for number in range(3)]
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, (contents[2], contents[0], contents[1]), strict=True):
        path.write_bytes(content)
        path.touch()
    done = nights(D2, *keys, "b")
    assert (done.images_stored, done.images_unchanged) == (0, 4)
    moved = [row for path in shards(nights.places.seen, [D2]) for row in pq.read_table(path).to_pylist()]
    expected = [hashlib.sha256(contents[number]).hexdigest() for number in (2, 0, 1)]
    assert [row["image_sha256"] for row in sorted(moved, key=lambda row: row["image_no"])] == expected
    files = nights.files()
    assert nights(D2, *keys, "b").source_bytes == 0
    assert nights.files() == files
    nights.shop.add("b", seed=7)  # b has not had the pictures of a
    nights.shop.directory.joinpath("b-0.jpg").write_bytes(contents[0])
    assert nights(D3, *keys, "b").images_stored == 1


def test_the_row_of_a_picture_that_moves_to_a_new_position_is_stored(nights: Nights) -> None:
    """A shop puts a new picture in front: `products` lacked the old one's new position for a night."""
    nights(D1, ("a", 0))
    first = nights.shop.directory / "a-0.jpg"
    (nights.shop.directory / "a-1.jpg").write_bytes(first.read_bytes())
    nights.shop.add("a", seed=7)
    done = nights(D2, ("a", 0), ("a", 1))
    assert (done.images_stored, done.images_unchanged) == (1, 1)
    assert nights.catalog_rows(D2) == [("a", 1)], "that of the new picture is stored with it"
    nights(D3, ("a", 0), ("a", 1))
    assert nights.catalog_rows(D3) == [], "the next night, which changes nothing, has no row to add"


def test_a_picture_returns_after_one_that_cannot_be_used(nights: Nights) -> None:
    nights(D1, "a", "b")
    path = nights.shop.directory / "a-0.jpg"
    content = path.read_bytes()
    path.write_bytes(b"")
    assert nights(D2, "a", "b").images_rejected == 1
    path.write_bytes(content)
    assert nights(D2, "a", "b").images_stored == 0
    assert [row[0] for row in nights.seen(D2)] == ["rejected", "unchanged"]
    assert partition(nights.places, D2).rejections == []


def test_a_catalog_that_lacks_too_many_products_is_refused(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "FEWEST_LEFT", 2)
    products = [f"p{number}" for number in range(10)]
    nights(D1, *products)
    files = nights.files()
    with pytest.raises(RunFailed) as caught:
        nights(D2, *products[:7], "new", max_left=0.2)
    assert str(caught.value) == (
        "catalog 'shop' (last read in full for 2026-11-01) named 10 products and now lacks 3 of them (30%), more than "
        "the 20% that --max-left allows; correct the catalog, or raise --max-left if they left, give --partial if it "
        "names changes only, or --catalog-name if it is another catalog; nothing was written"
    )
    assert nights.files() == files
    assert nights(D2, *products[:8], max_left=0.1).products_left == 2, "so few may leave always"
    assert nights(D3, *products[:5], max_left=0.4).products_left == 3


def test_a_catalog_of_the_same_name_with_other_products_is_refused(nights: Nights) -> None:
    nights(D1, "a", ("a", 1))
    with pytest.raises(RunFailed, match="named 1 products and now names none of them: these are two catalogs of one"):
        nights(D2, "b", max_left=0.9)
    assert nights(D2, ("a", 1), max_left=0.0).products_left == 0, "the product is still there"
    assert nights(D2, "b", name="other", max_left=0.2).images_left == 0
    assert nights(D3, "b", max_left=1.0).products_left == 1


def test_the_row_of_a_rejected_image_is_stored(nights: Nights) -> None:
    nights(D1, "a")
    (nights.shop.directory / "bad-0.jpg").write_bytes(b"")
    (nights.shop.directory / "a-0.jpg").write_bytes(b"")
    assert nights(D2, "a", "bad").images_rejected == 2
    assert nights.catalog_rows(D2) == [("bad", 0)], "that of a is stored with its image"
    files = nights.files()
    nights(D2, "a", "bad")
    assert nights.files() == files

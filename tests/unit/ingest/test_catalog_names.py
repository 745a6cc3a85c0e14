"""The names under which products remember catalogs: the same every night, and no way to command a terminal."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from jobs.errors import UsageError
from jobs.ingest.catalog_names import catalog_name_of, check_catalog_name
from jobs.ingest.config import IngestConfig
from jobs.storage.places import Places


@pytest.mark.parametrize(
    ("catalog", "name"),
    [
        ("products", "products"),
        ("/data/shop.csv", "shop"),
        ("/data/shop.csv.gz", "shop"),
        ("/data/Shop.JSONL.zip", "Shop"),
        ("/data/shop.de.csv", "shop.de"),
        ("/data/photos", "photos"),
        ("/data/photos/", "photos"),
        ("/data/shop-2026-11-01.csv", "shop"),
        ("/data/2026-11-01_shop.csv", "shop"),
        ("/data/shop_20261101_de.csv", "shop_de"),
        ("/data/shop.2026_11_01.full.csv", "shop.full"),
        ("/data/shop-01-11-2026.csv", "shop"),
        ("/data/shop-2026-11-01T0200.csv", "shop"),
        ("/data/shop-2026-11-01-023000.csv", "shop"),
        ("/data/shop_20261101T023000Z.csv", "shop"),
        ("/data/shop-20261101-12.csv", "shop-12"),
        ("/data/shop2-2026.csv", "shop2-2026"),
        ("/data/shop-120261101.csv", "shop-120261101"),
        ("/data/shop-20261301.csv", "shop-20261301"),
        ("/data/outlet/2026-11-01.parquet", "outlet"),
        ("/data/outlet/2026-11-01/20261101.csv", "outlet"),
        ("/2026-11-01.csv", "catalog"),
        ("/data/shop-11-15-2026.csv", "shop"),
        ("/data/shop-11-05-2026.csv", "shop"),
        ("/data/shop-1.11.2026.csv", "shop"),
        ("/data/shop-2026-11-1.csv", "shop"),
        ("/data/shop-01112026.csv", "shop"),
        ("/data/shop-11152026.csv", "shop"),
        ("/data/shop-2026-11.csv", "shop"),
        ("/data/shop-11.2026.csv", "shop"),
        ("/data/shop-Nov-2026.csv", "shop"),
        ("/data/shop 1 November 2026.csv", "shop"),
        ("/data/shop_Nov_01_2026.csv", "shop"),
        ("/data/shop-2026-nov-01.csv", "shop"),
        ("/data/shop-2026-11-01T03:00:00+01:00.csv", "shop"),
        ("/data/shop-2026-11-01T03:00:00-05:00.csv", "shop"),
        ("/data/shop_2026-11-01T03-00-00.123Z.csv", "shop"),
        ("/data/shop-20261101T03Z.csv", "shop"),
        ("/data/shop-20261101030000123.csv", "shop"),
        ("/data/shop-31022026.csv", "shop-31022026"),
        ("/data/shop-12345678.csv", "shop-12345678"),
        ("/data/shop-40112026.csv", "shop-40112026"),
        ("/data/shop-2026-11-500.csv", "shop-2026-11-500"),
        ("/data/mayhem-2026.csv", "mayhem-2026"),
        ("/data/exports/2026/11/01/", "exports"),
        ("/data/exports/2026/11/01.csv.gz", "exports"),
        ("/data/exports/2026/11/01/03.csv", "exports"),
        ("/data/exports/2026/11.csv", "exports"),
        ("/data/exports/2026-11/01.csv", "exports"),
        ("/data/exports/2026/2026-11-01.csv", "exports"),
        ("/data/exports/2026/11/01/shop.csv", "shop"),
        ("/data/exports/2026", "2026"),
        ("/data/exports/11/01.csv", "01"),
        ("/data/exports/year=2026/month=11/day=01", "exports"),
        ("/data/exports/dt=2026-11-01/", "exports"),
        ("/2026/11/01.csv", "catalog"),
        ("s3://bucket/exports/2026/11/01.csv", "exports"),
        ("/data/../shop/./catalog-a.csv", "catalog-a"),
        ("/shop/x/../2026-11-01.csv", "shop"),
        ("s3://bucket/exports/shop-2026-11-01.csv", "shop"),
        ("s3://bucket/2026-11-01.csv", "bucket"),
        ("file:///data/my%20shop.csv", "my shop"),
        ("/data/shop (1)?.csv", "shop 1"),
        ("/data/\u0441\u043a\u043b\u0430\u0434-2026-11-01.csv", "\u0441\u043a\u043b\u0430\u0434"),
        ("/data/\x1b[31mred\u202e.csv", "31mred"),
        ("/data/" + "a" * 300 + ".csv", "a" * 100),
    ],
)
def test_a_name_stays_the_same_from_night_to_night(catalog: str, name: str) -> None:
    derived = catalog_name_of(catalog)
    assert derived == name
    assert check_catalog_name(derived) == derived


@pytest.mark.parametrize(
    "catalog", ["/data/products", "/data/products/", "products.csv", "s3://b/products/2026/11/01/"]
)
def test_files_have_another_name_than_the_table(catalog: str) -> None:
    """A folder `products` and the table took each other's products away."""
    assert catalog_name_of("products") == "products"
    assert catalog_name_of(catalog) == "products-files"


def test_a_relative_path_has_the_name_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outlet").mkdir()
    monkeypatch.chdir(tmp_path / "outlet")
    assert [catalog_name_of(each) for each in (".", "2026-11-01.csv", "../outlet")] == ["outlet"] * 3


def test_one_spelling_of_two_in_unicode_is_stored() -> None:
    for spelling in ("NFC", "NFD"):
        name = unicodedata.normalize(spelling, "M\u00f6bel")
        assert catalog_name_of(f"/data/{name}.csv") == check_catalog_name(name) == "M\u00f6bel"


@pytest.mark.parametrize("name", ["shop", " my shop_2.0-b ", "\u5546\u5e97", "a" * 100])
def test_a_name_that_a_person_may_give(name: str) -> None:
    assert IngestConfig("x.csv", None, Places(Path()), catalog_name=name).name == name.strip()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["", "  ", "a" * 101, "a\nb", "a\x1b[2J", "a\u200bb", "a\u202eb", "a/b", "a:b", "a'b", "a=b", "\U0001f45f"]
)
def test_a_name_that_a_person_may_not_give(name: str) -> None:
    with pytest.raises(UsageError, match=r"--catalog-name .* is no name of a catalog: expected letters"):
        check_catalog_name(name)


def test_a_share_is_between_0_and_1() -> None:
    with pytest.raises(UsageError, match=r"--max-left is a share between 0 and 1, received 1\.5"):
        IngestConfig("x.csv", None, Places(Path()), max_left=1.5)  # type: ignore[arg-type]

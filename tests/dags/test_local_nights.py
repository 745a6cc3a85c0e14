"""What the nights of a local Airflow read and where they write."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.demo.local_nights import example_catalog, example_environment, named_catalog
from models import fashion_mnist

GREY = fashion_mnist.Articles(np.zeros((230, 28, 28), np.uint8), np.zeros(230, np.uint8), "")


@pytest.fixture(autouse=True)
def _articles(monkeypatch: pytest.MonkeyPatch) -> None:
    numbered = replace(GREY, images=np.arange(230, dtype=np.uint8)[:, None, None] + GREY.images)
    monkeypatch.setattr(fashion_mnist, "load", lambda part, cache_dir: numbered)


def products(catalog: Path) -> list[str]:
    """Return the products of a catalog whose images are all there."""
    rows = list(csv.DictReader(catalog.read_text(encoding="utf-8").splitlines()))
    assert all((catalog.parent / row["image_uri"]).is_file() for row in rows)
    return [row["product_id"] for row in rows]


def test_the_example_has_something_new_at_each_start_until_there_is_no_more(tmp_path: Path) -> None:
    shelves = [products(example_catalog(tmp_path)) for _ in range(3)]
    assert [len(shelf) for shelf in shelves] == [200, 220, 230]
    assert shelves[1][:200] == shelves[0]
    assert len(products(example_catalog(tmp_path))) == 230


def test_the_example_outlives_a_start_that_was_killed_half_way(tmp_path: Path) -> None:
    (tmp_path / "example" / "catalog.new" / "images").mkdir(parents=True)
    assert len(products(example_catalog(tmp_path))) == 200
    assert [path.name for path in (tmp_path / "example").iterdir()] == ["catalog"]


def test_nights_of_the_example_reach_nothing_that_is_somebodys_own(tmp_path: Path) -> None:
    """Neither a database nor a home nor what a real Airflow is told by its environment; the machine's settings stay."""
    own = {
        "SHELFWISE_HOME": str(tmp_path),
        "SHELFWISE_DATABASE_URL": "postgresql://database.example/shop",
        "SHELFWISE_RELEASE_DIR": "/releases/clothing-2",
        "AIRFLOW_CONN_SHELFWISE_DB": "postgresql://database.example/shop",
        "AIRFLOW_VAR_SHELFWISE_CATALOG": "products",
        "AIRFLOW_VAR_SHELFWISE_SETTINGS": '{"SHELFWISE_HOME": "/shop"}',
    }
    machine = {"SHELFWISE_DRIVER_MEMORY": "1g", "AIRFLOW__CORE__PARALLELISM": "2", "PATH": "/bin"}
    home = {"SHELFWISE_HOME": str(tmp_path / "example" / "home")}
    assert example_environment(own | machine, tmp_path) == machine | home


def test_a_catalog_of_ones_own_is_found_from_every_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert named_catalog("{{ ds }}.csv") == str(tmp_path / "{{ ds }}.csv")
    for name in ("products", "s3://bucket/shop.csv", str(tmp_path / "shop.csv")):
        assert named_catalog(name) == name

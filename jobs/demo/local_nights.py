"""What the nights of a local Airflow read and where they write: somebody's own catalog and home, or an example.

The example lies below `example/` in the usual home; neither what else is there nor a database that is set is touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from jobs.demo.shop import Shop
from jobs.ingest.catalog import PRODUCTS_TABLE
from jobs.storage.stores import scheme_of
from models import fashion_mnist

PRODUCTS = 200
MORE = 20
OTHERS = ("SHELFWISE_DATABASE_URL", "SHELFWISE_RELEASE_DIR", "AIRFLOW_CONN_SHELFWISE_", "AIRFLOW_VAR_SHELFWISE_")
"""Beginnings of variables that the example is kept from: they name what is somebody's own."""


def named_catalog(catalog: str) -> str:
    """Return a catalog by a name that holds in every directory."""
    return catalog if catalog == PRODUCTS_TABLE or scheme_of(catalog) else str(Path(catalog).expanduser().absolute())


def example_catalog(usual: Path) -> Path:
    """Write the catalog, with 20 articles more at each start, so that a backfill finds images of each night.

    Args:
        usual: What SHELFWISE_HOME stands for.

    Returns:
        The file.

    Raises:
        FileNotFoundError: If there is no data to make it of; says what to set or install.
        ValueError: If the data is not the published one.
    """
    place, fresh = usual / "example" / "catalog", usual / "example" / "catalog.new"
    articles = fashion_mnist.load("t10k", cache_dir=usual / "downloads")
    there = len(list((place / "images").glob("*.png")))
    shutil.rmtree(fresh, ignore_errors=True)  # of a start that was killed
    Shop(fresh, articles).open(min(there + MORE, len(articles.images)) if there else PRODUCTS)
    shutil.rmtree(place, ignore_errors=True)
    fresh.rename(place)
    return place / "catalog.csv"


def example_environment(environment: Mapping[str, str], usual: Path) -> dict[str, str]:
    """Return an environment whose nights write to the example's home, and to no database of somebody's own.

    Args:
        environment: What a user has set.
        usual: What SHELFWISE_HOME stands for there.
    """
    kept = {name: value for name, value in environment.items() if not name.startswith(OTHERS)}
    return kept | {"SHELFWISE_HOME": str(usual / "example" / "home")}

"""Catalog and environment for the nightly runs of a local Airflow: the user's own ones, or those of an example.

The example is below `example/` in the usual home. It changes neither other files of that home nor a configured
database.
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
"""Prefixes of environment variables that the example must not see, because they name the user's own resources."""


def named_catalog(catalog: str) -> str:
    """Name a catalog for a local Airflow so that it is found from every directory: a path becomes absolute."""
    return catalog if catalog == PRODUCTS_TABLE or scheme_of(catalog) else str(Path(catalog).expanduser().absolute())


def example_catalog(usual: Path) -> Path:
    """Write the example's catalog for a local Airflow; each start adds 20 articles, so every night has new images.

    Args:
        usual: Directory of SHELFWISE_HOME.

    Returns:
        Path of the CSV file.

    Raises:
        FileNotFoundError: If the Fashion-MNIST data is missing; the message names what to set or install.
        ValueError: If the data differs from the published data.
    """
    directory, fresh = usual / "example" / "catalog", usual / "example" / "catalog.new"
    articles = fashion_mnist.load("t10k", cache_dir=usual / "downloads")
    existing = len(list((directory / "images").glob("*.png")))
    shutil.rmtree(fresh, ignore_errors=True)  # left by an earlier start that was killed
    Shop(fresh, articles).open(min(existing + MORE, len(articles.images)) if existing else PRODUCTS)
    shutil.rmtree(directory, ignore_errors=True)
    fresh.rename(directory)
    return directory / "catalog.csv"


def example_environment(environment: Mapping[str, str], usual: Path) -> dict[str, str]:
    """Make the environment of a local Airflow's example: its own home, and not the user's own database.

    Args:
        environment: Environment variables of the user.
        usual: Directory of SHELFWISE_HOME in that environment.
    """
    kept = {name: value for name, value in environment.items() if not name.startswith(OTHERS)}
    return kept | {"SHELFWISE_HOME": str(usual / "example" / "home")}

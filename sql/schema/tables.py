"""All tables of the product database: import this module to have every table in `metadata`."""

from __future__ import annotations

from sql.schema import products, releases, runs
from sql.schema.columns import metadata

__all__ = ["metadata", "products", "releases", "runs"]

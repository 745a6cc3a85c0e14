"""Every table of the product database: importing this module is what makes `metadata` whole."""

from __future__ import annotations

from sql.schema import products, releases, runs
from sql.schema.columns import metadata

__all__ = ["metadata", "products", "releases", "runs"]

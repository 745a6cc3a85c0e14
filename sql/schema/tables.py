"""All tables of the product database: import this module to have every table in `metadata`."""

from __future__ import annotations

from sql.schema import decisions, products, releases, runs
from sql.schema.columns import metadata

__all__ = ["decisions", "metadata", "products", "releases", "runs"]

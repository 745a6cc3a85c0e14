"""Demo for new users: two nightly runs over a catalog of real articles, with the shipped release.

Writes a small catalog and a home of its own.

Others import: nights, shop.
"""

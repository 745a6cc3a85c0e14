"""The tables, written once, and the migrations that make them.

Others import: columns, migrate, products, releases, runs.
"""

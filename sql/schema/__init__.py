"""The definitions of the tables, and the code that creates them in a database.

Others import: columns, decisions, migrate, products, releases, runs, tables, views.
"""

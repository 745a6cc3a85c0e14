"""Two nights over a catalog of real articles that comes with the shipped release: what a new user runs first.

Writes a small shop and a home of its own.

Others import: nights.
"""

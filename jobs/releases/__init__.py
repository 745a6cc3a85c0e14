"""Releases: find, list, verify, promote, import and calibrate them.

Reads and writes releases/ of the home and the aliases in the product database.

Others import: aliases, calibrate, import_network, inspection, known_images, lookup, new_releases, records, stored.
"""

"""Ingest: read a catalog, fetch the images that are new or changed, verify them and store them in the dataset.

Reads catalogs and source images from disks, web servers and object stores. Writes the directories images/, seen/,
catalog_rows/, catalogs/ and ingests/ of the home. The links in a catalog are not trusted: this package checks every
link and every network address before it connects.

Others import: catalog, catalog_check, catalog_names, config, job, reports.
"""

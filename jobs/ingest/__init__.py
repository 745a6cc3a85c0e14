"""Ingest: reading a catalog, fetching what is new or changed, verifying it and storing it in the dataset.

Reads catalogs and source images from disks, web servers and object stores; writes images/, seen/, catalog_rows/ and
ingests/ of the home. What a catalog names is not trusted: links are checked and addresses guarded here.

Others import: catalog, config, job, reports.
"""

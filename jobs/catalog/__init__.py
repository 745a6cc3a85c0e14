"""A shop's catalog in any form, read to the rows of one schema: `rows.ROW_SCHEMA`.

Reads files and directories on disks and in object stores, and their `shelfwise.toml`. Writes nothing and fetches no
image. Knows nothing of Spark: `jobs.ingest.catalog` gives the parts of a catalog to Spark's tasks. Every value of a
catalog is untrusted.

Others import: description, description_file, errors, files, guess, layout, links, passed_over, recognise, rows, values.
"""

"""The forms of a catalog: one module a form, each of which yields the rows of a file or directory in record batches.

A reader takes the local path of a file, its name for error messages and the catalog's layout. It keeps one batch of
rows in memory, never the whole file. It turns each record into rows by `jobs.catalog.rows.RowMaker`, and its errors
name the line to correct.
"""

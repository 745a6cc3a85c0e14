"""The forms of a catalog: one module a form, each of which yields the catalog's rows batch by batch, checked.

Reads one file or folder; knows nothing of Spark. `rows` holds what the forms share.
"""

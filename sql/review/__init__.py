"""Queries and writes of the review pages: the queue, one product, planted products, progress, and decisions of a page.

All functions take a `ProductDatabase`; what they give and take is in `sql.review.records`.

Others import: categories, planted, product, progress, queue, records, writing.
"""

"""Housekeeping of the home: which files nobody needs any more, and their deletion.

Reads images/, seen/, releases/ and training/ of the home and the product database. Deletes files of images/,
predictions/, selections/, thumbnails/ and features/. Writes to seen/ and catalog_rows/ what deleted images were.

Others import: prune.
"""

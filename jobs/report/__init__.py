"""The HTML report of a run, for a person who checks it in the morning.

Reads the product database and, for pictures, some files of images/. Writes one HTML file.

Others import: job.
"""

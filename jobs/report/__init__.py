"""The page of a run that a person reads in the morning.

Reads the product database and, for pictures, some files of images/; writes one HTML file.

Others import: job.
"""

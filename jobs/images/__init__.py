"""Decoding and normalising one image: from hostile bytes to an upright RGB JPEG, or a rejection with its reason.

Pure functions of bytes; reads and writes no file.

Others import: normalise.
"""

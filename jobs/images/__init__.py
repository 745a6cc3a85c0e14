"""Decode and normalise one image: untrusted bytes become an upright RGB JPEG, or a rejection with a reason.

All functions work on bytes in memory; they read and write no files.

Others import: formats, normalise.
"""

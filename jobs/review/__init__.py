"""Review: what the pages on which people decide show and do.

Reads thumbnails/ and images/ of the home.

Others import: nothing.
"""

"""HTML pages and the charts in them, made to be opened from disk without a network or a script.

Reads its templates; the caller writes the page.

Others import: charts, html.
"""

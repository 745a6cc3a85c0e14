"""HTML pages and charts that can be opened from disk; they need no network access and no script.

Reads its templates; the caller writes the page to a file.

Others import: charts, html.
"""

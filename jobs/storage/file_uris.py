"""Convert URIs of local files to paths: `file:///srv/red%20shirt.jpg` to `/srv/red shirt.jpg`."""

from __future__ import annotations

import os
from urllib.parse import unquote_to_bytes


def path_of_file_uri(uri: str) -> str:
    """Return the percent-decoded path of a `file:` URI.

    Raises:
        ValueError: If the URI names another machine, or has no path; the message shows the expected form.
    """
    rest = uri.strip().partition(":")[2]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host.lower() not in ("", "localhost"):
            raise ValueError(f"expected file:/// with three slashes or file://localhost/, received host {host!r}")
        rest = slash + path
    if not rest.strip("/"):
        raise ValueError("expected a file:// URI with a path, received one without")
    return os.fsdecode(unquote_to_bytes(rest))

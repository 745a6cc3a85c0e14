"""The link or path to an image, as a catalog writes it and as shelfwise stores it."""

from __future__ import annotations

import re
from typing import NamedTuple

from jobs.catalog.values import printable

_USER_INFO = re.compile(
    r"^(\s*(?:https?|ftps?):[\\/]*)[^/?#]*@|^(\s*[a-z][a-z0-9+.-]*://)[^/?#@]*:[^/?#]*@", re.IGNORECASE
)


class Link(NamedTuple):
    """A link of a catalog.

    Attributes:
        image_uri: The link to store, show and compare; secrets in it are masked.
        fetch_uri: The link to send in a request, with its secrets; None if it is the same. It is never stored.
    """

    image_uri: str
    fetch_uri: str | None = None


def link_of(text: str, base_url: str = "") -> Link:
    """Return the link that a catalog's text stands for.

    Args:
        text: Value of the catalog; may be empty.
        base_url: What relative links are relative to; empty means the catalog's own directory.
    """
    # A password in a link would be copied into every table that names the image. So it is replaced here; the link
    # itself is rejected when the image is read.
    return Link(_USER_INFO.sub(r"\1\2***@", printable(text)))

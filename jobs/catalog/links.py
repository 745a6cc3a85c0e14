"""The link or path to an image, as a catalog writes it and as shelfwise stores it.

What a browser would read too is read: blanks, quotation marks and angle brackets around a link, `//host/a.jpg`,
`www.host/a.jpg`, `http:/host/a.jpg`, `https:\\\\host\\a.jpg`, `https//host/a.jpg`, and `&amp;` in a query. A link in
another form that no path has stays as it is and is rejected when its image is read, with `bad_link`; so is one with
control characters or bytes that are no UTF-8, which become U+FFFD. Everything else is a path, such as
`host.example/a.jpg`.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urljoin

from jobs.catalog.values import NO_CHARACTERS
from jobs.errors import UsageError
from jobs.storage.masking import MASK, mask_secrets, mask_user_info

MAX_LINK_CHARS = 4096
MAX_BASE_CHARS = 2048
_SHOWN_CHARS = 200
_CUT = "\N{HORIZONTAL ELLIPSIS}"
_UNREADABLE = "\ufffd"
_CONTROL = dict.fromkeys(NO_CHARACTERS, _UNREADABLE)
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u200e\u200f\u2060"
_PAIRS = ('""', "''", "<>", "\u201c\u201d", "\u2018\u2019", "\u201e\u201c", "\u00ab\u00bb")
_MAX_PAIRS = 8
_PLAIN = re.compile(r"(?:https?://)?(?!https?/|www)[a-z0-9._-]+(?:/[a-z0-9._~+-]+)*", re.IGNORECASE | re.ASCII)
"""Matches most links; these are stored as they are."""

_LABELS = r"[^\s/\\?#@:.]+(?:\.[^\s/\\?#@:.]+)+\.?"
_HOST = rf"(?:{_LABELS}(?::\d+)?|[^\s/\\?#@:]+:\d+|\[[0-9a-f:.]+\](?::\d+)?)"
_REPAIRED = re.compile(
    rf"(?P<scheme>https?):[\\/]{{1,2}}(?![\\/])|(?P<without_colon>https?)//(?={_LABELS})"
    rf"|//(?=(?:[^/\\?#\s]*@)?{_HOST}(?:[/\\?#]|$))|(?=www\d?\.{_LABELS}(?::\d+)?[/\\])",
    re.IGNORECASE,
)
"""Matches the start of a web link in all forms that are clear. Without a dot or port, `//photos/a.jpg` is a path."""
_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:[\\/]{2}|(?:data|file):|[a-z]:[\\/]|\\\\|//", re.IGNORECASE)
_WEB = re.compile(r"https?://", re.IGNORECASE)
_SEVERAL = re.compile(r"https?://.*[\s,;|]https?://", re.IGNORECASE | re.DOTALL)
_NO_SLASHES = re.compile(
    r"https?\s*[:;\uff1a]|https?[.,]?//|(?:s3[an]?|gs|gcs|abfss?|az|hdfs|ftps?):[\\/](?![\\/])", re.IGNORECASE
)
_NO_HOST = re.compile(r"https?:(?:[\\/]{3,}|[\\/]*$)|https?://[?#]", re.IGNORECASE)
_TWICE = re.compile(r"https?://https?(?::|;|//)", re.IGNORECASE)
_DOTS = re.compile(r"(?:^|/)\.\.?(?:[/?#]|$)")
_MASKED_VALUE = re.compile(rf"(?:=|%(?:25)*3d){re.escape(MASK)}", re.IGNORECASE)
_AMPERSAND = re.compile(r"&(?:amp;|#0*38;|#x0*26;)+", re.IGNORECASE)


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
        base_url: What relative links are relative to, as `checked_base_url` returns it; empty means the catalog's own
            directory.
    """
    if len(text) <= MAX_LINK_CHARS and _PLAIN.fullmatch(text) and (not base_url or "://" in text):
        return Link(text)
    link = _unwrapped(text)
    if len(link) <= MAX_LINK_CHARS:
        link = _repaired(link.translate(_CONTROL))
        if base_url and link and _ABSOLUTE.match(link) is None and _fault(link) is None:
            link = _repaired(_joined(link, base_url))
    if len(link) > MAX_LINK_CHARS:
        # The @ after a very long password may be beyond the part that is kept.
        start = mask_secrets(link[:MAX_LINK_CHARS].translate(_CONTROL) + "@")
        return Link(start[:_SHOWN_CHARS] + _CUT)
    masked = mask_secrets(link)
    if _UNREADABLE in link:  # also in a secret, which nobody sees any more
        return Link(masked if _UNREADABLE in masked else masked + _UNREADABLE)
    # Links with a password are rejected when they are read, so nothing needs their password.
    return Link(masked, None if masked == link or mask_user_info(link) != link else link)


def path_link(path: str) -> Link:
    """Return the link to a file whose path, relative to the catalog's directory, is known and so taken literally."""
    return Link(path.translate(_CONTROL))


def bad_link(image_uri: str) -> str | None:
    """Return what is wrong with the form of a stored link or path; None if its image can be looked for.

    Args:
        image_uri: As `link_of` returns it. An empty text has no form; it is refused where paths are read.
    """
    if image_uri.endswith(_CUT) and (len(image_uri) > _SHOWN_CHARS or MASK in image_uri):
        return f"the link has over {MAX_LINK_CHARS:,} characters; expected a link or path"
    if _UNREADABLE in image_uri:
        return "the link holds a control character, or one that was not decoded, shown as U+FFFD; write it without"
    return _fault(image_uri)


def masks_user_info(image_uri: str) -> bool:
    """Return whether a stored link had a user name or password, which a catalog must not hold."""
    return f"{MASK}@" in image_uri


def masks_query(image_uri: str) -> bool:
    """Return whether a stored link had a secret in its query, so that it cannot be fetched as it is stored."""
    return _WEB.match(image_uri) is not None and _MASKED_VALUE.search(image_uri) is not None


def checked_base_url(text: str) -> str:
    """Return the URL that relative links are relative to, without blanks around it; empty if it is empty.

    Raises:
        UsageError: If it is no http, https or s3 URL with a host, or holds a secret.
    """
    url = text.strip()
    if not url:
        return ""
    if len(url) > MAX_BASE_CHARS:
        raise UsageError(f"base_url has {len(url):,} characters; {MAX_BASE_CHARS:,} at most are taken")
    if mask_secrets(url) != url or re.match(r"[^/?#]*//[^/?#]*@", url):
        raise UsageError("base_url holds a user name, password, signature or token; leave it out")
    if not re.fullmatch(r"(?:https?|s3)://[^\s/\\?#@]+(?:[/?#]\S*)?", url, re.IGNORECASE) or bad_link(
        url.translate(_CONTROL)
    ):
        shown = url.translate(_CONTROL)[:80]
        raise UsageError(f"base_url is {shown!r}; expected a URL such as https://shop.example/images/ or s3://bucket/")
    return url


def _unwrapped(text: str) -> str:
    """Return a text without white space, quotation marks and angle brackets around it."""
    for _ in range(_MAX_PAIRS):
        inner = text.strip().strip(_INVISIBLE)
        if len(inner) > 1 and inner[0] + inner[-1] in _PAIRS:
            inner = inner[1:-1]
        if inner == text:
            break
        text = inner
    return text


def _repaired(link: str) -> str:
    """Return a web link in its usual form, if its form is clear; and any other text as it is."""
    start = _REPAIRED.match(link)
    if start is None:
        return link
    scheme = start["scheme"] or start["without_colon"] or "https"
    rest, mark, query = link[start.end() :].partition("?")
    # The URL Standard of browsers takes a backslash before the query of a web link for a slash.
    repaired = rest.replace("\\", "/") + mark + _AMPERSAND.sub("&", query)
    return f"{scheme}://{repaired}"


def _joined(link: str, base_url: str) -> str:
    """Return the link below the base: shops mean so also those that begin with a slash."""
    scheme, colon, rest = base_url.partition(":")
    if _WEB.match(base_url):
        path, mark, query = link.partition("?")
        link = path.replace("\\", "/") + mark + query
    below = re.split("[?#]", rest)[0].removesuffix("/") + "/"
    link = link.removeprefix("/")
    if not _DOTS.search(link):
        return scheme + colon + below + link  # urljoin would make `//` in a path a `/`
    # urljoin knows no s3, and takes a colon in the first name of a path for the end of a scheme.
    return scheme + colon + urljoin(f"http:{below}", f"./{link}").removeprefix("http:")


def _fault(link: str) -> str | None:
    """Return what is wrong with the form of a link without control characters; None if nothing is."""
    if _TWICE.match(link):
        return "the link names its scheme twice; write https:// once"
    if _NO_HOST.match(link):
        return "the link has no host; write https://host/path"
    if _WEB.match(link):
        if _SEVERAL.match(link):
            return "there are several links; name the text between them as image_separator, or write a row for each"
        return None
    if _NO_SLASHES.match(link):
        return "the link has another text than :// after its scheme; write https://host/path"
    web = None if _ABSOLUTE.match(link) else _WEB.search(link)
    if web and (re.search(r"\s", link[: web.start()]) or "/" not in link[: web.start()]):
        return "the link has text before it; write the link alone"
    return None

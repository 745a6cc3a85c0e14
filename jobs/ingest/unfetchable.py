"""Why the image of a link cannot be fetched, as far as the link alone shows it; no server is asked."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from os import strerror
from pathlib import Path

from urllib3.util import Url

from jobs.images.normalise import Rejected
from jobs.ingest.addresses import AddressRefused
from jobs.ingest.config import HttpLimits
from jobs.ingest.local_files import check_readable, resolve_uri
from jobs.ingest.sources import Row, check_link, in_store, is_remote, is_web, link_to_read
from jobs.ingest.web import parse_link, port_of
from jobs.storage.places import Place
from jobs.storage.stores import scheme_of

THIS_MACHINE = "this machine"


def host_of(image_uri: str, base: Place) -> str:
    """Return the web server or bucket that has an image: `https://cdn.example.com`, `s3://bucket`, `this machine`."""
    if not is_remote(image_uri, base):
        return THIS_MACHINE
    if not (scheme_of(image_uri) or is_web(image_uri)):
        return str(base)  # relative to a catalog in a store
    scheme, _, rest = image_uri.strip().partition("://")
    return f"{scheme.lower()}://{rest.partition('/')[0].rpartition('@')[2].lower()}"[:200]


def why_unfetchable(
    row: Row, base: Place, limits: HttpLimits, *, look: bool = True, trusted: Sequence[Place] = ()
) -> str:
    """Return why an image cannot be fetched: reason and detail of its rejection; empty if nothing speaks against it.

    Args:
        row: Catalog row with the image's link or path, and with `fetch_uri` if `image_uri` masks secrets of it.
        base: Directory to which a relative one is relative.
        limits: Which networks may be reached.
        look: Whether to look for a file of this machine.
        trusted: As in `jobs.ingest.sources.in_store`.
    """
    try:
        check_link(row)
        link = link_to_read(row)
        if not is_remote(link, base):
            path = resolve_uri(link, base if isinstance(base, Path) else Path("/"))
            if look:
                _look_for(path)
        elif is_web(link):
            _check_address(parse_link(link), limits)
        elif in_store(link, base, [base, *trusted]) is None:
            raise Rejected("uri_not_allowed", "expected a path or a URI of a file")
    except Rejected as rejection:
        return f"{rejection.reason}: {rejection.detail}"
    except AddressRefused as refused:
        return f"uri_not_allowed: {refused}"
    except ValueError as error:
        return f"unreadable: {type(error).__name__}"
    return ""


def _look_for(path: Path) -> None:
    """Raise Rejected, as `read_source` does, if no image can be read from a file of this machine."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Rejected("missing", "there is no such file") from error
    except OSError as error:
        reason = strerror(error.errno) if error.errno else type(error).__name__
        raise Rejected("unreadable", f"reading the file failed: {reason}") from error
    check_readable(status)
    if not status.st_size:
        raise Rejected("empty", "the file has no bytes")


def _check_address(url: Url, limits: HttpLimits) -> None:
    """Raise AddressRefused for an address or port in a link that may not be reached.

    Names are resolved in the night only, so the port of one counts here if no network is allowed besides public ones.
    """
    host = str(url.host).strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not limits.guard.allowed:
            limits.guard.check_port(port_of(url))
        return
    limits.guard.check(host, host, port_of(url))

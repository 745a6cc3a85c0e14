"""Why the image of a link cannot be fetched, as far as the link alone shows it; no server is asked."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path

from urllib3.util import Url

from jobs.images.normalise import Rejected
from jobs.ingest.addresses import AddressRefused
from jobs.ingest.config import HttpLimits
from jobs.ingest.local_files import resolve_uri
from jobs.ingest.sources import in_store, is_remote
from jobs.ingest.web import parse_link, port_of
from jobs.storage.places import Place
from jobs.storage.stores import scheme_of

THIS_MACHINE = "this machine"


def host_of(image_uri: str, base: Place) -> str:
    """Return the web server or bucket that has an image: `https://cdn.example.com`, `s3://bucket`, `this machine`."""
    if not is_remote(image_uri, base):
        return THIS_MACHINE
    if not (scheme_of(image_uri) or image_uri.lower().lstrip().startswith("http")):
        return str(base)  # relative to a catalog in a store
    scheme, _, rest = image_uri.strip().partition("://")
    return f"{scheme.lower()}://{rest.partition('/')[0].rpartition('@')[2].lower()}"[:200]


def why_unfetchable(
    image_uri: str, base: Place, limits: HttpLimits, *, look: bool = True, trusted: Sequence[Place] = ()
) -> str:
    """Return why an image cannot be fetched: reason and detail of its rejection; empty if nothing speaks against it.

    Args:
        image_uri: Link or path of the image.
        base: Directory to which a relative one is relative.
        limits: Which networks may be reached.
        look: Whether to look for a file of this machine.
        trusted: As in `jobs.ingest.sources.in_store`.
    """
    try:
        if not is_remote(image_uri, base):
            path = resolve_uri(image_uri, base if isinstance(base, Path) else Path("/"))
            if look and not path.is_file():
                return "missing: there is no such file"
        elif image_uri.lower().lstrip().startswith("http"):
            _check_address(parse_link(image_uri), limits)
        else:
            in_store(image_uri, base, [base, *trusted])
    except Rejected as rejection:
        return f"{rejection.reason}: {rejection.detail}"
    except AddressRefused as refused:
        return f"uri_not_allowed: {refused}"
    except (OSError, ValueError) as error:
        return f"unreadable: {type(error).__name__}"
    return ""


def _check_address(url: Url, limits: HttpLimits) -> None:
    """Raise AddressRefused for an address in a link that may not be reached; names are resolved in the night only."""
    host = str(url.host).strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return
    limits.guard.check(host, host, port_of(url))

"""What requests for images say of themselves: the headers that a person sets for a host, and a redirect's cookies."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterable, Mapping
from email.message import Message
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from typing import cast

from urllib3.util import Url

from jobs.errors import UsageError

_SETTING = "SHELFWISE_HTTP_HEADERS"
_EXAMPLE = '{"cdn.shop.example": {"Referer": "https://shop.example/"}}'
_HOST = re.compile(r"([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_OWN = re.compile(
    r"host|connection|keep-alive|te|trailer|transfer-.*|upgrade|expect|range|if-.*|content-.*|proxy-.*|accept-encoding"
)
"""Names of headers that the protocol or the fetching itself sets."""
_DEFAULT_PORTS = (80, 443)


def check_headers(headers: Mapping[str, object]) -> None:
    """Check the headers that a person sets for hosts; messages never repeat a value, which may be a secret.

    Args:
        headers: For each host, `cdn.shop.example` or `cdn.shop.example:8080`, its headers: name to value.

    Raises:
        UsageError: If a host, a name or a value cannot be used.
    """
    for host, named in headers.items():
        if not _HOST.fullmatch(host):
            raise UsageError(f"{_SETTING}: {host!r} is no host in small letters; write it as {_EXAMPLE}")
        if not isinstance(named, Mapping) or not named:
            raise UsageError(f"{_SETTING}: {host!r} has no object of headers; write it as {_EXAMPLE}")
        for name, value in named.items():
            if not _NAME.fullmatch(name) or _OWN.fullmatch(name.lower()):
                raise UsageError(f"{_SETTING}: {host!r} has the header {name!r}, which cannot be set; leave it out")
            if not isinstance(value, str) or not _VALUE.fullmatch(value):
                raise UsageError(
                    f"{_SETTING}: the value of {name} for {host!r} is no text of printable ASCII characters; "
                    "percent-encode others"
                )


class Chain:
    """One attempt for one image, with all redirects on its way.

    Cookies that a host sets while it redirects are sent where cookies of a browser would be, and forgotten with the
    chain. Headers that a person has set for a host are sent to that host alone.
    """

    def __init__(self, of_hosts: Mapping[str, Mapping[str, str]]) -> None:
        """Begin a chain.

        Args:
            of_hosts: Headers by host, checked by `check_headers`.
        """
        self._of_hosts = of_hosts
        self._cookies: CookieJar | None = None
        self._encrypted = False

    def headers(self, url: Url, port: int) -> dict[str, str]:
        """Return the headers for the next request of the chain.

        Args:
            url: Where the request goes.
            port: TCP port of the URL.
        """
        # A redirect from https to http must not send in the clear what was meant for an encrypted connection.
        self._encrypted = self._encrypted or url.scheme == "https"
        host = str(url.host).lower()
        found: dict[str, str] = {}
        if url.scheme == "https" or not self._encrypted:
            alone = self._of_hosts.get(host, {}) if port in _DEFAULT_PORTS else {}
            found |= {**alone, **self._of_hosts.get(f"{host}:{port}", {})}
        if self._cookies is not None:
            request = urllib.request.Request(url.url)  # noqa: S310 - it only carries headers, and is never opened
            self._cookies.add_cookie_header(request)
            sent = [found.pop(name) for name in list(found) if name.lower() == "cookie"]
            if cookies := "; ".join([*sent, *filter(None, [request.get_header("Cookie")])]):
                found["Cookie"] = cookies
        return found

    def keep_cookies(self, url: Url, cookies: Iterable[str]) -> None:
        """Keep the cookies of a redirect.

        Args:
            url: Which URL redirected.
            cookies: Values of its Set-Cookie headers.
        """
        message = Message()
        for cookie in cookies:
            message["Set-Cookie"] = cookie
        if not message:
            return
        self._cookies = self._cookies or CookieJar()
        request = urllib.request.Request(url.url)  # noqa: S310 - it only carries headers, and is never opened
        self._cookies.extract_cookies(cast(HTTPResponse, _Info(message)), request)


class _Info:
    """The part of a response that a cookie jar reads."""

    def __init__(self, message: Message) -> None:
        self._message = message

    def info(self) -> Message:
        """Return the headers."""
        return self._message

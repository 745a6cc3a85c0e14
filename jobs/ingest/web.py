"""Fetching source images from web servers: politely, within limits, and only what has changed.

Whatever a server does ends in time: bytes, or the server's word that nothing has changed, or `Rejected` with a reason
of `jobs.dataset.schema.REJECTION_REASONS`. Details name the host at most, since links may carry secrets in their query.
"""

from __future__ import annotations

import email.utils
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin

import tenacity
import urllib3
from urllib3.exceptions import HTTPError, LocationValueError, NameResolutionError, ProtocolError, SSLError
from urllib3.util import Timeout, Url, parse_url

from jobs.images.normalise import MAX_SOURCE_BYTES, Rejected
from jobs.ingest.addresses import AddressRefused
from jobs.ingest.config import HttpLimits
from jobs.ingest.connections import DEADLINE, guarded_pools
from jobs.ingest.prefetch import PIECE_BYTES, promised_bytes, read_body
from models.program import program_version

_RETRIED = (408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 529)
"""Those over 504 are of content networks, whose origin is busy or away."""
_REDIRECTS = (301, 302, 303, 307, 308)
_GIVEN_UP_AFTER = 5
_MAX_VERSION_CHARS = 256


@dataclass(frozen=True)
class WebImage:
    """What a server gave.

    Attributes:
        data: The bytes, at least one; None where the server says that nothing has changed.
        source_version: `etag:...` or `last-modified:...` in the server's words; None if it has none.
    """

    data: bytes | None
    source_version: str | None


class _Again(Exception):
    """A try that failed in a way that another try may mend."""

    def __init__(self, detail: str, *, wait_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.wait_seconds = wait_seconds


class _Host:
    """What the threads of this process know of one host: who asks it now, when it may be asked, how often it failed."""

    def __init__(self, requests: int) -> None:
        self.lane = threading.BoundedSemaphore(requests)
        self.not_before, self.failures = 0.0, 0


class WebImages:
    """Fetches images; used by several threads at once."""

    def __init__(self, limits: HttpLimits, *, per_host: int | None = None, max_bytes: int = MAX_SOURCE_BYTES) -> None:
        """Prepare; nothing is connected to yet.

        Args:
            limits: Timeouts, tries, redirects and addresses.
            per_host: Requests at a time to one host from this process, by default the whole of `limits.per_host`.
            max_bytes: A longer body is cut off and rejected.
        """
        self._limits, self._max_bytes = limits, max_bytes
        self._per_host = per_host or limits.per_host
        self._pools = guarded_pools(limits.guard, num_pools=64, maxsize=self._per_host)
        self._hosts: dict[tuple[str, int], _Host] = {}
        self._lock = threading.Lock()
        self._headers = {
            "User-Agent": f"shelfwise/{program_version()}".rstrip("/"),
            "Accept": "image/*,*/*;q=0.1",
            "Accept-Encoding": "identity",  # an image is compressed already, and a bomb would be too
        }

    def fetch(self, uri: str, *, known_version: str | None = None) -> WebImage:
        """Fetch one image.

        Args:
            uri: `http://` or `https://`.
            known_version: The `source_version` of what is stored; the server sends nothing if it still has that.

        Returns:
            The image, or that it has not changed.

        Raises:
            Rejected: `uri_not_allowed`, `missing`, `unreadable`, `too_large` or `empty`.
            PutOff: If it is large and has to wait for its turn; see `jobs.ingest.prefetch`.
        """
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._limits.tries),
            wait=self._wait,
            retry=tenacity.retry_if_exception_type(_Again),
            reraise=True,
        )
        url = _parsed(uri)
        host = self._host(url)
        if host.failures >= _GIVEN_UP_AFTER:
            raise Rejected("unreadable", f"host {_name(url)} failed too often in a row and is left alone for this run")
        try:
            found = retrying(self._try, url, _conditions(known_version))
        except _Again as error:
            host.failures += 1
            raise Rejected("unreadable", f"{error}, {self._limits.tries} tries") from error
        host.failures = 0
        return found

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Return the pause before the next try: what the server asks for, else longer each time and never the same."""
        failure = state.outcome.exception() if state.outcome else None
        jittered = tenacity.wait_random_exponential(multiplier=0.5, max=self._limits.longest_wait_seconds)(state)
        asked = failure.wait_seconds if isinstance(failure, _Again) else None
        return asked + min(jittered, 1.0) if asked is not None else jittered

    def _host(self, url: Url) -> _Host:
        key = (str(url.host).lower(), _port(url))
        with self._lock:
            return self._hosts.setdefault(key, _Host(self._per_host))

    def _try(self, url: Url, conditions: Mapping[str, str]) -> WebImage:
        """Ask once, following redirects; each address on the way is checked when it is connected to."""
        for _ in range(self._limits.redirects + 1):
            answer = self._ask(url, conditions)
            if isinstance(answer, WebImage):
                return answer
            url = _parsed(answer, after=url)
        raise Rejected("unreadable", f"more than {self._limits.redirects} redirects, the last to host {_name(url)}")

    def _ask(self, url: Url, conditions: Mapping[str, str]) -> WebImage | str:
        """Send one request and return what it brought, or where it was redirected to."""
        host = self._host(url)
        with host.lane:
            pause = host.not_before - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            token = DEADLINE.set(time.monotonic() + self._limits.total_seconds)
            try:
                return self._request(url, conditions, host)
            except AddressRefused as error:
                raise Rejected("uri_not_allowed", str(error)) from error
            except NameResolutionError as error:
                raise _name_failure(error, url) from error
            except SSLError as error:
                raise Rejected("unreadable", f"TLS with host {_name(url)} failed: {error.args[0]}") from error
            except (HTTPError, OSError) as error:
                if time.monotonic() >= DEADLINE.get():
                    host.failures += 1
                    detail = f"host {_name(url)} had not sent all of it after {self._limits.total_seconds:g} s"
                    raise Rejected("unreadable", detail) from error
                raise _Again(f"host {_name(url)} did not answer: {_in_words(error)}") from error
            finally:
                DEADLINE.reset(token)

    def _request(self, url: Url, conditions: Mapping[str, str], host: _Host) -> WebImage | str:
        timeout = Timeout(connect=self._limits.connect_seconds, read=self._limits.read_seconds)
        response = self._pools.request(
            "GET",
            url._replace(fragment=None).url,
            headers={**self._headers, **conditions},
            timeout=timeout,
            retries=False,
            redirect=False,
            preload_content=False,
        )
        reusable = False
        try:
            status = response.status
            if status in (200, 203):
                data = read_body(response, max_bytes=self._max_bytes)
                reusable = True
                return WebImage(data, _version_of(response.headers))
            # A short body is read so that the connection can serve the next request.
            promised = promised_bytes(response.headers)
            reusable = status == 304 or (promised is not None and promised < PIECE_BYTES)
            if reusable:
                response.drain_conn()
            if status == 304 and conditions:
                return WebImage(None, None)
            if status in _REDIRECTS and response.headers.get("Location"):
                return response.headers["Location"]
            if status in _RETRIED:
                raise self._asked_to_wait(response, url, host)
            if status in (404, 410):
                raise Rejected("missing", f"host {_name(url)} answered {status}")
            raise Rejected("unreadable", f"host {_name(url)} answered {status}")
        finally:
            if not reusable:
                response.close()
            response.release_conn()

    def _asked_to_wait(self, response: urllib3.BaseHTTPResponse, url: Url, host: _Host) -> _Again:
        """Return what to raise for an answer that may be better later; a pause that is asked for holds for the host."""
        detail, asked = f"host {_name(url)} answered {response.status}", _retry_after(response.headers)
        if asked is None:
            return _Again(detail)
        if asked > self._limits.longest_wait_seconds:
            host.failures = _GIVEN_UP_AFTER
            raise Rejected("unreadable", f"{detail} and asks to be left alone for {asked:.0f} s")
        host.not_before = max(host.not_before, time.monotonic() + asked)
        return _Again(detail, wait_seconds=asked)


def _parsed(uri: str, *, after: Url | None = None) -> Url:
    """Split a link, or what `after` redirected to, or refuse it: user info is never sent on, stored or shown."""
    by = "the redirect" if after else "the link"
    try:
        url = parse_url(urljoin(after.url, uri) if after else uri.strip())
    except (LocationValueError, ValueError) as error:
        raise Rejected("uri_not_allowed", f"{by} is not a URL") from error
    if url.scheme not in ("http", "https"):
        raise Rejected("uri_not_allowed", f"{by} leads to the scheme {str(url.scheme)[:40]!r}; expected http or https")
    if not url.host:
        raise Rejected("uri_not_allowed", f"{by} has no host")
    if url.auth is not None:
        raise Rejected("uri_not_allowed", f"{by} holds a user name or password, which a catalog must not")
    return url


def _port(url: Url) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _name(url: Url) -> str:
    return str(url.host)[:80]


def _conditions(known_version: str | None) -> dict[str, str]:
    kind, _, value = (known_version or "").partition(":")
    return {"etag": {"If-None-Match": value}, "last-modified": {"If-Modified-Since": value}}.get(kind, {})


def _version_of(headers: Mapping[str, str]) -> str | None:
    for kind in ("ETag", "Last-Modified"):
        value = headers.get(kind, "")
        if value and value.isascii() and value.isprintable() and len(value) <= _MAX_VERSION_CHARS:
            return f"{kind.lower()}:{value}"
    return None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that Retry-After asks for, as a number or a date; None if it is absent or neither."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal() and len(value) < 10:
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _name_failure(error: NameResolutionError, url: Url) -> Exception:
    cause = error.__cause__
    if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_AGAIN:
        return _Again(f"the name {_name(url)} could not be resolved for now")
    return Rejected("unreadable", f"there is no host {_name(url)}")


def _in_words(error: BaseException) -> str:
    """Say what went wrong without urllib3's object addresses and URLs."""
    while isinstance(error, ProtocolError) and len(error.args) > 1 and isinstance(error.args[1], BaseException):
        error = error.args[1]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return {
        "ReadTimeoutError": "it fell silent",
        "ConnectTimeoutError": "it could not be connected to in time",
        "RemoteDisconnected": "it closed the connection",
        "IncompleteRead": "it closed the connection in the middle of the file",
    }.get(type(error).__name__, type(error).__name__)

"""Fetch source images from web servers: with limits and retries, and only the images that have changed.

Each fetch ends within its time limits, whatever the server does. The result is the image's bytes, or that the image has
not changed, or `Rejected` with a reason of `sql.records.REJECTION_REASONS`. Messages name the host and never
the whole link, since a link may hold secrets in its query.
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
from urllib3 import HTTPHeaderDict
from urllib3.exceptions import HTTPError, LocationValueError, NameResolutionError, ProtocolError, SSLError
from urllib3.util import Timeout, Url, parse_url

from jobs.images.normalise import MAX_SOURCE_BYTES, Rejected
from jobs.ingest.addresses import AddressRefused
from jobs.ingest.config import HttpLimits
from jobs.ingest.connections import DEADLINE, guarded_pools
from jobs.ingest.prefetch import PIECE_BYTES, promised_bytes, read_body
from jobs.ingest.request_headers import Chain
from models.program import program_version

_RETRIED = (408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 529)
"""HTTP statuses that lead to a retry. CDNs send those over 504 when the origin server is busy or unavailable."""
_REDIRECTS = (301, 302, 303, 307, 308)
_GIVEN_UP_AFTER = 5
_MAX_VERSION_CHARS = 256


@dataclass(frozen=True)
class WebImage:
    """A web server's response to the request for an image.

    Attributes:
        data: Bytes of the image, at least one; None if the image has not changed.
        source_version: `etag:...` or `last-modified:...` with the value of that header; None if there is neither.
    """

    data: bytes | None
    source_version: str | None


class _Host:
    """State of one host, shared by the threads of this process.

    Attributes:
        slots: Limits the concurrent requests to the host.
        not_before: Time of `time.monotonic`, in seconds, before which no request may be sent.
        failures: Images in a row that could not be fetched from the host.
        left_alone: Whether the host asked for a longer pause than the limit. Nothing takes this back, also not an
            image that arrives later.
    """

    def __init__(self, requests: int) -> None:
        self.slots = threading.BoundedSemaphore(requests)
        self.not_before, self.failures, self.left_alone = 0.0, 0, False

    def check(self, name: str) -> None:
        """Raise Rejected if the host gets no further request in this run."""
        if self.left_alone:
            raise Rejected("unreadable", f"host {name} asked for a long pause and is left alone for this run")
        if self.failures >= _GIVEN_UP_AFTER:
            raise Rejected("unreadable", f"host {name} failed too often in a row and is left alone for this run")


class _Retryable(Exception):
    """Raised when an attempt failed and a retry may succeed.

    Attributes:
        host: The host that failed, which a redirect may have led to.
        wait_seconds: Pause that the host asked for, in seconds; None if it asked for none.
    """

    def __init__(self, detail: str, host: _Host, *, wait_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.host, self.wait_seconds = host, wait_seconds


class WebImages:
    """Fetches images from web servers, with limits and retries; used by several threads at once."""

    def __init__(self, limits: HttpLimits, *, per_host: int | None = None, max_bytes: int = MAX_SOURCE_BYTES) -> None:
        """Set up the connection pools; connect to nothing yet.

        Args:
            limits: Timeouts, attempts, redirects and allowed addresses.
            per_host: Most concurrent requests from this process to one host; by default `limits.per_host`.
            max_bytes: Size limit of an image in bytes; reading stops there and the image is rejected.
        """
        self._limits, self._max_bytes = limits, max_bytes
        self._per_host = per_host or limits.per_host
        self._pools = guarded_pools(limits.guard, num_pools=64, maxsize=self._per_host)
        self._hosts: dict[tuple[str, int], _Host] = {}
        self._lock = threading.Lock()
        self._headers = {
            "User-Agent": f"shelfwise/{program_version()}".rstrip("/"),
            "Accept": "image/*,*/*;q=0.1",
            "Accept-Encoding": "identity",  # images are compressed already
        }

    def fetch(self, uri: str, *, known_version: str | None = None) -> WebImage:
        """Fetch one image.

        Args:
            uri: Link that starts with `http://` or `https://`.
            known_version: The `source_version` of the stored image. If the server still has this version, it sends no
                body.

        Returns:
            The image, with `data` None if it has not changed.

        Raises:
            Rejected: `uri_not_allowed`, `missing`, `unreadable`, `too_large` or `empty`.
            Deferred: If it is large and has to wait for its turn; see `jobs.ingest.prefetch`.
        """
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._limits.tries),
            wait=self._wait,
            retry=tenacity.retry_if_exception_type(_Retryable),
            reraise=True,
        )
        try:
            return retrying(self._try, parse_link(uri), _conditions(known_version))
        except _Retryable as error:
            error.host.failures += 1
            raise Rejected("unreadable", f"{error}, {self._limits.tries} tries") from error

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Return the seconds before the next attempt: as the server asks, else an exponential back-off with jitter."""
        failure = state.outcome.exception() if state.outcome else None
        jittered = tenacity.wait_random_exponential(multiplier=0.5, max=self._limits.longest_wait_seconds)(state)
        wait_seconds = failure.wait_seconds if isinstance(failure, _Retryable) else None
        return wait_seconds + min(jittered, 1.0) if wait_seconds is not None else jittered

    def _host(self, url: Url) -> _Host:
        key = (str(url.host).lower(), port_of(url))
        with self._lock:
            return self._hosts.setdefault(key, _Host(self._per_host))

    def _try(self, url: Url, conditions: Mapping[str, str]) -> WebImage:
        """Make one attempt and follow redirects; each address on the way is checked before it is connected to."""
        asked: list[_Host] = []
        chain = Chain(self._limits.headers)
        for _ in range(self._limits.redirects + 1):
            asked.append(self._host(url))
            answer = self._send(url, conditions, chain)
            if isinstance(answer, WebImage):
                for host in asked:
                    host.failures = 0
                return answer
            url = parse_link(answer, after=url)
        raise Rejected("unreadable", f"more than {self._limits.redirects} redirects, the last to host {_name(url)}")

    def _send(self, url: Url, conditions: Mapping[str, str], chain: Chain) -> WebImage | str:
        """Send one request and return the image, or the link to which the server redirects."""
        host = self._host(url)
        with host.slots:
            pause = host.not_before - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            host.check(_name(url))
            token = DEADLINE.set(time.monotonic() + self._limits.total_seconds)
            try:
                return self._request(url, conditions, host, chain)
            except AddressRefused as error:
                raise Rejected("uri_not_allowed", str(error)) from error
            except NameResolutionError as error:
                raise _name_failure(error, url, host) from error
            except SSLError as error:
                raise Rejected("unreadable", f"TLS with host {_name(url)} failed: {error.args[0]}") from error
            except (HTTPError, OSError) as error:
                if time.monotonic() >= DEADLINE.get():
                    host.failures += 1
                    detail = f"host {_name(url)} had not sent all of it after {self._limits.total_seconds:g} s"
                    raise Rejected("unreadable", detail) from error
                raise _Retryable(f"host {_name(url)} did not answer: {_in_words(error)}", host) from error
            finally:
                DEADLINE.reset(token)

    def _request(self, url: Url, conditions: Mapping[str, str], host: _Host, chain: Chain) -> WebImage | str:
        headers = HTTPHeaderDict({**self._headers, **conditions})
        headers.update(chain.headers(url, port_of(url)))
        timeout = Timeout(connect=self._limits.connect_seconds, read=self._limits.read_seconds)
        response = self._pools.request(
            "GET",
            url._replace(fragment=None).url,
            headers=headers,
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
            # The connection can be reused only after the whole body was read, so a short body is read and dropped.
            promised = promised_bytes(response.headers)
            reusable = status == 304 or (promised is not None and promised < PIECE_BYTES)
            if reusable:
                response.drain_conn()
            if status == 304 and conditions:
                return WebImage(None, None)
            if status in _REDIRECTS and response.headers.get("Location"):
                chain.keep_cookies(url, response.headers.getlist("Set-Cookie"))
                return _as_sent(response.headers["Location"])
            if status in _RETRIED:
                raise self._retryable(response, url, host)
            if status in (404, 410):
                raise Rejected("missing", f"host {_name(url)} answered {status}")
            raise Rejected("unreadable", f"host {_name(url)} answered {status}")
        finally:
            if not reusable:
                response.close()
            response.release_conn()

    def _retryable(self, response: urllib3.BaseHTTPResponse, url: Url, host: _Host) -> _Retryable:
        """Return the exception for a status that leads to a retry; apply the server's Retry-After to the whole host.

        Raises:
            Rejected: If the server asks for a longer pause than the limit; the host gets no further request then.
        """
        detail, wait_seconds = f"host {_name(url)} answered {response.status}", _retry_after(response.headers)
        if wait_seconds is None:
            return _Retryable(detail, host)
        if wait_seconds > self._limits.longest_wait_seconds:
            host.left_alone = True
            raise Rejected("unreadable", f"{detail} and asks to be left alone for {wait_seconds:.0f} s")
        host.not_before = max(host.not_before, time.monotonic() + wait_seconds)
        return _Retryable(detail, host, wait_seconds=wait_seconds)


def parse_link(uri: str, *, after: Url | None = None) -> Url:
    """Parse and check a link; user info in it is never sent, stored or shown.

    Args:
        uri: Link of the catalog, or the Location header of a redirect.
        after: URL that sent the redirect; None for a link of the catalog.

    Raises:
        Rejected: `uri_not_allowed` if it is not an http or https URL with a host and without user info.
    """
    by = "the redirect" if after else "the link"
    try:
        url = parse_url(urljoin(after.url, uri) if after else uri.strip())
    except (LocationValueError, ValueError):
        # The error has the whole link in its message, which a traceback would show.
        raise Rejected("uri_not_allowed", f"{by} is not a URL") from None
    if url.scheme not in ("http", "https"):
        raise Rejected("uri_not_allowed", f"{by} leads to the scheme {str(url.scheme)[:40]!r}; expected http or https")
    if not url.host:
        raise Rejected("uri_not_allowed", f"{by} has no host")
    if url.auth is not None:
        raise Rejected("uri_not_allowed", f"{by} holds a user name or password, which a catalog must not")
    return url


def port_of(url: Url) -> int:
    """Return the TCP port of a URL: its own, or that of its scheme."""
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


def _as_sent(header: str) -> str:
    """Return a header that may hold letters outside of ASCII, which Python reads as Latin-1, as the server meant it.

    Args:
        header: Value of the header, one character a byte.

    Returns:
        The text, if the bytes are UTF-8; else each byte outside of ASCII percent-encoded.
    """
    sent = header.encode("latin-1", errors="replace")
    try:
        return sent.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in sent)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait according to Retry-After, a number or a date; None if it is absent or invalid."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal() and len(value) < 10:
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _name_failure(error: NameResolutionError, url: Url, host: _Host) -> Exception:
    cause = error.__cause__
    if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_AGAIN:
        return _Retryable(f"the name {_name(url)} could not be resolved for now", host)
    return Rejected("unreadable", f"there is no host {_name(url)}")


def _in_words(error: BaseException) -> str:
    """Return a description of an error that leaves out urllib3's object addresses and URLs."""
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

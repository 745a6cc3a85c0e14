"""Who may reach the pages: every request passes here before a route sees it, and every response gets its headers here.

A request is refused if its client sends too many, if it is for a foreign host name (DNS rebinding), if another site
sends it (cross-site request forgery), if its body is large, or if nobody is logged in.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

from jobs.errors import UsageError
from jobs.review.access import Proxy
from jobs.review.people import checked_name
from jobs.review.services import Services
from jobs.review.sessions import Session

log = logging.getLogger(__name__)

Message = dict[str, Any]
Receive = Callable[[], Any]
Send = Callable[[Message], Any]

LONGEST_BODY_BYTES = 1 << 20
"""Most bytes of a request's body: what was marked on a page of 60 products takes a few kilobytes."""

BODY_SECONDS = 20.0
"""Time in which the whole body of a request has to arrive."""

_LOGIN, _OPEN, _STATIC = "/login", "/open", "/static/"

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Refusal:
    """Why a request is refused: HTTP status, a sentence, and where to go instead."""

    status: int
    sentence: str
    location: str = ""


class Door:
    """ASGI middleware that refuses what is not allowed; routes find the person in `request.state.person`."""

    def __init__(self, application: Any, *, services: Services) -> None:
        """Wrap an ASGI application."""
        self.services = services
        self._application, self._access, self._guards = application, services.access, services.guards

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request, or let the application answer it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._application(scope, receive, send)
            return
        headers = _headers_of(scope)
        person, key = self._person(scope, headers)
        refusal = self._refusal(scope, headers, person, key)
        body: bytes | None = b""
        if refusal is None and scope["method"] == "POST":
            read = await _whole_body(receive)
            body, refusal = (None, read) if isinstance(read, Refusal) else (read, None)
        if refusal is not None:
            await _refuse(refusal, headers, send)
            return
        scope.setdefault("state", {}).update(person=person, client=key, token=self._token(headers))
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # the server itself leaves the body out

        async def again() -> Message:
            nonlocal body
            if body is None:
                return {"type": "http.disconnect"}
            whole, body = body, None
            return {"type": "http.request", "body": whole, "more_body": False}

        await self._application(scope, again, _with_headers(send))

    def _person(self, scope: dict[str, Any], headers: dict[str, str]) -> tuple[str, str]:
        """Return who sends a request, empty if nobody is logged in, and the client for which requests are counted."""
        client, proxy = (scope.get("client") or ("",))[0], self._access.proxy
        is_proxy = proxy is not None and _has_secret(proxy, headers)
        if is_proxy:
            client = headers.get("x-forwarded-for", "").rpartition(",")[2].strip() or client
        if proxy is not None and proxy.user_header:
            try:
                named = checked_name(_utf8(headers.get(proxy.user_header.lower(), ""))) if is_proxy else ""
            except UsageError:
                named = ""
            return (named, f"person {named}") if named else ("", client)
        token = self._token(headers)
        session = self._guards.sessions.of(token) if token else None
        if session is None or not self._stands(session):
            return "", client
        return session.person, f"person {session.person}"

    def _stands(self, session: Session) -> bool:
        """Return whether the person of a session may still log in, with the same password."""
        people = self._access.people
        try:
            return people is None or (session.fingerprint or None) == people.fingerprint(session.person)
        except (UsageError, OSError):  # its file was damaged, or opened to others, meanwhile
            log.exception("the file of people cannot be used, so nobody is logged in")
            return False

    def _token(self, headers: dict[str, str]) -> str:
        """Return the token in our cookie; cookies of other servers of the host, however odd, are passed over."""
        for part in headers.get("cookie", "").split(";"):
            name, _, value = part.strip().partition("=")
            if name == self._access.cookie:
                return value
        return ""

    def _refusal(self, scope: dict[str, Any], headers: dict[str, str], person: str, key: str) -> Refusal | None:
        method, path = scope["method"], scope["path"]
        if not self._guards.requests.allows(key):
            return Refusal(429, "These were too many requests; wait a moment, then try again.")
        if headers.get("host", "").lower() not in self._access.hosts:
            return Refusal(421, "This server is not known by that host name; use the address that the command printed.")
        if method not in ("GET", "HEAD", "POST"):
            return Refusal(405, "Only GET, HEAD and POST are answered here.")
        if not self._is_ours(method, headers):
            return Refusal(403, "Another site sent this request, so it was refused; use the pages themselves.")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > LONGEST_BODY_BYTES:
            return _TOO_LARGE
        if person or path == _LOGIN or path.startswith(_STATIC) or (path == _OPEN and self._access.by):
            return None
        if method == "GET" and "application/json" not in headers.get("accept", "") and _is_page(headers):
            return Refusal(303, "Log in first.", _LOGIN)
        return Refusal(401, "Your session has ended: log in in another tab, then send this page again.")

    def _is_ours(self, method: str, headers: dict[str, str]) -> bool:
        """Return whether our own page sends a request; a page may be opened from anywhere, but only looked at.

        Under our Referrer-Policy browsers send `Origin: null` with our own forms. No page can set Sec-Fetch-Site.
        """
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        is_hidden = origin == "null" and site == "same-origin"
        if origin is not None and origin not in self._access.origins and not is_hidden:
            return False
        if method in ("GET", "HEAD"):
            return site in (None, "same-origin", "none") or headers.get("sec-fetch-mode") == "navigate"
        return site == "same-origin" or (site is None and origin in self._access.origins)


_TOO_LARGE = Refusal(413, f"The request is larger than {LONGEST_BODY_BYTES:,} bytes, so it was not read.")
_TOO_SLOW = Refusal(
    408, f"The request did not arrive within {BODY_SECONDS:.0f} seconds, so nothing was written; try again."
)


def _is_page(headers: dict[str, str]) -> bool:
    return headers.get("sec-fetch-dest", "document") == "document"


def _headers_of(scope: dict[str, Any]) -> dict[str, str]:
    """Return the headers of a request by name in lower case; of several with one name, all joined by a comma."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _has_secret(proxy: Proxy, headers: dict[str, str]) -> bool:
    """Return whether a request comes from the proxy; any other client could send its headers."""
    secret = headers.get(proxy.secret_header.lower(), "")
    return hmac.compare_digest(secret.encode("latin-1"), proxy.secret.encode())


def _utf8(value: str) -> str:
    """Decode a header's value, which ASGI gives byte by byte, as UTF-8."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return ""


async def _whole_body(receive: Receive) -> bytes | Refusal:
    """Return the whole body of a request, or why it is not read: it is too large, or comes too slowly."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return _TOO_SLOW  # nobody reads it
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > LONGEST_BODY_BYTES:
                    return _TOO_LARGE
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        return _TOO_SLOW


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", []))
            names = {name.lower() for name, _ in own}
            message = {**message, "headers": [*own, *(pair for pair in _ENCODED if pair[0] not in names)]}
        await send(message)

    return sending


_ENCODED = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]


async def _refuse(refusal: Refusal, headers: dict[str, str], send: Send) -> None:
    """Answer with a sentence: as JSON to our script, else as a small page."""
    if "application/json" in headers.get("accept", ""):
        kind, content = "application/json", json.dumps({"error": refusal.sentence})
    else:
        kind = "text/html; charset=utf-8"
        content = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>shelfwise</title>'
            f'<link rel="stylesheet" href="/static/review.css"><main><p>{escape(refusal.sentence)}</p></main></html>'
        )
    body = content.encode()
    own = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    if refusal.location:
        own.append((b"location", refusal.location.encode()))
    if refusal.status in (_TOO_LARGE.status, _TOO_SLOW.status):
        own.append((b"connection", b"close"))
    sending = _with_headers(send)
    await sending({"type": "http.response.start", "status": refusal.status, "headers": own})
    await sending({"type": "http.response.body", "body": body})

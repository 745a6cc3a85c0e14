"""The routes by which a person comes in and leaves: the printed address, the login form, and the files of the pages."""

from __future__ import annotations

import logging
from datetime import timedelta
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from jobs.errors import UsageError
from jobs.review import rendering
from jobs.review.access import Access
from jobs.review.people import People
from jobs.review.queue_pages import Person, Text, Wired
from jobs.review.services import Refused, Services
from jobs.review.sessions import LONGEST_WAIT, SHORT_WAIT

log = logging.getLogger(__name__)

routes = APIRouter()

_STATIC = {"review.js": "text/javascript", "review.css": "text/css", "icon.svg": "image/svg+xml"}
_ONCE = "Open the address that the command printed in its terminal; it works once, within an hour."
_DOES_NOT_WORK = (
    "An address that the command prints works once, within an hour. Its terminal shows one that works; if it does not, "
    "load this page again in a minute."
)
_BY_PROXY = "The proxy in front of these pages did not say who you are; ask those who run it."
_WRONG = "Name or password is wrong."


@routes.get("/open")
def enter(request: Request, services: Wired, token: Text = "") -> Response:
    """Turn the token of the printed address into a session."""
    access, guards = services.access, services.guards
    if not guards.token.use(token):
        services.announce()
        return rendering.page(
            request,
            "login.html",
            status=401,
            entered=False,
            by_password=False,
            sentence=_ONCE,
            fault=_DOES_NOT_WORK,
        )
    # A page, not a redirect: where a mail or a chat led here, browsers send no SameSite=Strict cookie after a redirect.
    response = rendering.page(request, "login.html", entered=True)
    response.headers["set-cookie"] = access.cookie_header(guards.sessions.start(access.by))
    return response


@routes.get("/login")
def ask(request: Request, services: Wired) -> Response:
    """Ask for name and password; for one person, print a new address in the terminal."""
    if services.access.by:
        services.announce()
    by_password, sentence = services.access.people is not None, _BY_PROXY if services.access.named_by_proxy else _ONCE
    return rendering.page(request, "login.html", entered=False, by_password=by_password, sentence=sentence, fault="")


@routes.post("/login")
def log_in(
    request: Request,
    services: Wired,
    name: Annotated[str, Form(max_length=1000)] = "",
    password: Annotated[str, Form(max_length=10_000)] = "",
) -> Response:
    """Check name and password, and start a session."""
    people, guards = services.access.people, services.guards
    if people is None:
        raise Refused(404, _ONCE)
    keys = _counted_for(services.access, request.state.client, name.strip())
    wait = max(guards.logins.try_again_seconds(key, longest=longest) for key, longest in keys.items())
    fingerprint = "" if wait else _accepted(services, people, name.strip(), password)
    if not fingerprint:
        fault = f"Too many failed logins: try again in {wait} seconds." if wait else _WRONG
        for key in keys if not wait else ():
            guards.logins.count(key, failed=True)
        return rendering.page(
            request, "login.html", status=429 if wait else 401, entered=False, by_password=True, fault=fault
        )
    for key in keys:
        guards.logins.count(key, failed=False)
    response = RedirectResponse("/queue", 303)
    response.headers["set-cookie"] = services.access.cookie_header(
        guards.sessions.start(name.strip(), fingerprint=fingerprint)
    )
    return response


@routes.post("/logout")
def leave(request: Request, services: Wired, person: Person) -> Response:
    """End the session."""
    services.guards.sessions.end(request.state.token)
    response = RedirectResponse("/login", 303)
    response.headers["set-cookie"] = services.access.cookie_header("")
    return response


@routes.get("/static/{name}")
def static(name: str) -> Response:
    """Answer with the script, the style or the icon of the pages."""
    if name not in _STATIC:
        raise Refused(404, "There is no such file.")
    content = files("jobs.review").joinpath("static", name).read_bytes()
    return Response(content, media_type=_STATIC[name], headers={"Cache-Control": "no-cache"})


def _counted_for(access: Access, client: str, name: str) -> dict[str, timedelta]:
    """Return for what failed logins are counted, and the longest wait of each.

    A wait that others can cause is short: in a person's name anybody fails, and behind a proxy that cannot be told from
    its clients all have one address.
    """
    is_shared = access.behind and access.proxy is None
    longest = SHORT_WAIT if is_shared else LONGEST_WAIT
    return {f"client {client}": longest, f"client {client} as {name}": longest, f"name {name}": SHORT_WAIT}


def _accepted(services: Services, people: People, name: str, password: str) -> str:
    """Return the fingerprint of a person whose password this is; empty if it is not."""
    if not services.guards.hashing.acquire(blocking=False):
        raise Refused(429, "Too many people log in at this moment; try again.")
    try:
        fingerprint = people.fingerprint(name)  # first: a session of a password that changes meanwhile must not stand
        return fingerprint if people.accepts(name, password) else ""
    except UsageError as error:
        log.warning("nobody can log in: %s", error)
        raise Refused(503, "The file of people cannot be used; the terminal of the server shows why.") from error
    finally:
        services.guards.hashing.release()

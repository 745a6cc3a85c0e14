"""The ASGI application of the review pages, made from one frozen configuration.

Its routes are synchronous and run in threads, because the database layer is. There is no page of API documentation.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import BoundedSemaphore

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from jobs.review import focus_pages, login_pages, product_pages, queue_pages, rendering
from jobs.review.access import Access, Guards
from jobs.review.door import Door
from jobs.review.gallery import Gallery, Pictures
from jobs.review.leases import Leases
from jobs.review.open_pages import Desks
from jobs.review.services import Refused, Services, Taxonomy
from jobs.review.sessions import LoginLimit, OneTimeToken, RequestLimit, Sessions
from sql.errors import DatabaseError, UnknownNameError
from sql.publishing.settling import CombineBy
from sql.review.product import product
from sql.review.records import Pictured
from sql.store import ProductDatabase

log = logging.getLogger(__name__)


_MOST_LOGINS = 4
"""Passwords that are compared at the same time; the other threads go on answering pages."""

_THREADS = 100
"""Requests that are answered at the same time; most of them wait for pictures."""


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    current_default_thread_limiter().total_tokens = _THREADS
    yield


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class ReviewConfig:
    """Configuration of the review pages.

    Attributes:
        database: Migrated product database.
        pictures: Reads pictures of the dataset.
        combine_by: Returns, for a release's manifest, the function that computes one answer from several images.
        access: Who may reach the pages.
        reports: Directory of the runs' reports.
        announce: Is called with the address that works once, where one person reviews; shows it to that person.
        clock: Returns the time now, with a time zone.
        chance: Chooses the planted products.
    """

    database: ProductDatabase
    pictures: Pictures
    combine_by: CombineBy
    access: Access
    reports: Path
    announce: Callable[[str], None] = field(default=lambda _: None)
    clock: Callable[[], datetime] = _now
    chance: random.Random = field(default_factory=random.SystemRandom)


def make_application(config: ReviewConfig) -> Door:
    """Make the ASGI application."""
    services = _services(config)
    application = FastAPI(title="shelfwise review", lifespan=_lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    application.state.services = services
    for module in (login_pages, queue_pages, focus_pages, product_pages):
        application.include_router(module.routes)
    for kind, handler in _HANDLERS.items():
        application.add_exception_handler(kind, handler)
    if config.access.by:
        services.announce()
    return Door(application, services=services)


def _services(config: ReviewConfig) -> Services:
    database, clock = config.database, config.clock
    limits = RequestLimit(clock), LoginLimit(clock), BoundedSemaphore(_MOST_LOGINS)
    guards = Guards(Sessions(clock), OneTimeToken(clock), *limits)

    def pictures_of(product_id: str) -> list[Pictured]:
        try:
            known = product(database, product_id)
        except UnknownNameError:
            return []
        return [*known.pictures, *(answer.picture for answer in known.answers)]

    def announce() -> None:
        token = guards.token.make()
        if token is not None:
            config.announce(f"{config.access.address}/open?token={token}")

    return Services(
        database=database,
        taxonomy=Taxonomy(database, clock),
        combine_by=config.combine_by,
        gallery=Gallery(config.pictures, pictures_of=pictures_of),
        leases=Leases(clock),
        desks=Desks(clock),
        access=config.access,
        guards=guards,
        clock=clock,
        chance=config.chance,
        reports=config.reports,
        announce=announce,
    )


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101 - for the types
    return rendering.fault(request, error.status, str(error))


def _unknown(request: Request, error: Exception) -> Response:
    return rendering.fault(request, 404, str(error), heading="Not found")


def _database_failed(request: Request, error: Exception) -> Response:
    log.warning("the database failed under a page: %s", error)
    return rendering.fault(
        request, 503, f"{error} Nothing of this page was written; try again.", heading="The database failed"
    )


def _invalid(request: Request, error: Exception) -> Response:
    return rendering.fault(request, 422, "The request is not one that these pages send; load the page again.")


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - for the types
    if error.status_code == 400:
        return _invalid(request, error)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        sentence = f"This address is used with {allowed}, not with {request.method}; open the queue, and use the pages."
        response = rendering.fault(request, 405, sentence, heading="Not this way")
        response.headers.update(error.headers or {})
        return response
    return rendering.fault(request, error.status_code, "There is no such page.", heading="Not found")


def _failed(request: Request, error: Exception) -> Response:
    return rendering.fault(
        request, 500, "This is a fault of shelfwise; the terminal of the server shows more.", heading="A fault"
    )


_HANDLERS: dict[type[Exception], Callable[[Request, Exception], Response]] = {
    Refused: _refused,
    UnknownNameError: _unknown,
    DatabaseError: _database_failed,
    RequestValidationError: _invalid,
    HTTPException: _http,
    Exception: _failed,
}

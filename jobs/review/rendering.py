"""Render the review pages from the templates, with every value escaped, and answer with a sentence where one failed."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from jinja2 import Environment

from jobs.pages.html import environment_of
from jobs.review.services import Services
from sql.review.records import Pictured


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Render a page for the person who is logged in.

    Args:
        request: The request.
        template: Name of a file in `templates/`.
        status: HTTP status.
        values: Variables of the template; strings are escaped.
    """
    services: Services = request.app.state.services
    person: str = request.state.person
    desk = services.desk(person) if person else None
    shared = {
        "person": person,
        "can_leave": not services.access.named_by_proxy,
        "active": "",
        "notes": desk.notes() if desk else [],
        "focus_count": len(desk.focus) if desk else 0,
        "queue_address": desk.queue_address if desk else "/queue",
    }
    return HTMLResponse(_environment().get_template(template).render({**shared, **values}), status)


def fault(request: Request, status: int, sentence: str, *, heading: str = "That did not work") -> Response:
    """Answer with a sentence: as JSON to our script, else as a page."""
    if "application/json" in request.headers.get("accept", ""):
        return JSONResponse({"error": sentence}, status)
    return page(request, "fault.html", status=status, heading=heading, sentence=sentence)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = environment_of("jobs.review")
    environment.filters |= {
        "share": lambda confidence: f"{confidence:.2f}" if confidence < 0.995 else f"{min(confidence, 0.9999):.4f}",
        "arrows": lambda path: path.replace(" > ", " › "),  # noqa: RUF001 - a typographic arrow
        "thumbnail_address": lambda picture: f"/thumbnail?{urlencode(_named(picture))}",
        "large_address": lambda picture: f"/picture?{urlencode(_named(picture))}",
        "product_address": lambda product_id: f"/product?{urlencode({'id': product_id})}",
        "focus_address": lambda product_id: f"/focus?{urlencode({'product': product_id})}",
        "queue_address_of": lambda category_id: f"/queue?{urlencode({'in': category_id or ''})}",
        "report_address": lambda run_id: f"/report?{urlencode({'run': run_id})}",
    }
    return environment


def _named(picture: Pictured) -> dict[str, str | int]:
    return {"product": picture.product_id, "image": picture.image_no, "sha256": picture.image_sha256}

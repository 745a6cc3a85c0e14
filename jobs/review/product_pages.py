"""The routes of one product, its search and the clearing of its decision, and of Progress and the runs' reports."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from jobs.errors import UsageError, check_name
from jobs.review import rendering
from jobs.review.deciding import clear_decision
from jobs.review.queue_pages import Person, Text, Wired
from jobs.review.services import Refused, checked_text
from sql.errors import UnknownNameError
from sql.records import REVIEW_REASONS
from sql.review import product as products
from sql.review import progress as progress_of

routes = APIRouter()

_MOST_FOUND = 50
_MOST_ROWS = 40
_DAYS = 30

_REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; sandbox"
)
"""Of a report, which has its style and pictures in itself; it may run no script and send nothing."""


@routes.get("/product")
def show_product(request: Request, services: Wired, person: Person, id: Text = "", q: Text = "") -> Response:
    """Show a product, or search for one."""
    text = checked_text(q, what="search").strip()
    if id:
        try:
            shown = products.product(services.database, checked_text(id, what="product"))
        except UnknownNameError as error:
            return rendering.fault(request, 404, str(error), heading="No such product")
        services.gallery.show([*shown.pictures, *(answer.picture for answer in shown.answers)])
        return rendering.page(
            request, "product.html", active="product", text=text, found=None, product=shown, reasons=REVIEW_REASONS
        )
    found = products.find_products(services.database, text, limit=_MOST_FOUND) if text else None
    if found is not None and len(found) == 1:
        return RedirectResponse(f"/product?{urlencode({'id': found[0].product_id})}", 303)
    return rendering.page(
        request, "product.html", active="product", text=text, found=found, product=None, most=_MOST_FOUND
    )


@routes.post("/product/clear")
def clear(
    services: Wired,
    person: Person,
    product_id: Annotated[str, Form(max_length=1000)],
    seen: Annotated[str, Form(max_length=100)],
    latest: Annotated[int, Form(ge=0, lt=2**63)],
    why: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Clear a person's decision on a product."""
    clear_decision(services, person, product_id, seen=seen, latest=latest, why=why)
    services.desk(person).note("The decision was cleared: the answer is again what the last run predicted.")
    return RedirectResponse(f"/product?{urlencode({'id': product_id})}", 303)


@routes.get("/progress")
def show_progress(request: Request, services: Wired, person: Person) -> Response:
    """Show how the review goes."""
    found = progress_of.progress(services.database, since=services.clock() - timedelta(days=_DAYS))
    suggested = sum(each.decisions for each in found.agreement)
    return rendering.page(
        request,
        "progress.html",
        active="progress",
        progress=found,
        total=sum(each.count for each in found.waiting),
        widest=max((each.count for each in found.waiting), default=1),
        decided=sum(each.count for each in found.pace),
        agreed=sum(each.accepted for each in found.agreement) / suggested if suggested else None,
        days=_DAYS,
        most=_MOST_ROWS,
        reports={run.run_id for run in found.runs if (services.reports / f"{run.run_id}.html").is_file()},
    )


@routes.get("/report")
def show_report(services: Wired, person: Person, run: Text) -> Response:
    """Show the report of a run that `shelfwise report` wrote into the home."""
    try:
        check_name("run id", run)
        content = (services.reports / f"{run}.html").read_text(encoding="utf-8")
    except (UsageError, OSError) as error:
        raise Refused(404, "There is no report of that run in the home; make one with `shelfwise report`.") from error
    return HTMLResponse(content, headers={"Content-Security-Policy": _REPORT_POLICY})

"""The routes of the queue: a page of one suggested category, sending it, and taking the last page back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, Field

from jobs.review import rendering
from jobs.review.deciding import Marks, send_page, take_back_last
from jobs.review.open_pages import OpenPage
from jobs.review.queue_work import SIZES, View, is_settled, open_page
from jobs.review.services import Refused, Services, checked_text, person_of, services_of
from sql.records import REVIEW_REASONS
from sql.review import queue
from sql.review.records import ORDERS, REVIEWED_STATUSES, Filter, Leaf, Pictured, Waiting

routes = APIRouter()

_ORDER_LABELS = dict(zip(ORDERS, ("surest first", "least sure first", "most useful first"), strict=True))
_MOST_CATEGORIES = 60
_EXAMPLES = 6
_KEYS = 9

Wired = Annotated[Services, Depends(services_of)]
Person = Annotated[str, Depends(person_of)]
Text = Annotated[str, Query(max_length=1000)]


class SentPage(BaseModel):
    """A page as the script sends it, with positions instead of products."""

    page_id: str = Field(max_length=100)
    wrong: list[int] = Field(max_length=200)
    leaves: dict[int, Annotated[str, Field(max_length=1000)]] = Field(max_length=200)


def view_of(request: Request) -> View:
    """Return which page of the queue a request's query names; what it does not know is refused.

    Raises:
        Refused: If a value is not one that the filter offers.
    """
    named = {name: checked_text(value[:1000], what="filter").strip() for name, value in request.query_params.items()}
    which = Filter(
        status=named.get("status") or "review",
        review_reason=named.get("reason", ""),
        category_id=named.get("below", ""),
        run_id=named.get("run", ""),
        title=named.get("title", ""),
    )
    order, size = named.get("order") or ORDERS[0], named.get("size") or "48"
    for value, allowed, what in (
        (which.status, REVIEWED_STATUSES, "status"),
        (which.review_reason, ("", *REVIEW_REASONS), "reason"),
        (order, ORDERS, "order"),
        (size, tuple(map(str, SIZES)), "number of products"),
    ):
        if value not in allowed:
            raise Refused(
                422, f"There is no {what} {value[:100]!r}: expected one of {', '.join(filter(None, allowed))}."
            )
    return View(which, named.get("in") or None, "in" not in named, order, int(size))


@routes.get("/")
def start() -> Response:
    """Go to the queue."""
    return RedirectResponse("/queue", 303)


@routes.get("/queue")
def show_queue(request: Request, services: Wired, person: Person) -> Response:
    """Show a page of the queue."""
    asked = view_of(request)
    waiting = queue.waiting(services.database, asked.which)
    view, page = open_page(services, person, asked, waiting)
    services.desk(person).queue_address = view.address
    if page and not asked.any_category and view.category_id != asked.category_id:
        return RedirectResponse(view.address, 303)  # nothing waits in that category any more
    return _shown(request, services, view, page, waiting)


@routes.get("/queue/again")
def show_again(request: Request, services: Wired, person: Person, page: Text) -> Response:
    """Show the products for which somebody was faster."""
    known = services.desk(person).page(page)
    if known is None or known.outcome is not None:
        return RedirectResponse(services.desk(person).queue_address, 303)
    return _shown(request, services, View(Filter()), known, queue.waiting(services.database, Filter()))


@routes.post("/queue/skipped")
def show_skipped(services: Wired, person: Person) -> Response:
    """Show again what the person skipped."""
    desk = services.desk(person)
    desk.show_skipped()
    return RedirectResponse(desk.queue_address, 303)


@routes.post("/page")
def decide(sent: SentPage, services: Wired, person: Person) -> dict[str, Any]:
    """Write a page."""
    outcome = send_page(services, person, sent.page_id, Marks(frozenset(sent.wrong), sent.leaves))
    return {"decided": outcome.decided, "marked": outcome.marked, "next": outcome.next}


@routes.post("/back")
def take_back(services: Wired, person: Person) -> dict[str, Any]:
    """Take the last page back."""
    return {"next": take_back_last(services, person)}


@routes.get("/categories")
def find_categories(services: Wired, person: Person, q: Text) -> list[tuple[str, str]]:
    """Search the taxonomy by any part of a path."""
    found = services.taxonomy.now().search(checked_text(q, what="search"), 20)
    return [(leaf.category_id, leaf.category_path) for leaf in found]


def _shown(request: Request, services: Services, view: View, page: OpenPage | None, waiting: list[Waiting]) -> Response:
    category_id = page.category_id if page else None
    leaves = services.taxonomy.now().leaves_below(category_id) if category_id else []
    examples = _examples(services, category_id, leaves) if category_id else []
    # What is searched long for an example does not hold the products up.
    services.gallery.show(picture for _, picture in examples)
    services.gallery.show(item.picture for item in (page.items if page else ()))
    path = next((item.category_path for item in page.items), "") if page else ""
    plain = Filter()
    return rendering.page(
        request,
        "queue.html",
        active="queue",
        view=view,
        page=page,
        title=path.rsplit(" > ", 1)[-1] or "Queue",
        path=path,
        examples=examples,
        leaves=leaves,
        waiting=waiting[:_MOST_CATEGORIES],
        hidden_categories=max(0, len(waiting) - _MOST_CATEGORIES),
        total=sum(each.count for each in waiting),
        is_filtered=view.which != plain or view.order != ORDERS[0] or view.size != View(plain).size,
        statuses=REVIEWED_STATUSES,
        reasons=REVIEW_REASONS,
        orders=_ORDER_LABELS,
        sizes=SIZES,
        is_settled=is_settled,
        skipped=len(services.desk(request.state.person).skipped),
    )


def _examples(services: Services, category_id: str, leaves: Sequence[Leaf]) -> list[tuple[str, Pictured]]:
    """Return the path of a category and an accepted picture of it: of a group, one of each category that has a key."""
    if not leaves:
        path = services.taxonomy.now().path(category_id)
        return [(path, picture) for picture in queue.examples(services.database, category_id, count=_EXAMPLES)]
    paths = {leaf.category_id: leaf.category_path for leaf in leaves[:_KEYS]}
    return [(paths[each], picture) for each, [picture] in queue.examples_of_each(services.database, paths).items()]

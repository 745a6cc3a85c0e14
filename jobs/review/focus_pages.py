"""The routes of Focus, where one product is decided, and of its pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from jobs.review import rendering
from jobs.review.deciding import send_one
from jobs.review.open_pages import OpenPage, new_page_id
from jobs.review.queue_pages import Person, Text, Wired
from jobs.review.services import Services, checked_text
from sql.errors import UnknownNameError
from sql.records import REVIEW_REASONS
from sql.review import product as products
from sql.review.records import Leaf, Product

routes = APIRouter()

_CHOICES = 9
"""Number of categories that have a key."""

Sha256 = Annotated[str, Query(pattern=r"^[0-9a-f]{64}$")]
ImageNo = Annotated[int, Query(ge=0, le=2**31 - 1)]


class SentDecision(BaseModel):
    """A decision on one product as the script sends it."""

    page_id: str = Field(max_length=100)
    action: Literal["set", "none", "skip"]
    category_id: str | None = Field(default=None, max_length=1000)
    why: str = Field(default="", max_length=2000)


@routes.get("/focus")
def show_focus(request: Request, services: Wired, person: Person, product: Text = "") -> Response:
    """Show the next marked product, or the one that is named."""
    desk = services.desk(person)
    names = [checked_text(product, what="product")] if product else desk.focus
    for product_id in names:
        try:
            shown = products.product(services.database, product_id)
        except UnknownNameError as error:
            if product:
                return rendering.fault(request, 404, str(error), heading="No such product")
            desk.out_of_focus([product_id])
            continue
        return _shown(request, services, person, shown, alone=bool(product))
    return rendering.page(request, "focus.html", active="focus", product=None)


@routes.post("/focus")
def decide(sent: SentDecision, services: Wired, person: Person) -> dict[str, Any]:
    """Write the decision on a product."""
    outcome = send_one(services, person, sent.page_id, action=sent.action, category_id=sent.category_id, why=sent.why)
    return {"decided": outcome.decided, "next": outcome.next}


@routes.get("/thumbnail")
def thumbnail(services: Wired, person: Person, product: Text, image: ImageNo, sha256: Sha256) -> Response:
    """Answer with a small picture."""
    return _jpeg(services.gallery.thumbnail((checked_text(product, what="product"), image, sha256)))


@routes.get("/picture")
def picture(services: Wired, person: Person, product: Text, image: ImageNo, sha256: Sha256) -> Response:
    """Answer with a picture as ingest stored it."""
    return _jpeg(services.gallery.large((checked_text(product, what="product"), image, sha256)))


def _jpeg(content: bytes | None) -> Response:
    if not content:
        return Response("There is no picture at hand.", 404, media_type="text/plain")
    return Response(content, media_type="image/jpeg")


def _shown(request: Request, services: Services, person: str, shown: Product, *, alone: bool) -> Response:
    desk, item = services.desk(person), shown.item
    services.gallery.show(shown.pictures)
    if not services.leases.take(person, [item.product_id]):
        desk.note("Another person has this product on a page at this moment.")
    address = f"/focus?{urlencode({'product': item.product_id})}" if alone else "/focus"
    after = f"/product?{urlencode({'id': item.product_id})}" if alone else ""
    page = desk.keep(
        OpenPage(new_page_id(), services.clock(), [item], address, category_id=item.category_id, after=after)
    )
    return rendering.page(
        request,
        "focus.html",
        active="focus",
        product=replace(shown, pictures=shown.pictures[:60]),
        page=page,
        left=0 if alone else len(desk.focus),
        choices=_choices(services, shown),
        reasons=REVIEW_REASONS,
    )


def _choices(services: Services, shown: Product) -> list[tuple[Leaf, float | None]]:
    """Return the categories that get a key: the likely ones, then those below or beside the suggestion."""
    taxonomy = services.taxonomy.now()
    likely: list[tuple[Leaf, float | None]] = [*shown.likely[:_CHOICES]]
    named = {leaf.category_id for leaf, _ in likely}
    around = shown.item.category_id or ""
    while around and len(likely) < _CHOICES:
        more = [leaf for leaf in taxonomy.leaves_below(around) if leaf.category_id not in named]
        likely += [(leaf, None) for leaf in more[: _CHOICES - len(likely)]]
        named |= {leaf.category_id for leaf in more}
        around = around.rpartition(".")[0]
    return likely

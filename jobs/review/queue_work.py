"""Open a page of the queue for a person: products of one suggested category, leased, with planted ones among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from jobs.review.leases import LEASE
from jobs.review.open_pages import Desk, OpenPage, new_page_id
from jobs.review.services import Services
from sql.review import planted as planting
from sql.review import queue
from sql.review.records import Filter, Planted, QueueItem, Waiting

SIZES = (24, 36, 48, 60)
"""Numbers of products that a page can have."""

PLANTED_SHARE = 1 / 50
"""Share of the products on pages whose answer is known."""

_TRIES = 3


@dataclass(frozen=True)
class View:
    """Which page of the queue is looked at, as its address names it.

    Attributes:
        which: The filter.
        category_id: Suggested category of the page; None for products without a suggestion.
        any_category: Whether the address names no category, so that the first one that waits is taken.
        order: One of `sql.review.records.ORDERS`.
        size: One of `SIZES`.
    """

    which: Filter
    category_id: str | None = None
    any_category: bool = True
    order: str = "surest"
    size: int = 48

    @property
    def address(self) -> str:
        """The address that opens this view."""
        return self.within(self.category_id) if not self.any_category else f"/queue?{urlencode(self._filter())}"

    def within(self, category_id: str | None) -> str:
        """Return the address of the same view of another suggested category."""
        return f"/queue?{urlencode({**self._filter(), 'in': category_id or ''})}"

    def _filter(self) -> dict[str, str]:
        which = self.which
        named = {
            "status": which.status,
            "reason": which.review_reason,
            "below": which.category_id,
            "run": which.run_id,
            "title": which.title,
            "order": self.order,
            "size": str(self.size),
        }
        return {name: value for name, value in named.items() if value}


def open_page(services: Services, person: str, view: View, waiting: Sequence[Waiting]) -> tuple[View, OpenPage | None]:
    """Open the page of a view, or the same one again if it was not sent yet.

    Args:
        services: What the routes work with.
        person: Who looks at it.
        view: Which page. Where nothing waits in its category any more, the next category that waits is opened.
        waiting: What waits in each category.

    Returns:
        The view with the category that was opened, and the page; None if nothing waits for this person.
    """
    # Of a category in which nothing is free, every product is with another person, skipped or marked. So no more
    # categories are looked at in vain than there are such products.
    others = [each.category_id for each in waiting if each.count]
    categories = (
        others if view.any_category else [view.category_id, *(one for one in others if one != view.category_id)]
    )
    for category_id in categories:
        chosen = replace(view, category_id=category_id, any_category=False)
        page = _page_of(services, person, chosen)
        if page is not None:
            return chosen, page
    return view, None


def _page_of(services: Services, person: str, view: View) -> OpenPage | None:
    desk = services.desk(person)
    unsent = desk.unsent(view.address)
    if unsent is not None:
        names = [item.product_id for item in unsent.items]
        if services.clock() - unsent.opened_at < LEASE and len(services.leases.take(person, names)) == len(names):
            return unsent
        desk.put_aside(unsent)
    items = _leased(services, person, view)
    if not items:
        return None
    items, planted = _plant(services, person, view, items)
    again, leaves = desk.marks_again()
    page = OpenPage(
        page_id=new_page_id(),
        opened_at=services.clock(),
        items=items,
        address=view.address,
        planted=planted,
        category_id=view.category_id,
        needs_leaf=view.category_id is not None and bool(services.taxonomy.now().leaves_below(view.category_id)),
        chosen={place: leaves[one.product_id] for place, one in enumerate(items) if one.product_id in leaves},
        marked=[place for place, item in enumerate(items) if view.category_id is None or item.product_id in again],
    )
    return desk.keep(page)


def _leased(services: Services, person: str, view: View) -> list[QueueItem]:
    """Read products that nobody else looks at, and lease them; somebody may be faster between the two."""
    desk = services.desk(person)
    for _ in range(_TRIES):
        without = services.leases.of_others(person) | desk.skipped | set(desk.focus)
        items = queue.page(
            services.database, view.which, view.category_id, order=view.order, size=view.size, without=without
        )
        granted = services.leases.take(person, [item.product_id for item in items])
        if granted or not items:
            return [item for item in items if item.product_id in granted]
    return []


def _plant(
    services: Services, person: str, view: View, items: list[QueueItem]
) -> tuple[list[QueueItem], dict[int, Planted]]:
    """Put products whose answer is known among those of a page; a full page stays as long as it is.

    None is planted where nothing is suggested, which nobody could accept without a look; where words of titles are
    searched, which a planted one does not have; and none without a picture, which would give it away.
    """
    if view.category_id is None or view.which.title.split():
        return items, {}
    # Of the planted and the others together PLANTED_SHARE are planted.
    count = sum(services.chance.random() < PLANTED_SHARE for _ in items)
    if not count:
        return items, {}
    names = {item.product_id for item in items}
    known = planting.planted(
        services.database, view.category_id, count=count, rng=services.chance, without=names, viewer=person
    )
    at_hand = services.gallery.at_hand(each.item.picture for each in known)
    known = [each for each in known if each.item.picture in at_hand]
    shown = list(items[: max(view.size - len(known), 1)])
    planted: dict[int, Planted] = {}
    for each in known:
        place = services.chance.randrange(len(shown) + 1)
        planted = {other + (other >= place): one for other, one in planted.items()}
        planted[place] = replace(each, item=_like(each.item, shown[max(place - 1, 0)]))
        shown.insert(place, planted[place].item)
    return shown, planted


def _like(item: QueueItem, neighbour: QueueItem) -> QueueItem:
    """Show a planted product as sure, and for the same reason, as its neighbour, so that neither gives it away."""
    return replace(
        item, confidence=neighbour.confidence, status=neighbour.status, review_reason=neighbour.review_reason
    )


def again_page(desk: Desk, page: OpenPage, items: Sequence[QueueItem], services: Services) -> OpenPage:
    """Make a page of the products for which another person or a run was faster, as they are now."""
    news = {
        place: (
            f"A person decided meanwhile: {item.category_path or 'none of the categories'}."
            if is_settled(item)
            else "It got a new answer meanwhile."
        )
        for place, item in enumerate(items)
    }
    page_id = new_page_id()
    taxonomy = services.taxonomy.now()
    return desk.keep(
        OpenPage(
            page_id,
            services.clock(),
            items,
            f"/queue/again?page={page_id}",
            news=news,
            after=page.address,
            # These cannot be accepted as they are: they are decided one by one.
            marked=[
                place
                for place, item in enumerate(items)
                if not is_settled(item) and (item.category_id is None or taxonomy.leaves_below(item.category_id))
            ],
        )
    )


def is_settled(item: QueueItem) -> bool:
    """Return whether a person's decision stands, so that accepting a page does not repeat it."""
    return item.status == "manual" and not item.review_reason

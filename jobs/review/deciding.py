"""Write what a person decided on a page, one transaction a page, and take the last page back.

A page that is sent twice is written once: the second time it gets the same outcome. When the database cannot be
reached, nothing is written, and the page can be sent again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from jobs.review.open_pages import Desk, OpenPage, Outcome, new_page_id
from jobs.review.queue_work import again_page, is_settled
from jobs.review.services import Refused, Services, checked_text
from sql.errors import UnknownNameError
from sql.review import product as products
from sql.review import writing
from sql.review.categories import Categories
from sql.review.records import Choice, PlantedAnswer, QueueItem, Written
from sql.review.writing import take_back, write_page

NODE_ONLY = ""
"""Stands for the inner node itself, where a leaf below it could be chosen."""

_NOT_AGAIN = "This page was taken back, so it cannot be sent again; its products are in the queue again."


@dataclass(frozen=True)
class Marks:
    """What a person did with the products of a page, by position.

    Attributes:
        wrong: Positions that are marked, to be decided one by one.
        leaves: Category chosen for products whose suggestion is an inner node; `NODE_ONLY` accepts only the node.
    """

    wrong: Set[int]
    leaves: Mapping[int, str]


def send_page(services: Services, person: str, page_id: str, marks: Marks) -> Outcome:
    """Write a page of the queue: accept what is not marked, and put what is marked aside to be decided one by one.

    Raises:
        Refused: If the page is not known or was taken back, or names positions or categories that do not exist.
        DatabaseError: If the database failed; nothing was written, and the page can be sent again.
    """
    desk = services.desk(person)
    page = _known(desk, page_id)
    with page.lock:
        if page.outcome is not None:
            return _outcome_again(desk, page, page.outcome, marks)
        _check(services, page, marks)
        choices, left = _choices(services.taxonomy.now(), page, marks)
        wrong = [page.items[place].product_id for place in sorted(marks.wrong) if place not in page.planted]
        written = _write(services, person, page, choices, came_by="page", planted=_planted(page, marks))
        desk.to_focus(wrong)
        desk.skip(left)
        services.leases.take(person, wrong)
        services.leases.release(person, [*written.decided, *left])
        page.sent_as = marks
        page.sent_marks = [page.items[place].product_id for place in marks.wrong]
        page.sent_leaves = {page.items[place].product_id: leaf for place, leaf in marks.leaves.items()}
        _tell(desk, written, left)
        page.outcome = Outcome(
            len(written.decided), len(wrong), _next(services, desk, page, written, only_marked=not written.decided)
        )
        desk.sent(page)
        return page.outcome


def send_one(
    services: Services, person: str, page_id: str, *, action: str, category_id: str | None = None, why: str = ""
) -> Outcome:
    """Write the decision on a product that was looked at alone.

    Args:
        services: What the routes work with.
        person: Who decides.
        page_id: The page of the product.
        action: `set`, `none` (none of the categories) or `skip` (nothing is written).
        category_id: The category with `set`; the suggested one is recorded as accepted.
        why: Reason, in the person's words; may be empty.

    Raises:
        Refused: If the page is not known or was taken back, or the category does not exist.
        DatabaseError: If the database failed; nothing was written, and the page can be sent again.
    """
    desk = services.desk(person)
    page = _known(desk, page_id)
    sent = (action, category_id, why.strip())
    with page.lock:
        if page.outcome is not None:
            return _outcome_again(desk, page, page.outcome, sent)
        [item] = page.items
        if action == "skip":
            desk.skip([item.product_id])
            desk.out_of_focus([item.product_id])
            services.leases.release(person, [item.product_id])
            return Outcome(0, 0, _after_focus(desk))
        choice = _choice_of(services, item, action, category_id, why)
        written = _write(services, person, page, [choice], came_by="focus", planted=())
        page.sent_as = sent
        if written.overtaken:
            desk.to_focus([item.product_id])
            desk.note("Another person or a run was faster with this product: it is shown as it is now.")
            page.outcome = Outcome(0, 0, page.address)
            return page.outcome
        desk.out_of_focus([item.product_id])
        services.leases.release(person, [item.product_id])
        _tell(desk, written, ())
        page.sent_marks = [item.product_id]
        page.outcome = Outcome(len(written.decided), 0, page.after or _after_focus(desk))
        desk.sent(page)
        return page.outcome


def take_back_last(services: Services, person: str) -> str:
    """Take the last page of a person back, and return the address where it is decided again.

    Raises:
        Refused: If there is nothing to take back.
        DatabaseError: If the database failed; nothing was taken back.
    """
    desk = services.desk(person)
    page = desk.last_sent()
    if page is None:
        raise Refused(409, "There is nothing to take back: no page was sent since the server started.")
    with page.lock:
        if page.taken_back:
            return page.address
        written = take_back(
            services.database, page.page_id, decided_by=person, combine_by=services.combine_by, at_utc=services.clock()
        )
        page.taken_back = True
        names = [item.product_id for item in page.items]
        is_focus = page.address.startswith("/focus")
        desk.show_again(names, marked=() if is_focus else page.sent_marks, leaves=page.sent_leaves)
        if is_focus and "?" not in page.address:
            desk.to_focus(names, first=True)
    following = desk.unsent(page.address)
    if following is not None:
        desk.put_aside(following)  # or it would be opened instead
    desk.note(f"Taken back: {_counted(len(written.decided))}.{_what_stays(written)}")
    return page.address if not page.address.startswith("/queue/again") else page.after


def clear_decision(services: Services, person: str, product_id: str, *, seen: str, latest: int, why: str) -> None:
    """Clear a person's decision on a product: its answer is again the newest that a run predicted.

    Args:
        services: What the routes work with.
        person: Who clears it.
        product_id: The product.
        seen: Version of the product that the person saw.
        latest: override_id of the latest decision that the person saw.
        why: Reason, in the person's words; may be empty.

    Raises:
        Refused: If no person's decision stands, or another one than the person saw.
    """
    try:
        cleared = writing.clear_decision(
            services.database,
            checked_text(product_id, what="product"),
            seen=seen,
            latest=latest,
            decided_by=person,
            combine_by=services.combine_by,
            why=checked_text(why.strip(), what="reason") or None,
            at_utc=services.clock(),
            page_id=new_page_id(),
        )
    except UnknownNameError as error:
        raise Refused(409, "No person's decision stands on this product, so nothing was cleared.") from error
    if not cleared:
        raise Refused(409, f"{_what_stands(services, product_id, latest)} Nothing was cleared; look at it again.")


def _what_stands(services: Services, product_id: str, latest: int) -> str:
    """Return a sentence about what changed since a person saw a product."""
    shown = products.product(services.database, product_id)
    last = shown.decisions[0] if shown.decisions else None
    if last is None or last.override_id == latest or last.action == "clear":
        return "This product changed after you opened its page."
    category = last.category_path or last.category_id or "none of the categories"
    return f"After you opened this page {last.decided_by} decided: {category}."


def _outcome_again(desk: Desk, page: OpenPage, outcome: Outcome, sent: object) -> Outcome:
    """Answer a page that was sent before; another content of it, such as another tab's marks, is not written."""
    if sent != page.sent_as:
        desk.note("This page was sent before, so what you chose on it now was not written; only the first time counts.")
    return outcome


def _what_stays(written: Written) -> str:
    """Return a sentence on the decisions that were not taken back, with a space before it; empty without one."""
    if not written.overtaken:
        return ""
    named = _named([item.product_id for item in written.overtaken])
    count = _counted(len(written.overtaken))
    return f" {count} not, because somebody decided on or cleared the product since: {named}."


def _counted(count: int) -> str:
    return f"{count} {'decision' if count == 1 else 'decisions'}"


def _named(product_ids: Sequence[str]) -> str:
    """Return the first three products in words, and how many more there are."""
    more = f" and {len(product_ids) - 3} more" if len(product_ids) > 3 else ""
    return ", ".join(repr(name[:60]) for name in product_ids[:3]) + more


def _known(desk: Desk, page_id: str) -> OpenPage:
    page = desk.page(page_id)
    if page is None:
        raise Refused(
            410,
            "The server does not know this page (any more): it was started again, or you have opened very many pages "
            "since. Nothing was decided; open the queue again.",
        )
    if page.taken_back:
        raise Refused(409, _NOT_AGAIN)
    return page


def _check(services: Services, page: OpenPage, marks: Marks) -> None:
    if any(not 0 <= place < len(page.items) for place in (*marks.wrong, *marks.leaves)):
        raise Refused(422, "The page names products that it does not have; load it again.")
    for category_id in set(marks.leaves.values()) - {NODE_ONLY}:
        _check_category(services, category_id)


def _check_category(services: Services, category_id: str) -> None:
    if category_id in services.taxonomy.now():
        return
    services.taxonomy.forget()  # a run may have added it during the last minute
    if category_id not in services.taxonomy.now():
        raise Refused(
            409,
            f"The taxonomy has no category {category_id[:200]!r} (any more): nothing was decided; choose another one.",
        )


def _choice_of(services: Services, item: QueueItem, action: str, category_id: str | None, why: str) -> Choice:
    reason = checked_text(why.strip(), what="reason")
    if action == "none":
        return Choice(item.product_id, item.seen, "none", why=reason)
    category_id = checked_text(category_id or "", what="category")
    _check_category(services, category_id)
    accepted = category_id == item.category_id and not is_settled(item)
    return Choice(item.product_id, item.seen, "accept" if accepted else "set", category_id, reason)


def _choices(categories: Categories, page: OpenPage, marks: Marks) -> tuple[list[Choice], list[str]]:
    """Return the decisions of a page, and the products that it leaves undecided."""
    choices, left = [], []
    for place, item in enumerate(page.items):
        if place in page.planted or place in marks.wrong or is_settled(item):
            continue
        leaf = marks.leaves.get(place)
        if item.category_id is None or (leaf is None and categories.leaves_below(item.category_id)):
            left.append(item.product_id)
        elif leaf in (None, NODE_ONLY, item.category_id):
            choices.append(Choice(item.product_id, item.seen, "accept", item.category_id))
        else:
            choices.append(Choice(item.product_id, item.seen, "set", leaf))
    return choices, left


def _planted(page: OpenPage, marks: Marks) -> list[PlantedAnswer]:
    """Return what a page answers on planted products; one of an inner node is answered when a leaf is chosen."""
    return [
        PlantedAnswer(
            planted.item.product_id,
            str(planted.item.category_id),
            planted.known_category_id,
            accepted=place not in marks.wrong,
        )
        for place, planted in page.planted.items()
        if place in marks.wrong or place in marks.leaves or not page.needs_leaf
    ]


def _write(
    services: Services,
    person: str,
    page: OpenPage,
    choices: Sequence[Choice],
    *,
    came_by: str,
    planted: Sequence[PlantedAnswer],
) -> Written:
    if not choices and not planted:
        return Written(())
    try:
        return write_page(
            services.database,
            choices,
            decided_by=person,
            came_by=came_by,
            page_id=page.page_id,
            planted=planted,
            at_utc=services.clock(),
        )
    except (UnknownNameError, ValueError) as error:
        services.taxonomy.forget()
        raise Refused(409, f"Nothing was decided: {error}") from error


def _tell(desk: Desk, written: Written, left: Sequence[str]) -> None:
    if written.gone:
        named = _named(written.gone)
        desk.note(f"No catalog names these products any more, so nothing was decided on them: {named}.")
    if left:
        desk.note(
            f"{len(left)} {'product was' if len(left) == 1 else 'products were'} left undecided and will be shown "
            "again in an hour, or when you ask for what you skipped."
        )


def _next(services: Services, desk: Desk, page: OpenPage, written: Written, *, only_marked: bool) -> str:
    if written.overtaken:
        return again_page(desk, page, written.overtaken, services).address
    if only_marked and desk.focus:
        return "/focus"
    return page.after or page.address


def _after_focus(desk: Desk) -> str:
    return "/focus" if desk.focus else desk.queue_address

"""Write what people decided on a page, in one transaction, on the answers that they saw and on no others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from sql.decided import Rows, record
from sql.engine import writing
from sql.overrides import clear
from sql.publishing.settling import CombineBy
from sql.review.items import answers_of, contents_of, item_of, items_of, known_products, seen_of
from sql.review.records import Choice, PlantedAnswer, Written
from sql.review.refusals import refuse_invalid, refuse_unknown_categories
from sql.review.taking_back import taken_back
from sql.schema.decisions import overrides, planted_answers
from sql.store import ProductDatabase

_WAYS = ("page", "focus")

# The first row of a page on a product is its decision; later ones took it back.
_OF_PAGE = sa.text("""
SELECT product_id, min(decided_by) AS decided_by
FROM overrides
WHERE page_id = :page_id AND action <> 'clear'
GROUP BY product_id
""")

_LATEST = sa.text("SELECT coalesce(max(override_id), 0) FROM overrides WHERE product_id = :product_id")


@dataclass(frozen=True)
class _Page:
    """What a person sends: the choices of one page, by product_id, with who, how and when."""

    choices: Mapping[str, Choice]
    planted: Sequence[PlantedAnswer]
    decided_by: str
    came_by: str
    page_id: str
    moment: datetime


def write_page(
    database: ProductDatabase,
    choices: Sequence[Choice],
    *,
    decided_by: str,
    came_by: str,
    page_id: str,
    planted: Sequence[PlantedAnswer] = (),
    at_utc: datetime | None = None,
) -> Written:
    """Write the decisions of one page; a page that is sent again changes nothing and returns the same `decided`.

    A product is decided only if its answer is the one that the person saw. Answers on planted products go to the table
    `planted_answers` alone.

    Args:
        database: Migrated.
        choices: One a product.
        decided_by: Person who decided.
        came_by: `page` or `focus`.
        page_id: Name of the page, another one for each page.
        planted: What the person answered on the planted products of the page.
        at_utc: Time of the decisions, with a time zone; None is now.

    Raises:
        UnknownNameError: A category is not in the taxonomy; nothing was written.
        ValueError: A product is there twice, or a choice is not valid; nothing was written.
    """
    refuse_invalid(choices, planted, {"decided_by": decided_by, "page_id": page_id})
    if came_by not in _WAYS:
        raise ValueError(f"A page cannot write decisions that came by {came_by!r}: expected {' or '.join(_WAYS)}.")
    sent = _Page(
        {choice.product_id: choice for choice in choices}, planted, decided_by, came_by, page_id, at_utc or _now()
    )
    database.check()
    with writing(database.engine) as connection:
        earlier = _written_before(connection, sent)
        if earlier is None:
            return _write(connection, sent)
        return _again(connection, sent, earlier)


def take_back(
    database: ProductDatabase,
    page_id: str,
    *,
    decided_by: str,
    combine_by: CombineBy,
    at_utc: datetime | None = None,
) -> Written:
    """Take back what a person decided on a page, where that is still the latest decision on the product.

    A product that a person had decided on before has that decision again; all others have their run's answer. The
    answers on planted products of the page are deleted. Taking back twice changes nothing and returns the same.

    Args:
        database: Migrated.
        page_id: The page.
        decided_by: Person who decided on the page, and takes it back.
        combine_by: Returns, for a release's manifest, the function that computes one answer from several images.
        at_utc: Time of the change, with a time zone; None is now.

    Returns:
        In `decided` the products that were taken back, in `overtaken` those on which there is a later decision.
    """
    refuse_invalid((), (), {"decided_by": decided_by, "page_id": page_id})
    database.check()
    with writing(database.engine) as connection:
        own = planted_answers.c.page_id == page_id, planted_answers.c.answered_by == decided_by
        connection.execute(planted_answers.delete().where(*own))
        return taken_back(connection, page_id, decided_by, combine_by, at_utc or _now())


def clear_decision(
    database: ProductDatabase,
    product_id: str,
    *,
    seen: str,
    latest: int,
    decided_by: str,
    combine_by: CombineBy,
    page_id: str,
    why: str | None = None,
    at_utc: datetime | None = None,
) -> bool:
    """Clear the decision on a product that the person saw, and no other one.

    Args:
        database: Migrated.
        product_id: The product.
        seen: `QueueItem.seen` of the product that the person looked at.
        latest: override_id of the latest decision on it that the person saw.
        decided_by: Person who clears the decision.
        combine_by: Returns, for a release's manifest, the function that computes one answer from several images.
        page_id: Name of the page, another one for each page.
        why: Reason, in the person's words.
        at_utc: Time of the change, with a time zone; None is now.

    Returns:
        Whether it was cleared; False if another person or a run was faster: nothing was written.

    Raises:
        UnknownNameError: No person's decision stands on the product.
    """
    refuse_invalid((), (), {"decided_by": decided_by, "page_id": page_id})
    database.check()
    told = {"decided_by": decided_by, "why": why, "moment": at_utc or _now(), "came_by": "focus", "page_id": page_id}
    with writing(database.engine) as connection:
        answer = answers_of(connection, [product_id]).get(product_id)
        if answer is not None and answer.decided:
            contents = contents_of(connection, [product_id]).get(product_id, ())
            stands = connection.execute(_LATEST, {"product_id": product_id}).scalar_one()
            if (seen, latest) != (seen_of(answer, contents), stands):
                return False
        clear(connection, [product_id], combine_by, told)
        return True


def _now() -> datetime:
    return datetime.now(UTC)


def _write(connection: Connection, sent: _Page) -> Written:
    refuse_unknown_categories(connection, sent.choices.values(), sent.planted)
    answers = answers_of(connection, sent.choices)
    known = {*answers, *known_products(connection, [name for name in sent.choices if name not in answers])}
    contents = contents_of(connection, known)
    current = {
        name
        for name, choice in sent.choices.items()
        if name in known and choice.seen == seen_of(answers.get(name), contents.get(name, ()))
    }
    rows: Rows = [
        (
            name,
            _category(choice, answers.get(name)),
            choice.why or None,
            sent.decided_by,
            sent.moment,
            choice.action,
        )
        for name, choice in sent.choices.items()
        if name in current
    ]
    if rows:
        record(connection, rows, moment=sent.moment, came_by=sent.came_by, page_id=sent.page_id)
    if sent.planted:
        connection.execute(planted_answers.insert(), [_planted_row(sent, answer) for answer in sent.planted])
    return _written(connection, sent, current, answers)


def _written(connection: Connection, sent: _Page, decided: Collection[str], answers: Mapping[str, Row[Any]]) -> Written:
    others = [name for name in sent.choices if name not in decided]
    here = [name for name in others if name in answers and answers[name].left_at is None]
    return Written(
        decided=tuple(name for name in sent.choices if name in decided),
        overtaken=tuple(items_of(connection, here)),
        gone=tuple(name for name in others if name not in here),
    )


def _category(choice: Choice, answer: Row[Any] | None) -> str | None:
    if choice.action != "accept":
        return choice.category_id
    suggested = None if answer is None else item_of(answer, "", ()).category_id
    if suggested is None or choice.category_id not in (None, suggested):
        raise ValueError(
            f"Product {choice.product_id!r} cannot be accepted as {choice.category_id!r}, its suggestion is "
            f"{suggested!r}: expected the suggestion, or the action set; nothing was written."
        )
    return suggested


def _planted_row(sent: _Page, answer: PlantedAnswer) -> dict[str, Any]:
    return {
        "product_id": answer.product_id,
        "shown_category_id": answer.shown_category_id,
        "known_category_id": answer.known_category_id,
        "accepted": answer.accepted,
        "answered_by": sent.decided_by,
        "answered_at_utc": sent.moment,
        "page_id": sent.page_id,
    }


def _written_before(connection: Connection, sent: _Page) -> set[str] | None:
    """Return the products that this page has decided on; None if it has written nothing yet."""
    found = connection.execute(_OF_PAGE, {"page_id": sent.page_id}).all()
    answered = sa.select(planted_answers.c.answered_by).where(planted_answers.c.page_id == sent.page_id)
    people = set(connection.execute(answered).scalars())
    taken = sa.select(overrides.c.decided_by).where(overrides.c.page_id == sent.page_id)
    people |= set(connection.execute(taken.order_by(overrides.c.override_id).limit(1)).scalars())
    if people - {sent.decided_by}:
        raise ValueError(f"Page {sent.page_id!r} is another person's: open a new page; nothing was written.")
    return {row.product_id for row in found} if people else None


def _again(connection: Connection, sent: _Page, earlier: Collection[str]) -> Written:
    """Answer a page that is sent again; an agreement that had changed nothing has left no row of its own."""
    answers = answers_of(connection, sent.choices)
    agreed = {
        name
        for name, answer in answers.items()
        if answer.decided and answer.review_reason is None and answer.category_id == sent.choices[name].category_id
    }
    return _written(connection, sent, {*earlier, *agreed}, answers)

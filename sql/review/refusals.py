"""Checks of what a page sends, before anything is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.errors import UnknownNameError
from sql.explanations import listed
from sql.lists import list_value, with_lists
from sql.review.items import storable
from sql.review.records import Choice, PlantedAnswer

_ACTIONS = ("accept", "set", "none")


def refuse_invalid(choices: Sequence[Choice], planted: Sequence[PlantedAnswer], texts: Mapping[str, str]) -> None:
    """Raise ValueError for what a page sends, if it can be seen to be wrong without the database.

    Args:
        choices: What the person chose.
        planted: What the person answered on planted products.
        texts: decided_by and page_id.
    """
    for name, text in texts.items():
        if not text.strip() or not storable(text):
            raise ValueError(f"A page needs {name}, received {text!r}: expected a text of letters and digits.")
    names = [choice.product_id for choice in choices] + [answer.product_id for answer in planted]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"Decided on more than once: {listed(twice)}; expected one choice a product.")
    for choice in choices:
        if choice.action not in _ACTIONS:
            raise ValueError(f"There is no action {choice.action!r}: expected one of {', '.join(_ACTIONS)}.")
        if (choice.action == "set" and choice.category_id is None) or (
            choice.action == "none" and choice.category_id is not None
        ):
            raise ValueError(
                f"The action {choice.action!r} on product {choice.product_id!r} came with category "
                f"{choice.category_id!r}: expected a category with set, and none with none; nothing was written."
            )
        if not storable(choice.why):
            raise ValueError(
                f"The reason for product {choice.product_id!r} holds a character that no database can store: remove "
                "it; nothing was written."
            )


def refuse_unknown_categories(
    connection: Connection, choices: Iterable[Choice], planted: Iterable[PlantedAnswer]
) -> None:
    """Raise UnknownNameError if a category of a page is not in the taxonomy."""
    named = {choice.category_id for choice in choices if choice.category_id is not None}
    named |= {name for each in planted for name in (each.shown_category_id, each.known_category_id)}
    statement = sa.text(
        with_lists("SELECT category_id FROM categories WHERE category_id IN :names", connection.dialect.name)
    )
    names = [name for name in named if storable(name)]
    unknown = named - set(connection.execute(statement, {"names": list_value(names)}).scalars())
    if unknown:
        raise UnknownNameError(
            f"The taxonomy does not have {listed(sorted(unknown))}: expected a category of the search, load the page "
            "again if the taxonomy has changed; nothing was written."
        )

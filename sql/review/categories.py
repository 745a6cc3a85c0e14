"""The taxonomy in memory, searched by any part of a category's path."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Sequence

import sqlalchemy as sa

from sql.engine import reading
from sql.review.records import Leaf
from sql.schema.releases import categories
from sql.store import ProductDatabase


class Categories:
    """The taxonomy, leaves and inner nodes, for searching and for choosing below an inner node.

    Attributes:
        all: Leaves and inner nodes, in order of category_id.
    """

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        """Prepare the search.

        Args:
            leaves: Leaves and inner nodes, in any order.
        """
        self.all = tuple(sorted(leaves, key=lambda leaf: leaf.category_id))
        self._ids = [leaf.category_id for leaf in self.all]
        self._paths = {leaf.category_id: leaf.category_path for leaf in self.all}
        # The blank before each word makes "begins a word" a plain search for " shi".
        self._texts = [" " + " ".join(_words(leaf.category_path)) for leaf in self.all]

    def __contains__(self, category_id: str) -> bool:
        """Return whether the taxonomy has a category, leaf or inner node."""
        return category_id in self._paths

    def path(self, category_id: str | None) -> str:
        """Return the readable path of a category; empty for None, and the category_id itself if it is not known."""
        return "" if category_id is None else self._paths.get(category_id, category_id)

    def search(self, text: str, limit: int) -> list[Leaf]:
        """Search categories by any part of their path; upper case and accents do not matter.

        Args:
            text: Words that the path contains, in any order, each as a part of a word or as a whole.
            limit: Most categories to return.

        Returns:
            Those first in whose path each word begins a word, of these those with the shortest path.
        """
        words = _words(text)
        if not words:
            return []
        begun = [f" {word}" for word in words]
        found = [
            (not all(part in path for part in begun), len(path), path, place)
            for place, path in enumerate(self._texts)
            if all(word in path for word in words)
        ]
        return [self.all[place] for *_, place in sorted(found)[:limit]]

    def leaves_below(self, category_id: str) -> list[Leaf]:
        """Return the leaves below an inner node, in order of their path; none for a leaf or an unknown category."""
        first = bisect_left(self._ids, f"{category_id}.")
        last = bisect_left(self._ids, f"{category_id}/", lo=first)  # `/` is the character after `.`
        below = [leaf for leaf in self.all[first:last] if self.is_leaf(leaf.category_id)]
        return sorted(below, key=lambda leaf: (leaf.category_path, leaf.category_id))

    def is_leaf(self, category_id: str) -> bool:
        """Return whether the taxonomy has this category and none below it."""
        if category_id not in self._paths:
            return False
        after = bisect_left(self._ids, f"{category_id}.")
        return after == len(self._ids) or not self._ids[after].startswith(f"{category_id}.")


def load_categories(database: ProductDatabase) -> Categories:
    """Read the taxonomy of the database."""
    with reading(database.engine) as connection:
        rows = connection.execute(sa.select(categories.c.category_id, categories.c.category_path))
        return Categories([Leaf(row.category_id, row.category_path) for row in rows])


def _words(text: str) -> list[str]:
    """Return the words of a text in lower case and without accents; signs between words count as blanks."""
    plain = "".join(
        character for character in unicodedata.normalize("NFKD", text) if not unicodedata.combining(character)
    )
    return "".join(character if character.isalnum() else " " for character in plain.casefold()).split()

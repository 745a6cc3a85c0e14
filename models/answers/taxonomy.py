"""The tree that category_ids with dots form: the inner nodes above categories.

An id `a.b.c` is below the nodes `a.b` and `a`. Works on ids alone; reads and writes no files.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from models.spec import Category

_CONTROL = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories of control characters, halves of a character, and separators of lines and paragraphs."""


_JOINERS = "\u200c\u200d"
"""Characters that cannot be seen, and with which Persian and Hindi words are spelt."""


def has_control_character(text: str) -> bool:
    """Return whether a text has a character that ends a line, commands a terminal, or cannot be stored."""
    return any(unicodedata.category(character) in _CONTROL for character in text)


def fault_of_id(category_id: str) -> str:
    """Return why a text cannot be a category_id, as the end of a sentence; empty if it can.

    The parts between dots are the levels of the taxonomy, and each must have a name that can be seen. Characters
    that cannot be seen would make two ids look the same, and some turn the direction in which a line is read.
    """
    if has_control_character(category_id):
        return "holds control characters"
    if any(unicodedata.category(character) == "Cf" and character not in _JOINERS for character in category_id):
        return "holds characters that cannot be seen, such as marks of the direction of writing; leave them out"
    if not all(any(map(is_letter_or_digit, level)) for level in category_id.split(".")):
        return (
            "has a level without a letter or a digit, where names with a dot between them were expected, such as "
            "apparel.tops.t-shirt"
        )
    return ""


def is_letter_or_digit(character: str) -> bool:
    """Return whether a character names something; one for private use may be a letter of the shop's own."""
    kind = unicodedata.category(character)
    return kind[0] in "LN" or kind == "Co"


def ancestors(category_id: str) -> list[str]:
    """Return the inner nodes of the taxonomy above a category, deepest first: for `a.b.c` they are `a.b` and `a`."""
    parts = category_id.split(".")
    return [".".join(parts[:depth]) for depth in range(len(parts) - 1, 0, -1)]


def above_others(category_ids: Iterable[str]) -> list[str]:
    """Return, sorted, the category_ids that are above others in the taxonomy, and so cannot be its leaves."""
    every = set(category_ids)
    return sorted(every & {node for category_id in every for node in ancestors(category_id)})


def inner_nodes(categories: Iterable[Category]) -> tuple[Category, ...]:
    """Return the inner nodes of a taxonomy with these leaves, in order of category_id.

    The readable path of a node is the beginning of the path of its first leaf. If that path and its category_id differ
    in depth, the path is made of the parts of the node's id instead.
    """
    nodes: dict[str, Category] = {}
    for category in categories:
        names = category.category_path.split(" > ")
        fits = len(names) == category.category_id.count(".") + 1
        for node in ancestors(category.category_id):
            depth = node.count(".") + 1
            path = " > ".join(names[:depth]) if fits else node.replace(".", " > ")
            nodes.setdefault(node, Category(node, path))
    return tuple(nodes[node] for node in sorted(nodes))

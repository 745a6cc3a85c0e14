"""The tree that category_ids with dots form: the inner nodes above categories.

An id `a.b.c` is below the nodes `a.b` and `a`. Works on ids alone; reads and writes no files.
"""

from __future__ import annotations

from collections.abc import Iterable

from models.spec import Category


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

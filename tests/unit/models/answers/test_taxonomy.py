"""The inner nodes above categories."""

from __future__ import annotations

from models.answers.taxonomy import ancestors, inner_nodes
from models.spec import Category

SHIRT, SNEAKER = "apparel.tops.shirt", "footwear.closed.sneaker"


def test_ancestors_are_the_deepest_first() -> None:
    assert ancestors(SHIRT) == ["apparel.tops", "apparel"]
    assert ancestors("shoes") == []


def test_the_path_of_an_inner_node_is_the_beginning_of_its_leaves_paths() -> None:
    leaves = (Category(SHIRT, "Apparel > Tops > Shirt"), Category(SNEAKER, "Sneakers"), Category("hat", "Hat"))
    assert inner_nodes(leaves) == (
        Category("apparel", "Apparel"),
        Category("apparel.tops", "Apparel > Tops"),
        Category("footwear", "footwear"),
        Category("footwear.closed", "footwear > closed"),
    )

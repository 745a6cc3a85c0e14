"""The part of a labelled product (train, validation or test), by its group of variants, and the part of a picture.

Variants of one article, such as its sizes and colours, have pictures that are nearly equal. With one variant in train
and another one in test, a release would be measured on what it has learned. So the part of a product depends only on
its `group_id` where the catalog gives one, and else on its product_id: no product is in two parts, now or with a later
catalog, and neither is a group. A product whose product_id is the `group_id` of others, as that of a parent article in
some exports, is in their part too.

A group belongs to the product, as a label does, and that of the newest catalog row counts, see `group_of`.

A product moves to another part only when its catalog gives it another group: its first one, a different one, or none
any more. Then a release that was trained before may have learned from products that are in test now, and what its
evaluations say since is not what they said before: they measure other products. Train a new release when a catalog has
got groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

PARTS = ("train", "validation", "test")
_TENTHS = {0: "test", 1: "validation"}

Ingest = tuple[date, int]
"""An ingest: its date and its number on that date, from 1."""

GroupRow = tuple[int, Ingest, str]
"""What a catalog row says of its product's group: (image_no, ingest, group_id); group_id is empty if it has none."""


def part_of(group: str) -> str:
    """Return the part of a group of products by the hash of its name: 10 % `test`, 10 % `validation`, else `train`.

    Args:
        group: The products' group_id; the product_id of a product without one.
    """
    digest = hashlib.sha256(group.encode()).digest()
    return _TENTHS.get(int.from_bytes(digest[:8], "big") % 10, "train")


def group_of(rows: Iterable[GroupRow]) -> str:
    """Return the group_id of a product, empty if it has none.

    That of the newest ingest counts for all images of the product, because an image that has left the catalog receives
    no new one. A catalog may fill the column in a product's first row alone, so an image that never had a group_id does
    not count. Of several that one ingest gave, the least counts.

    Args:
        rows: The product's catalog rows.
    """
    rows = list(rows)
    images = {image_no for image_no, _, group_id in rows if group_id}
    if not images:
        return ""
    last = {image_no: (ingest, group_id) for image_no, ingest, group_id in sorted(rows) if image_no in images}
    newest = max(ingest for ingest, _ in last.values())
    return min((group_id for ingest, group_id in last.values() if ingest == newest and group_id), default="")


class Pictures:
    """The products that had each picture first, of which one gives the picture its part."""

    def __init__(self) -> None:
        """Start without a picture."""
        self._first: dict[str, tuple[date, list[str]]] = {}

    def note(self, day: date, columns: Mapping[str, Sequence[str]], *, add: bool = True) -> None:
        """Take in the rows of a dataset file.

        Args:
            day: The file's ingest date.
            columns: The file's columns product_id and image_sha256.
            add: Whether pictures are added that no file before had.
        """
        for product_id, content in zip(columns["product_id"], columns["image_sha256"], strict=True):
            known = self._first.get(content)
            if known and known[0] == day:
                known[1].append(product_id)
            elif day < known[0] if known else add:
                self._first[content] = (day, [product_id])

    def parts(self, groups: Mapping[str, str]) -> dict[str, str]:
        """Return the part of each picture: that of the product that had it first.

        Of several products that had it first on the same date, test wins over validation over train.

        Args:
            groups: Maps product_id to group_id, for products that have one.

        Returns:
            Maps image_sha256 to one of `PARTS`.
        """
        return {
            content: max((part_of(groups.get(product_id, product_id)) for product_id in products), key=PARTS.index)
            for content, (_, products) in self._first.items()
        }

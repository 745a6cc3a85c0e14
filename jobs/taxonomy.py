"""The categories that a labelled catalog teaches, and which products teach, choose and measure."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from jobs.config import UsageError
from jobs.labels import LabelledImage, by_part, check_labels, data_sha256
from models.decision import above_others
from models.spec import Category

MIN_PRODUCTS = 10


def taxonomy_of(images: Sequence[LabelledImage], *, file: Path | None, name: str) -> tuple[tuple[Category, ...], str]:
    """Find the categories that can be learned.

    Args:
        images: Labelled.
        file: A CSV file with category_id and category_path, of the leaves or of every node; None takes the labels as
            they are.
        name: Version of the taxonomy; empty makes one of the category_ids.

    Returns:
        The categories, in order of category_id, and their version.

    Raises:
        UsageError: If a label is unknown or a parent, there is only one, or one has fewer than 10 products.
    """
    labels = sorted({image.category_id for image in images})
    if file:
        categories = read_taxonomy(file)
        check_labels(images, [one.category_id for one in categories], taxonomy=f"taxonomy {file}")
        categories = tuple(one for one in categories if one.category_id in labels)
    else:
        if above := above_others(labels):
            below = min(label for label in labels if label.startswith(f"{above[0]}."))
            raise UsageError(
                f"products are labelled {above[0]!r}, which is the parent of the label {below!r}; label them "
                "with a category below it"
            )
        categories = tuple(Category(label, _readable(label)) for label in labels)
    if len(categories) < 2:
        raise UsageError(f"all labelled products are {labels[0]!r}; at least two categories are needed to learn from")
    products: dict[str, set[str]] = defaultdict(set)
    for image in images:
        products[image.category_id].add(image.product_id)
    few = {label: len(found) for label, found in products.items() if len(found) < MIN_PRODUCTS}
    if few:
        label = min(few, key=lambda one: (few[one], one))
        raise UsageError(
            f"category {label!r} has {few[label]} products and at least {MIN_PRODUCTS} are needed; label more of "
            f"them, or leave the category out with --leave-out {label!r}"
        )
    digest = data_sha256([LabelledImage("", 0, "", one.category_id, Path()) for one in categories])
    return categories, name or f"labels-{digest[:8]}"


def read_taxonomy(path: Path) -> tuple[Category, ...]:
    """Read the leaves of a CSV file with the columns category_id and category_path.

    A shop's export of its taxonomy lists the inner nodes too: what has something below it is no leaf, whether or not
    products are labelled with it.

    Returns:
        The leaves, in order of category_id.

    Raises:
        UsageError: If it cannot be read, or names a category twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [Category(row["category_id"].strip(), row["category_path"].strip()) for row in csv.DictReader(file)]
    except (OSError, KeyError, AttributeError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{path} is no taxonomy ({type(error).__name__}: {error}); expected a CSV file with the columns "
            "category_id and category_path"
        ) from error
    ids = [one.category_id for one in rows]
    name, count = Counter(ids).most_common(1)[0] if ids else ("", 0)
    if count > 1:
        raise UsageError(f"{path} names the category {name!r} {count} times; leave one of these lines")
    inner = set(above_others(ids))
    return tuple(sorted((one for one in rows if one.category_id not in inner), key=lambda one: one.category_id))


def split(images: Sequence[LabelledImage]) -> dict[str, list[LabelledImage]]:
    """Return the images of each part, as `by_part` makes them: no picture is in two of them.

    Raises:
        UsageError: If a part has none, or a category has none to learn from.
    """
    sides = by_part(images)
    for part, found in sides.items():
        if not found:
            raise UsageError(
                f"no product with a picture of its own falls into the part {part!r}, a share by chance; label "
                "more products"
            )
    if lost := {image.category_id for image in images} - {image.category_id for image in sides["train"]}:
        label = min(lost)
        raise UsageError(
            f"category {label!r} has no picture to learn from that does not measure too; label more products with "
            f"pictures of their own, or leave the category out with --leave-out {label!r}"
        )
    return sides


def _readable(category_id: str) -> str:
    return " > ".join(part[:1].upper() + part[1:] for part in category_id.split("."))

"""The categories that a labelled catalog teaches, and which products teach, choose and measure."""

from __future__ import annotations

import csv
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from jobs.dataset.labels import LabelledImage, by_part, check_labels, data_sha256
from jobs.errors import UsageError
from jobs.wording import counted, leaving_out, listed, quoted
from models.answers.decision import above_others
from models.spec import Category

log = logging.getLogger(__name__)

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
        UsageError: If a label is unknown or a parent, there is only one, or some have fewer than 10 products.
    """
    labels = sorted({image.category_id for image in images})
    if file:
        categories = read_taxonomy(file)
        check_labels(images, [one.category_id for one in categories], taxonomy=f"taxonomy {file}")
        categories = tuple(one for one in categories if one.category_id in labels)
    else:
        _refuse_parents(labels)
        categories = tuple(Category(label, _readable(label)) for label in labels)
    if len(categories) < 2:
        raise UsageError(
            f"all labelled products are {quoted(labels[0])}; at least two categories are needed to learn from"
        )
    if few := _fewer(images, MIN_PRODUCTS):
        names = list(few)
        told = f"category {quoted(names[0])} has {few[names[0]]} products and at least {MIN_PRODUCTS} are needed"
        if len(few) > 1:
            told = f"{len(few):,} categories have fewer than {MIN_PRODUCTS} products: {counted(names, few)}"
        raise UsageError(
            f"{told}; label more of them, leave all such categories out with --min-products {MIN_PRODUCTS}, or leave "
            f"the {'category' if len(few) == 1 else 'categories'} out with {leaving_out(names)}"
        )
    digest = data_sha256([LabelledImage("", 0, "", one.category_id, Path()) for one in categories])
    return categories, name or f"labels-{digest[:8]}"


def with_products(images: Sequence[LabelledImage], at_least: int) -> list[LabelledImage]:
    """Leave categories of too few products out, whatever is above or below them, and tell in the log how many.

    Raises:
        UsageError: If no category has as many.
    """
    few = _fewer(images, at_least)
    kept = [image for image in images if image.category_id not in few]
    if not kept:
        largest = max(few, key=lambda label: few[label])
        raise UsageError(
            f"no category has the {at_least:,} products of --min-products, the largest, {quoted(largest)}, has "
            f"{few[largest]:,}; label more products, or give a lower number"
        )
    if few:
        log.info(
            "%s categories with fewer than %s products are left out, and so their %s products",
            len(few),
            at_least,
            sum(few.values()),
        )
    return kept


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
    counts = Counter(ids)
    twice = sorted(name for name in counts if counts[name] > 1)
    if len(twice) > 1:
        raise UsageError(
            f"{path} names {len(twice):,} categories more than once: {counted(twice, counts)}; leave one line of each"
        )
    for name in twice:
        raise UsageError(f"{path} names the category {quoted(name)} {counts[name]} times; leave one of these lines")
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
    if lost := sorted({image.category_id for image in images} - {image.category_id for image in sides["train"]}):
        told = f"category {quoted(lost[0])} has"
        if len(lost) > 1:
            told = f"{len(lost):,} categories ({listed([quoted(label) for label in lost])}) have"
        raise UsageError(
            f"{told} no picture to learn from that does not measure too; label more products with pictures of their "
            f"own, or leave out what has none with {leaving_out(lost)}"
        )
    return sides


def _fewer(images: Sequence[LabelledImage], at_least: int) -> dict[str, int]:
    """Return, in order, the labels of fewer products, and how many each has."""
    products: dict[str, set[str]] = defaultdict(set)
    for image in images:
        products[image.category_id].add(image.product_id)
    return {label: len(found) for label, found in sorted(products.items()) if len(found) < at_least}


def _refuse_parents(labels: Sequence[str]) -> None:
    above = above_others(labels)
    if len(above) > 1:
        raise UsageError(
            f"products are labelled with {len(above):,} categories that are parents of other labels: "
            f"{listed([quoted(label) for label in above])}; label them with categories below these"
        )
    for parent in above:
        below = min(label for label in labels if label.startswith(f"{parent}."))
        raise UsageError(
            f"products are labelled {quoted(parent)}, which is the parent of the label {quoted(below)}; label them "
            "with a category below it"
        )


def _readable(category_id: str) -> str:
    return " > ".join(part[:1].upper() + part[1:] for part in category_id.split("."))

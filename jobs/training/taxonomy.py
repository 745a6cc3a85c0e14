"""The categories that a training learns: from a taxonomy file or from the labels, with enough products each."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from jobs.dataset.labels import LabelledImage, check_labels, data_sha256
from jobs.errors import UsageError
from jobs.wording import counted, leaving_out, listed, quoted
from models.answers.taxonomy import above_others, fault_of_id
from models.spec import Category

MIN_PRODUCTS = 10


def taxonomy_of(images: Sequence[LabelledImage], *, file: Path | None, name: str) -> tuple[tuple[Category, ...], str]:
    """Return the categories to train on: those of a taxonomy file that have products, or the labels themselves.

    Args:
        images: Labelled images.
        file: CSV file with the columns category_id and category_path, for the leaves or for all nodes; None uses the
            labels as categories.
        name: Version of the taxonomy; empty derives one from the category_ids.

    Returns:
        The categories, in order of category_id, and the version of the taxonomy.

    Raises:
        UsageError: If a label is unknown or an inner node, there is only one category, or a category has fewer than 10
            products; the message names the remedy.
    """
    labels = sorted({image.category_id for image in images})
    if file:
        categories = read_taxonomy(file)
        check_labels(images, [category.category_id for category in categories], taxonomy=f"taxonomy {file}")
        categories = tuple(category for category in categories if category.category_id in labels)
    else:
        _refuse_parents(labels)
        paths = {image.category_id: image.category_path for image in images}
        categories = tuple(Category(label, paths[label] or _readable(label)) for label in labels)
    for label in (category.category_id for category in categories):
        if fault := fault_of_id(label):  # otherwise the release would be refused after it was trained
            raise UsageError(f"products are labelled {quoted(label)}, which {fault}; correct the labels")
    if len(categories) < 2:
        raise UsageError(
            f"all labelled products are {quoted(labels[0])}; at least two categories are needed to learn from"
        )
    if few := small_categories(images, MIN_PRODUCTS):
        names = list(few)
        message = f"category {quoted(names[0])} has {few[names[0]]} products and at least {MIN_PRODUCTS} are needed"
        if len(few) > 1:
            message = f"{len(few):,} categories have fewer than {MIN_PRODUCTS} products: {counted(names, few)}"
        raise UsageError(
            f"{message}; label more of them, leave all such categories out with --min-products {MIN_PRODUCTS}, or "
            f"leave the {'category' if len(few) == 1 else 'categories'} out with {leaving_out(names)}"
        )
    digest = data_sha256([LabelledImage("", 0, "", category.category_id, Path()) for category in categories])
    return categories, name or f"labels-{digest[:8]}"


def read_taxonomy(path: Path) -> tuple[Category, ...]:
    """Read the leaves of a taxonomy file, a CSV file with the columns category_id and category_path.

    The file may contain inner nodes, as a shop's export of its taxonomy does. A category with another one below it is
    an inner node, also if products are labelled with it.

    Returns:
        The leaves, in order of category_id.

    Raises:
        UsageError: If the file cannot be read, or contains a category twice; the message names the remedy.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [Category(row["category_id"].strip(), row["category_path"].strip()) for row in csv.DictReader(file)]
    except (OSError, KeyError, AttributeError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{path} is no taxonomy ({type(error).__name__}: {error}); expected a CSV file with the columns "
            "category_id and category_path"
        ) from error
    ids = [category.category_id for category in rows]
    counts = Counter(ids)
    twice = sorted(name for name in counts if counts[name] > 1)
    if len(twice) > 1:
        raise UsageError(
            f"{path} names {len(twice):,} categories more than once: {counted(twice, counts)}; leave one line of each"
        )
    for name in twice:
        raise UsageError(f"{path} names the category {quoted(name)} {counts[name]} times; leave one of these lines")
    inner = set(above_others(ids))
    leaves = (category for category in rows if category.category_id not in inner)
    return tuple(sorted(leaves, key=lambda category: category.category_id))


def small_categories(images: Sequence[LabelledImage], at_least: int) -> dict[str, int]:
    """Return the categories of a training with fewer than `at_least` products, in order, with that number."""
    products: dict[str, set[str]] = defaultdict(set)
    for image in images:
        products[image.category_id].add(image.product_id)
    return {label: len(ids) for label, ids in sorted(products.items()) if len(ids) < at_least}


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

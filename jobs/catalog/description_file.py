"""Write what was found out of a catalog beside it: `shelfwise.toml`, and a draft of the label map."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from jobs.catalog.description import Description, description_file, read_description, toml_of
from jobs.dataset.category_texts import deepest, shop_categories
from jobs.errors import UsageError
from jobs.storage.faults import masked
from jobs.storage.places import Place
from jobs.storage.stores import is_file, write_bytes
from models.answers.taxonomy import above_others

LABELS_FILE = "labels.csv"
MOST_LABELS = 10_000


def is_to_be_written(catalog: str, description: Description) -> bool:
    """Return whether a description says more than the file beside its catalog, or than nothing if there is none.

    Raises:
        UsageError: If there is a file that says something else; delete it first.
    """
    if read_description(catalog) == description:
        return False
    file = description_file(catalog)
    if is_file(file):
        raise UsageError(f"{masked(file)} is there and says something else; delete it to write another one")
    return True


def write_description(catalog: str, description: Description) -> list[str]:
    """Write the description of a catalog beside it, unless it is empty or a file there says the same.

    Returns:
        The path of the file, in a list; an empty list if nothing was written.

    Raises:
        UsageError: As `is_to_be_written` does.
    """
    if not is_to_be_written(catalog, description):
        return []
    file = description_file(catalog)
    write_bytes(file, toml_of(description).encode())
    return [str(file)]


def draft_labels(catalog: str, texts: Iterable[str]) -> list[str]:
    """Draft the map from a catalog's category texts to category_ids beside it, unless there is one.

    Args:
        catalog: Path or URI of the catalog.
        texts: Texts of the column `category`, the most frequent first.

    Returns:
        The path of the file, in a list; an empty list if nothing was written.
    """
    file: Place = description_file(catalog).parent / LABELS_FILE
    listed = list(texts)[:MOST_LABELS]
    if not listed or is_file(file):
        return []
    labels = {text: deepest(shop_categories(text)) for text in listed}
    # Products are labelled with leaves alone, so a person has to say where those of a parent belong.
    parents = above_others({each.category_id for each in labels.values() if each})
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("category", "category_id", "category_path"))
    for text, category in labels.items():
        leaf = category if category and category.category_id not in parents else None
        writer.writerow((text, leaf.category_id if leaf else "", leaf.category_path if leaf else ""))
    write_bytes(file, stream.getvalue().encode("utf-8", "replace"))
    return [str(file)]

"""Labels of people: what their latest decisions say of the pictures that a product has now.

What people decide on is what the machine was unsure of, and no random sample of the catalog. So their labels teach, and
never measure: there are two lists of labelled images here, which are the same one if nobody has decided anything.

A product on which a decision stands is labelled by it alone. The decision teaches the contents that it was made on. It
teaches nothing if the person said that the product is none of the categories, or chose an inner node of the taxonomy.
Other pictures of the product keep the catalog's label if it says the same as the person, and have no label otherwise:
one of the two is wrong then, and nobody has looked at these pictures. After a decision was cleared, the catalog's
category counts as before.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jobs.dataset.catalog_labels import CatalogLabels, CatalogSpan, read_catalog_labels
from jobs.dataset.labels import (
    CATALOG,
    PEOPLE,
    LabelledImage,
    images_of,
    labelled,
    log_two_labels,
    why_unlabelled,
    without_categories,
)
from jobs.dataset.presence import CurrentImage
from jobs.errors import UsageError
from jobs.storage.places import Places
from models.answers.taxonomy import ancestors

log = logging.getLogger(__name__)

BOTH = "both"
LABELS_FROM = (CATALOG, PEOPLE, BOTH)
"""Whose labels a training learns from; with `both`, people's count before the catalog's."""


@dataclass(frozen=True)
class Decision:
    """The decision of a person that stands on a product.

    Attributes:
        category_id: The category; None if the product is none of the categories.
        contents: The image_sha256 of the pictures that it was made on; None if nobody noted them, as in earlier
            versions, and it holds for every picture.
    """

    category_id: str | None
    contents: frozenset[str] | None = None

    def covers(self, image_sha256: str) -> bool:
        """Return whether the decision was made on a picture."""
        return self.contents is None or image_sha256 in self.contents


@dataclass(frozen=True)
class Decided:
    """The decisions of people that stand.

    Attributes:
        decisions: Maps product_id to the decision.
        category_paths: Maps each category_id of the product database, of leaves and inner nodes, to its readable path.
        until: Number of the last decision that was read, with those that others have replaced; 0 if there is none.
    """

    decisions: Mapping[str, Decision] = field(default_factory=dict)
    category_paths: Mapping[str, str] = field(default_factory=dict)
    until: int = 0


ReadDecisions = Callable[[int | None], Decided]
"""Reads the decisions that stood after the one with this number; None reads those that stand now."""


def no_decisions(until: int | None = None) -> Decided:
    """Return that nobody has decided anything."""
    return Decided()


@dataclass(frozen=True)
class ImagesToLearn:
    """The labelled images of a training, in order of product_id and image_no.

    Attributes:
        taught: Images with the labels to learn.
        measured: Images that the catalog labels, with its labels; the same list as `taught` if no decision counts.
    """

    taught: list[LabelledImage]
    measured: list[LabelledImage]


def images_to_learn(
    places: Places, span: CatalogSpan, decided: Decided, *, labels_from: str = BOTH, leave_out: Sequence[str] = ()
) -> ImagesToLearn:
    """List the labelled images of a training, and log what a person should know about the labels.

    Args:
        places: Directories and stores of the home.
        span: Which files and labels of the dataset count.
        decided: Decisions of people.
        labels_from: Whose labels to learn, one of `LABELS_FROM`.
        leave_out: Categories to exclude, with everything below them.

    Raises:
        UsageError: As for `jobs.dataset.labels.labelled_images`.
    """
    catalog = read_catalog_labels(places, span)
    measured = images_of(catalog)
    if labels_from == CATALOG or (labels_from == BOTH and not decided.decisions):
        taught = measured
    else:
        taught = _taught(catalog, decided, with_catalog=labels_from == BOTH, leaves=span.category_ids)
    if not taught and labels_from == PEOPLE:
        raise UsageError(
            f"no decision of a person gives one of {len(catalog.current):,} ingested images a label; decide with "
            "`shelfwise override set`, or learn the catalog's labels too with --labels-from both"
        )
    if not taught:
        raise UsageError(why_unlabelled(catalog, span.labels))
    also = {image.category_id for each in (taught, measured) for image in each}
    same = taught is measured
    taught = without_categories(taught, leave_out, catalog.ids, also)
    log_two_labels(taught)
    return ImagesToLearn(taught, taught if same else without_categories(measured, leave_out, catalog.ids, also))


def _taught(
    catalog: CatalogLabels, decided: Decided, *, with_catalog: bool, leaves: Collection[str]
) -> list[LabelledImage]:
    """Label the current images by people's decisions, and, with the catalog, those of products without one by it."""
    labels = {label for label in map(catalog.label, catalog.texts) if label}
    chosen = {decision.category_id for decision in decided.decisions.values() if decision.category_id}
    inner = {node for leaf in {*decided.category_paths, *labels, *chosen, *leaves} for node in ancestors(leaf)}
    taught, ends = [], {}
    for image in catalog.current:
        decision, label = decided.decisions.get(image.product_id), catalog.label(image.product_id)
        if decision is None:
            taught += [labelled(image, label, catalog)] if with_catalog and label else []
            continue
        category_id = decision.category_id
        if category_id is None or category_id in inner:
            ends[image.product_id] = "none" if category_id is None else "inner"
        elif decision.covers(image.stored.image_sha256):
            ends[image.product_id] = "taught"
            taught.append(_by_person(image, category_id, catalog, decided))
        else:
            ends.setdefault(image.product_id, "other")
            taught += [labelled(image, label, catalog)] if with_catalog and label == category_id else []
    _log_ends(Counter(ends.values()))
    return taught


def _by_person(image: CurrentImage, category_id: str, catalog: CatalogLabels, decided: Decided) -> LabelledImage:
    """Return an image with a person's label; where the catalog has the category, with its readable path."""
    path = catalog.paths.get(category_id, decided.category_paths.get(category_id, ""))
    return replace(labelled(image, category_id, catalog, source=PEOPLE), category_path=path)


def _log_ends(products: Counter[str]) -> None:
    """Log how many products with a decision teach by it, and why the others do not."""
    log.info("labels: decisions of people on %s products teach", f"{products['taught']:,}")
    for end, why in (
        ("inner", "are for inner nodes of the taxonomy and teach nothing; decide on categories below these"),
        ("none", "say that they are none of the categories, and teach nothing"),
        ("other", "were made on other pictures than they have now, and teach nothing"),
    ):
        if products[end]:
            log.info("labels: decisions of people on %s products %s", f"{products[end]:,}", why)

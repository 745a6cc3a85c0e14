"""The labelled products of the dataset: training data of finetune and test data of evaluate.

The dataset has the catalog's `category` as the shop writes it. The label is the category_id of a leaf, which a label
map or the rule of `jobs.dataset.category_texts` gives for this text when it is read. So another map needs no new
ingest. The dots of a category_id form the hierarchy (`apparel.tops.shirt` is below `apparel.tops`). The latest label of
an image counts, from the ingest that stored the image (`images/`) or from a later one (`catalog_rows/`): a label is
corrected in the catalog, and the image need not be stored again.

A label belongs to the product, not to the image. If the labels of a product's images differ, the label of the latest
ingest counts for all of them, because a catalog may name one image of a product and not the others. Removing a label
counts like any other change of it. An image that never had a label does not count, nor does one that no catalog names
any more. The picture of a position is the newest one, see `jobs.dataset.presence`.

`jobs.dataset.parts` divides the products into parts: train, validation and test. A picture that several products share
is in one part only, see `by_part`. If these products have different labels, each keeps its own, in a training too:
networks then learn that both may be right, which is what the catalog says, and a measurement counts the mistakes that
this causes. Such pictures are logged.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from jobs.dataset.catalog_labels import CatalogLabels, CatalogSpan, read_catalog_labels
from jobs.dataset.label_findings import log_pictures_with_two_labels, most_frequent
from jobs.dataset.label_map import LabelMap
from jobs.dataset.parts import PARTS, part_of
from jobs.dataset.presence import CurrentImage
from jobs.dataset.schema import ImageKey
from jobs.errors import UsageError
from jobs.storage.places import Place, Places
from jobs.wording import counted, leaving_out, listed, quoted, such_as
from models.answers.taxonomy import ancestors

log = logging.getLogger(__name__)

CATALOG, PEOPLE = "catalog", "people"
"""Where a label comes from: the catalog's own category, or a person's decision."""


@dataclass(frozen=True)
class LabelledImage:
    """A labelled image: its product has a category in the catalog, or a person decided on it.

    Attributes:
        product_id: Identifier of the product.
        image_no: Number of the image within the product.
        image_sha256: SHA-256 of the image's content.
        category_id: Label of the product.
        shard: Dataset file in the home that contains the image; `jobs.dataset.local_copies.kept_copy` returns it as a
            local file.
        owner: Part that the picture belongs to, see `by_part`; empty means the part of the product.
        category_path: Readable path of the label; empty if the category_id says the same.
        group_id: Group of variants of the product; empty if the catalog gives none.
        stored_no: image_no of the row with the image's bytes, if the product has the picture at another position now;
            None if it is the same.
        source: Where the label comes from, `CATALOG` or `PEOPLE`.
    """

    product_id: str
    image_no: int
    image_sha256: str
    category_id: str
    shard: Place
    owner: str = ""
    category_path: str = ""
    group_id: str = ""
    stored_no: int | None = None
    source: str = CATALOG

    @property
    def key(self) -> ImageKey:
        """The image's key in a reader's row, which is that of the stored row."""
        image_no = self.image_no if self.stored_no is None else self.stored_no
        return self.product_id, image_no, self.image_sha256

    @property
    def group(self) -> str:
        """Name of what is in one part and one fold as a whole: the group_id, or the product_id without one."""
        return self.group_id or self.product_id

    @property
    def part(self) -> str:
        """Part of the product."""
        return part_of(self.group)


def labelled_images(
    places: Places,
    *,
    first: date = date.min,
    last: date = date.max,
    part: str | None = None,
    leave_out: Sequence[str] = (),
    files: Collection[str] | None = None,
    labels: LabelMap | None = None,
    category_ids: Collection[str] = (),
) -> list[LabelledImage]:
    """List the images that the catalog labels, and log what a person should know about the labels.

    Only images at positions that a catalog names teach and measure, see `jobs.dataset.presence`; a product that has
    left has none. A picture that a product has at two positions is one labelled image.

    Args:
        places: Directories and stores of the home.
        first: First ingest date; images that were stored before it are left out.
        last: Last ingest date, included; only what was ingested by then counts.
        part: One of `PARTS`, see `by_part`; None returns all parts.
        leave_out: Categories to exclude, with everything below them.
        files: Names of the only dataset files to read, from `dataset_files`, also for dates before the first one; None
            reads all files.
        labels: The shop's label map; None applies the rule.
        category_ids: Category_ids of a release or a taxonomy file; a text that is one of them stays as it is.

    Returns:
        The labelled images, in order of product_id and image_no.

    Raises:
        UsageError: If there is no image, no image has a label, one ingest gave a product two labels, or `leave_out`
            contains an unknown category or excludes all images. The message contains the number, the first names and
            the remedy.
    """
    catalog = read_catalog_labels(places, CatalogSpan(first, last, files, labels, category_ids))
    images = images_of(catalog)
    if not images:
        raise UsageError(why_unlabelled(catalog, labels))
    images = without_categories(images, leave_out, catalog.ids)
    log_two_labels(images)
    return images if part is None else by_part(images, [part])[part]


def images_of(catalog: CatalogLabels) -> list[LabelledImage]:
    """Return the images that the catalog labels, in order of product_id and image_no."""
    return [labelled(image, label, catalog) for image in catalog.current if (label := catalog.label(image.product_id))]


def labelled(image: CurrentImage, label: str, catalog: CatalogLabels, *, source: str = CATALOG) -> LabelledImage:
    """Return a current image with a label."""
    row = image.stored
    return LabelledImage(
        image.product_id,
        image.image_no,
        row.image_sha256,
        label,
        row.shard,
        owner=catalog.owners[row.image_sha256],
        category_path=catalog.paths.get(label, ""),
        group_id=catalog.groups.get(image.product_id, ""),
        stored_no=row.image_no if row.image_no != image.image_no else None,
        source=source,
    )


def why_unlabelled(catalog: CatalogLabels, labels: LabelMap | None) -> str:
    """Return the sentence that no image has a label of the catalog, with the remedy."""
    count, products = len(catalog.current), catalog.products
    if products:
        return (
            f"none of {count} ingested images has a label, because {labels.name if labels else 'the rule'} gives none "
            f"for its {len(products):,} category texts: {most_frequent(products)}; give --labels FILE with these texts"
        )
    return (
        f"none of {count} ingested images has a category; fill the catalog's column `category`, or give a directory "
        "with a folder a category, and ingest it again"
    )


def log_two_labels(images: Iterable[LabelledImage]) -> None:
    """Log how many pictures are labelled with different categories, and an example product of each."""
    log_pictures_with_two_labels((image.image_sha256, image.category_id, image.product_id) for image in images)


def by_part(
    images: Iterable[LabelledImage], parts: Sequence[str] = PARTS, *, tell: bool = True
) -> dict[str, list[LabelledImage]]:
    """Group labelled images by part, and log how many are excluded because another part owns their picture.

    Products often share a photograph, and not only variants of one group. The photograph belongs to the part of the
    product that had it first and is excluded from the other parts. So a picture used in training never measures a
    release, even if another product comes with a later catalog. If several products had it first on the same ingest
    date, test wins over validation over train. Every product that ever had the picture counts: with or without a label,
    selected or excluded, and also if it has a newer picture now.

    Ingests of later dates do not change the owner. Three things can still move a picture to another part: an ingest for
    the same or an earlier date, for example of a missed night, deleting files of the dataset, and another group of its
    product. Ingest missing catalogs before a training begins.

    Args:
        images: Images of all parts, from `labelled_images`.
        parts: Parts to return.
        tell: Whether to log how many are excluded.

    Returns:
        Maps each of these parts to its images, in the given order.
    """
    sides: dict[str, list[LabelledImage]] = {part: [] for part in parts}
    left_out = 0
    for image in images:
        part = image.part
        if part in sides and image.owner in ("", part):
            sides[part].append(image)
        elif part in sides:
            left_out += 1
    if left_out and tell:
        log.info("%s images are left out, as another part has had the same pictures before", left_out)
    return sides


def check_labels(
    images: Iterable[LabelledImage], category_ids: Sequence[str], *, taxonomy: str, or_known_only: bool = False
) -> None:
    """Check that the labels of a dataset's labelled images are leaves of a taxonomy; refuse others.

    Args:
        images: Labelled images.
        category_ids: Leaves of the taxonomy.
        taxonomy: Name of the taxonomy for the message, such as `release shop-1`.
        or_known_only: Whether the command has an option `--known-only`, which excludes unknown labels.

    Raises:
        UsageError: If a label is an inner node or unknown; the message contains the labels, the number of their images
            and the remedy.
    """
    leaves, counts = set(category_ids), Counter(image.category_id for image in images)
    parents = {node for category_id in category_ids for node in ancestors(category_id)}
    wrong = sorted(set(counts) - leaves)
    inner, unknown = [label for label in wrong if label in parents], [label for label in wrong if label not in parents]
    if inner:
        message = (
            f"{counts[inner[0]]} images are labelled {quoted(inner[0])}, which is not a leaf of {taxonomy}; label them"
        )
        if len(inner) > 1:
            message = (
                f"{len(inner):,} labels are not leaves of {taxonomy}: {counted(inner, counts)}; label what has each"
            )
        below = [leaf for leaf in leaves if leaf.startswith(f"{inner[0]}.")]
        raise UsageError(f"{message} with one of the categories below it, {such_as(below)}")
    if unknown:
        message = f"{counts[unknown[0]]} images are labelled {quoted(unknown[0])}, which {taxonomy} does not know"
        if len(unknown) > 1:
            message = f"{taxonomy} does not know {len(unknown):,} labels of images: {counted(unknown, counts)}"
        raise UsageError(
            f"{message}; expected one of its {len(leaves):,} categories, {such_as(leaves)}; "
            f"to look at the others alone, give {'--known-only, or ' if or_known_only else ''}{leaving_out(unknown)}"
        )


def data_sha256(images: Iterable[LabelledImage]) -> str:
    """Return the SHA-256 that identifies labelled images: that of their keys and labels, in their order."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(repr((*image.key, image.category_id)).encode())
    return digest.hexdigest()


def without_categories(
    images: list[LabelledImage], leave_out: Sequence[str], ids: Mapping[str, str], also: Iterable[str] = ()
) -> list[LabelledImage]:
    """Exclude categories, with everything below them.

    Args:
        images: Labelled images.
        leave_out: Categories to exclude, as category_ids or as texts of the shop.
        ids: Maps each category text to its category_id.
        also: Other labels that may be named, although none of these images has them.

    Raises:
        UsageError: If a name is neither a label nor above one, or no image is left.
    """
    names = {ids.get(name) or name for name in leave_out}
    labels = {image.category_id for image in images}.union(also)
    unknown = sorted(names - labels.union(*map(ancestors, labels)))
    if len(unknown) > 1:
        raise UsageError(
            f"no product is labelled with {len(unknown):,} categories of --leave-out or below them: "
            f"{listed([quoted(name) for name in unknown])}; take these out of it"
        )
    for name in unknown:
        raise UsageError(
            f"no product is labelled {quoted(name)} or below it; --leave-out takes one of the {len(labels):,} labels, "
            f"{such_as(labels)}, or a category above them"
        )
    kept = [image for image in images if names.isdisjoint({image.category_id, *ancestors(image.category_id)})]
    if images and not kept:
        raise UsageError("--leave-out names the categories of all labelled products; leave some of them in")
    return kept

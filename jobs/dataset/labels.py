"""The labelled products of the dataset: what finetune learns from and evaluate measures against.

The label is the catalog's `category`, a leaf's category_id; its dots make the hierarchy (`apparel.tops.shirt` is below
`apparel.tops`). What was said last of an image counts, be it when the image was stored (`images/`) or since
(`catalog_rows/`), so that a label is corrected in the catalog and its image stays as it is. It is the product's, not
the image's: where the images of a product differ, the label of the latest ingest counts for all of them, as
nothing more is heard of an image that has left the catalog. That its label was taken away is said like any other; an
image that never had one says nothing. Of an image that was ingested several times the newest content counts.

Which part a product belongs to follows from its product_id alone, so that no image of a product is ever learned from
while another one measures, today and with next year's catalog. Nor is a picture that products share, see `by_part`.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from jobs.dataset.shards import columns_of, ingest_date_of, partition_dates, shards
from jobs.errors import UsageError
from jobs.storage.places import Place, Places
from jobs.wording import counted, leaving_out, listed, quoted, such_as
from models.answers.decision import ancestors

log = logging.getLogger(__name__)

PARTS = ("train", "validation", "test")
_TENTHS = {0: "test", 1: "validation"}
_SAID = ["product_id", "image_no", "category", "ingest_no"]
_COLUMNS = [*_SAID, "image_sha256"]
_HAD = ["product_id", "image_sha256"]

When = tuple[date, int]
"""An ingest: its date, and its number among those of the date."""

Said = defaultdict[str, list[tuple[int, When, str]]]
"""By product_id: each row that was heard of it, as image_no, when, and the label or nothing."""

First = dict[str, tuple[date, int, str]]
"""By content: its first ingest date, and the part that had it then, after this part's place among those of one date."""


@dataclass(frozen=True)
class LabelledImage:
    """An image whose product has a category in the catalog.

    Attributes:
        product_id: The product.
        image_no: Place of the image in it.
        image_sha256: Its content.
        category_id: The label.
        shard: The dataset file that holds it, in the home; `jobs.dataset.local_copies.kept_copy` gives it to read.
        owner: The part that its picture belongs to, see `by_part`; empty is that of the product.
    """

    product_id: str
    image_no: int
    image_sha256: str
    category_id: str
    shard: Place
    owner: str = ""

    @property
    def key(self) -> tuple[str, int, str]:
        """What a reader's row must have to be this image."""
        return self.product_id, self.image_no, self.image_sha256


def part_of(product_id: str) -> str:
    """Return a product's part by a hash of its id: a tenth is `test`, a tenth `validation`, the rest `train`."""
    digest = hashlib.sha256(product_id.encode()).digest()
    return _TENTHS.get(int.from_bytes(digest[:8], "big") % 10, "train")


def labelled_images(
    places: Places,
    *,
    first: date = date.min,
    last: date = date.max,
    part: str | None = None,
    leave_out: Sequence[str] = (),
    files: Collection[str] | None = None,
) -> list[LabelledImage]:
    """List the labelled images of the dataset.

    Whose a picture is follows from all images up to the last date, whatever is asked for: of the files before the first
    date two small columns are read for it.

    Args:
        places: Where state lives.
        first: First ingest date.
        last: Last ingest date, included; labels are those known by then.
        part: One of `PARTS`, as `by_part` makes them; None is all.
        leave_out: Categories whose products are not looked at, nor those of what is below them.
        files: Names of the only dataset files to read, as `dataset_files` tells them, also of those before the first
            date; None is all.

    Returns:
        In order of product and image.

    Raises:
        UsageError: If there is no image, none has a label, or one ingest gave products two; or if what is to be left
            out is no category, or all there is. Says how many, which come first, and what to do.
    """
    contents: dict[tuple[str, int], tuple[When, str, Place]] = {}
    said: Said = defaultdict(list)
    had: First = {}
    count = 0
    for shard, columns in columns_of(_files(places.images, first, last, files), _COLUMNS):
        day = ingest_date_of(shard)
        _note(had, day, columns)
        for product_id, image_no, category, number, content in zip(*(columns[name] for name in _COLUMNS), strict=True):
            count += 1
            key, when = (product_id, image_no), (day, number)
            if key not in contents or (when, content) > contents[key][:2]:
                contents[key] = (when, content, shard)
            said[product_id].append((image_no, when, (category or "").strip()))
    if not count:
        raise UsageError(
            f"no ingested images in {places.images}; run `shelfwise ingest` with the labelled catalog first"
        )
    _hear(said, _files(places.catalog_rows, first, last, files))
    labels = _labels_of({product_id: said[product_id] for product_id in sorted({key[0] for key in contents})})
    before = _files(places.images, date.min, first - timedelta(days=1), files) if first > date.min else []
    for shard, columns in columns_of(before, _HAD):
        _note(had, ingest_date_of(shard), columns, new=False)
    images = [
        LabelledImage(*key, content, label, shard, had[content][-1])
        for key, (_, content, shard) in sorted(contents.items(), key=lambda item: item[0])
        if (label := labels[key[0]])
    ]
    if not images:
        raise UsageError(
            f"none of {count} ingested images has a category; fill the catalog's column `category`, or give a "
            "directory with a folder a category, and ingest it again"
        )
    images = _without(images, leave_out)
    return images if part is None else by_part(images, [part])[part]


def by_part(images: Iterable[LabelledImage], parts: Sequence[str] = PARTS) -> dict[str, list[LabelledImage]]:
    """Sort images by part, and tell in the log how many are in none.

    Variants of a product often share a photograph. It belongs to the part of the product that had it first and is left
    out of the others: what was learned is never measured on, nor when a variant comes with next year's catalog. Of
    products of one ingest date that in `test` goes before that in `validation`, and this before that in `train`. Every
    product that ever had it counts, with a label or without, chosen or left out, and if it has a newer picture by now.

    Later ingest dates change nothing of it. A catalog that is ingested for the same date or an earlier one, as of a
    missed night, can still move a picture to another part, and so can deleting files of the dataset: ingest what is
    missing before a training begins.

    Args:
        images: Of all parts, from `labelled_images`.
        parts: Those that are wanted.

    Returns:
        The images of each of them, in the same order.
    """
    sides: dict[str, list[LabelledImage]] = {part: [] for part in parts}
    left_out = 0
    for image in images:
        part = part_of(image.product_id)
        if part in sides and image.owner in ("", part):
            sides[part].append(image)
        elif part in sides:
            left_out += 1
    if left_out:
        log.info("%s images are left out, as another part has had the same pictures before", left_out)
    return sides


def check_labels(
    images: Iterable[LabelledImage], category_ids: Sequence[str], *, taxonomy: str, or_known_only: bool = False
) -> None:
    """Refuse labels that are no leaf of a taxonomy.

    Args:
        images: Labelled.
        category_ids: The taxonomy's leaves.
        taxonomy: What to call it, as in `release shop-1`.
        or_known_only: Whether the command has an option that leaves out what is unknown.

    Raises:
        UsageError: With the labels, how many images bear them, and what would be right.
    """
    leaves, counts = set(category_ids), Counter(image.category_id for image in images)
    parents = {node for category_id in category_ids for node in ancestors(category_id)}
    wrong = sorted(set(counts) - leaves)
    inner, unknown = [one for one in wrong if one in parents], [one for one in wrong if one not in parents]
    if inner:
        told = (
            f"{counts[inner[0]]} images are labelled {quoted(inner[0])}, which is not a leaf of {taxonomy}; label them"
        )
        if len(inner) > 1:
            told = f"{len(inner):,} labels are not leaves of {taxonomy}: {counted(inner, counts)}; label what has each"
        below = [leaf for leaf in leaves if leaf.startswith(f"{inner[0]}.")]
        raise UsageError(f"{told} with one of the categories below it, {such_as(below)}")
    if unknown:
        told = f"{counts[unknown[0]]} images are labelled {quoted(unknown[0])}, which {taxonomy} does not know"
        if len(unknown) > 1:
            told = f"{taxonomy} does not know {len(unknown):,} labels of images: {counted(unknown, counts)}"
        raise UsageError(
            f"{told}; expected one of its {len(leaves):,} categories, {such_as(leaves)}; to look at the others alone, "
            f"give {'--known-only, or ' if or_known_only else ''}{leaving_out(unknown)}"
        )


def data_sha256(images: Iterable[LabelledImage]) -> str:
    """Return the fingerprint of labelled images: of their keys and labels, in order."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(repr((*image.key, image.category_id)).encode())
    return digest.hexdigest()


def dataset_files(places: Places, first: date = date.min, last: date = date.max) -> list[str]:
    """Return the names of the files that tell of labelled images, `images/ingest_date=D/part-....parquet` and such."""
    found = (file for root in (places.images, places.catalog_rows) for file in _files(root, first, last, None))
    return [_name_of(file) for file in found]


def _files(root: Place, first: date, last: date, among: Collection[str] | None) -> list[Place]:
    found = shards(root, partition_dates(root, first, last))
    return [file for file in found if among is None or _name_of(file) in among]


def _name_of(file: Place) -> str:
    return "/".join(file.parts[-3:])


def _note(had: First, day: date, columns: Mapping[str, Sequence[str]], *, new: bool = True) -> None:
    """Note which part had the contents of a file's rows first, if not `new` only of those that are noted already."""
    parts = {part: (day, place, part) for place, part in enumerate(reversed(PARTS))}
    for product_id, content in zip(*(columns[name] for name in _HAD), strict=True):
        if new or content in had:
            own = parts[part_of(product_id)]
            had[content] = min(own, had.get(content, own))


def _hear(said: Said, files: Sequence[Place]) -> None:
    """Add what the catalog has said of stored images since they were stored."""
    for heard, columns in columns_of(files, _SAID):
        day = ingest_date_of(heard)
        for product_id, image_no, category, number in zip(*(columns[name] for name in _SAID), strict=True):
            said[product_id].append((image_no, (day, number), (category or "").strip()))


def _labels_of(said: Mapping[str, Iterable[tuple[int, When, str]]]) -> dict[str, str]:
    """Return each product's label, or nothing if it has none; refuse products that have two."""
    last = {product_id: _last_said(rows) for product_id, rows in said.items()}
    twice = [product_id for product_id, (_, labels) in last.items() if len(labels) > 1]
    if len(twice) > 1:
        both = [f"{quoted(one)} ({' and '.join(map(quoted, last[one][1][:2]))})" for one in twice]
        raise UsageError(
            f"{len(twice):,} products have two categories of one ingest date: {listed(both)}; give all images of a "
            "product the same one in the catalog, also those that have left it, and ingest it again"
        )
    for product_id in twice:
        day, labels = last[product_id]
        raise UsageError(
            f"product {quoted(product_id)} has two categories, {quoted(labels[0])} and {quoted(labels[1])}, both of "
            f"ingest date {day}; give all its images the same one in the catalog, also those that have left it, and "
            "ingest it again"
        )
    return {product_id: labels[0] if labels else "" for product_id, (_, labels) in last.items()}


def _last_said(rows: Iterable[tuple[int, When, str]]) -> tuple[date | None, list[str]]:
    """Return the date of the last ingest that told a product's label, and its labels; none if it took them away."""
    last = {image_no: (when, label) for image_no, when, label in sorted(rows)}
    said = [last[image_no] for image_no in {image_no for image_no, _, label in rows if label}]
    newest = max((when for when, _ in said), default=None)
    return newest and newest[0], sorted({label for when, label in said if when == newest} - {""})


def _without(images: list[LabelledImage], leave_out: Sequence[str]) -> list[LabelledImage]:
    nodes = {label: {label, *ancestors(label)} for label in {image.category_id for image in images}}
    unknown = sorted(set(leave_out).difference(*nodes.values()))
    if len(unknown) > 1:
        raise UsageError(
            f"no product is labelled with {len(unknown):,} categories of --leave-out or below them: "
            f"{listed([quoted(name) for name in unknown])}; take these out of it"
        )
    for name in unknown:
        raise UsageError(
            f"no product is labelled {quoted(name)} or below it; --leave-out takes one of the {len(nodes):,} labels, "
            f"{such_as(nodes)}, or a category above them"
        )
    kept = [image for image in images if nodes[image.category_id].isdisjoint(leave_out)]
    if not kept:
        raise UsageError("--leave-out names the categories of all labelled products; leave some of them in")
    return kept

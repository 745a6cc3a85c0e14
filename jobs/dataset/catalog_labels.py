"""What the dataset's files say of labels: the current images, and for each product its category text, path and group.

Reads the files of images/, catalog_rows/ and seen/ up to a date, each once. `jobs.dataset.labels` makes labelled images
of it, and `jobs.dataset.decided_labels` those that people's decisions label.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from jobs.dataset.catalog_history import (
    GROUP_COLUMNS,
    LABEL_COLUMNS,
    GroupRows,
    History,
    add_catalog_rows,
    add_group_rows,
    groups_of,
    rows_at,
    texts_of,
)
from jobs.dataset.label_findings import log_findings, readable_paths, text_labels
from jobs.dataset.label_map import LabelMap
from jobs.dataset.partitions import partition_dates
from jobs.dataset.parts import Pictures
from jobs.dataset.presence import CurrentImage, CurrentImages, pictures_of, read_seen
from jobs.dataset.shards import columns_of, ingest_date_of, shards
from jobs.errors import UsageError
from jobs.storage.places import Place, Places


@dataclass(frozen=True)
class CatalogSpan:
    """Which files and labels of the dataset count.

    Attributes:
        first: First ingest date; images that were stored before it are left out.
        last: Last ingest date, included; only what was ingested by then counts.
        files: Names of the only dataset files to read, from `dataset_files`, also for dates before the first one; None
            reads all files.
        labels: The shop's label map; None applies the rule.
        category_ids: Category_ids of a release or a taxonomy file; a text that is one of them stays as it is.
    """

    first: date = date.min
    last: date = date.max
    files: Collection[str] | None = None
    labels: LabelMap | None = None
    category_ids: Collection[str] = field(default=())


@dataclass(frozen=True)
class CatalogLabels:
    """What the dataset says of the images that catalogs name, and of their products.

    Attributes:
        current: Images at positions that a catalog names, in order of product_id and image_no.
        ids: Maps each category text to its category_id; empty if it has none.
        texts: Maps product_id to the category text that counts; empty if it has none.
        products: Number of products with each text; blank texts are left out.
        paths: Maps each category_id to its readable path; empty if the category_id says the same.
        groups: Maps product_id to group_id, for products that have one.
        owners: Maps image_sha256 to the part that owns the picture.
    """

    current: list[CurrentImage]
    ids: Mapping[str, str]
    texts: Mapping[str, str]
    products: Mapping[str, int]
    paths: Mapping[str, str]
    groups: Mapping[str, str]
    owners: Mapping[str, str]

    def label(self, product_id: str) -> str:
        """Return the category_id that the catalog gives a product; empty if it gives none."""
        return self.ids[self.texts[product_id]]


def read_catalog_labels(places: Places, span: CatalogSpan) -> CatalogLabels:
    """Read what the dataset says of labels, and log what a person should know about the texts.

    The group of a product, the part that owns a picture and the positions that a catalog names depend on all rows up to
    the last date. Therefore some small columns of the files before the first date are read too.

    Raises:
        UsageError: If there is no image, all have left, or one ingest gave a product two labels.
    """
    rows = _read(places, span.first, span.last, span.files)
    if not rows.current.count:
        raise UsageError(
            f"no ingested images in {places.images}; run `shelfwise ingest` with the labelled catalog first"
        )
    current = list(rows.current.present())
    if not current:
        raise UsageError(
            f"all {rows.current.count:,} ingested images have left their catalogs; ingest a catalog that has them"
        )
    product_ids = dict.fromkeys(image.product_id for image in current)
    rows_of = rows_at(rows.history, product_ids, rows.current.is_present)
    texts = text_labels({text for each in rows_of.values() for _, _, text, _ in each}, span.labels, span.category_ids)
    text_of = texts_of(rows_of, texts.ids)
    products = Counter(text for text in text_of.values() if text)
    log_findings(texts, products)
    groups = groups_of(rows.history, rows.before)
    paths, owners = readable_paths(texts, products), rows.pictures.parts(groups)
    return CatalogLabels(current, {**texts.ids, "": ""}, text_of, products, paths, groups, owners)


def dataset_files(places: Places, first: date = date.min, last: date = date.max) -> list[str]:
    """Return the names of all dataset files that decide on labelled images: `images/ingest_date=D/part-....parquet`."""
    roots = (places.images, places.catalog_rows, places.seen)
    files = (file for root in roots for file in _files(root, first, last, None))
    return [_name_of(file) for file in files]


@dataclass(frozen=True)
class _Rows:
    """Rows of the dataset as `labelled_images` needs them.

    Attributes:
        current: Picture of each position; those that were stored before the first date are not among them.
        history: Catalog rows from the first date on.
        before: Groups of the catalog rows before it.
        pictures: Which products had each picture first.
    """

    current: CurrentImages
    history: History
    before: GroupRows
    pictures: Pictures


def _read(places: Places, first: date, last: date, files: Collection[str] | None) -> _Rows:
    """Read the dataset's files up to the last date, each once, and seen/ twice if an image has left."""
    rows = _Rows(CurrentImages(last), defaultdict(list), defaultdict(list), Pictures())
    seen = read_seen(_files(places.seen, date.min, last, files), rows.current)
    deleted = [(day, pictures_of(columns)) for day, columns in seen]
    earlier = first - timedelta(days=1) if first > date.min else None
    for shard, columns in columns_of(
        _files(places.images, first, last, files), [*LABEL_COLUMNS, "image_sha256", "catalog_name"]
    ):
        day = ingest_date_of(shard)
        rows.pictures.note(day, columns)
        rows.current.note_images(day, columns, shard)
        add_catalog_rows(rows.history, day, columns)
    for file, columns in columns_of(_files(places.catalog_rows, first, last, files), LABEL_COLUMNS):
        add_catalog_rows(rows.history, ingest_date_of(file), columns)
    if earlier is not None:
        for file, columns in columns_of(
            _files(places.images, date.min, earlier, files), [*GROUP_COLUMNS, "image_sha256", "catalog_name"]
        ):
            rows.pictures.note(ingest_date_of(file), columns, add=False)
            rows.current.note_names(ingest_date_of(file), columns)
            add_group_rows(rows.before, ingest_date_of(file), columns)
        for file, columns in columns_of(_files(places.catalog_rows, date.min, earlier, files), GROUP_COLUMNS):
            add_group_rows(rows.before, ingest_date_of(file), columns)
    for day, pictures in deleted:
        rows.pictures.note(day, pictures, add=False)
    return rows


def _files(root: Place, first: date, last: date, among: Collection[str] | None) -> list[Place]:
    files = shards(root, partition_dates(root, first, last))
    return [file for file in files if among is None or _name_of(file) in among]


def _name_of(file: Place) -> str:
    return "/".join(file.parts[-3:])

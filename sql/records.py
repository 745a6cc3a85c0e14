"""Data classes and column orders that jobs use to call the product database.

Rows are passed as plain tuples in the column orders below, so that a run of any size is streamed in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

CATALOG_COLUMNS = ("product_id", "image_no", "image_uri", "title", "category", "updated_at", "group_id")
"""Columns of a catalog: of its files, and of a shop's own table. Variants of one article have the same `group_id`."""

CATALOG_REQUIRED = ("product_id", "image_uri")
"""The catalog columns that each catalog has; a catalog without `image_no` has one image of each product, number 0."""

PREDICTION_COLUMNS = (
    "product_id",
    "image_sha256",
    "image_no",
    "image_uri",
    "ingest_date",
    "ingest_no",
    "category_id",
    "confidence",
    "status",
    "top_k",
    "by_network",
    "catalog_name",
    "review_reason",
    "held_by",
    "foreign_score",
    "picture_at",
)
"""`ingest_date` is a `datetime.date`; `top_k` and `by_network` are JSON text. The release is that of the run.

`review_reason`, `foreign_score` and `picture_at` are as predict found them; `held_by` is added by publish.

`catalog_name` is the catalog that named the image; None in files from before catalogs had names. It goes to
`product_images`, all other columns to `category_predictions`."""

REJECTION_COLUMNS = (
    "product_id",
    "image_no",
    "image_uri",
    "image_sha256",
    "ingest_date",
    "ingest_no",
    "reason",
    "detail",
    "seen_at_utc",
    "catalog_name",
)
"""`catalog_name` is as in `PREDICTION_COLUMNS`; `seen_at_utc` is a `datetime.datetime` with a time zone; `image_sha256`
is None if no byte could be read."""

IMAGE_CHANGE_COLUMNS = (
    "product_id",
    "image_no",
    "catalog_name",
    "outcome",
    "image_sha256",
    "changed_on",
    "ingest_no",
)
"""A change of what a catalog names, or of which known picture a product has at a position.

`outcome` is one of `IMAGE_CHANGES`. `image_sha256` is None but for `unchanged`. `changed_on` is a `datetime.date`: the
night of the ingest, or the later one from which the change counts."""

IMAGE_CHANGES = {
    "unchanged": "the product has a picture at this position that it had before, here or at another position",
    "named": "the catalog names the image again, or after another catalog",
    "left": "the catalog names the image no longer",
}
"""What a row of `IMAGE_CHANGE_COLUMNS` says."""

PRODUCT_COLUMNS = (*CATALOG_COLUMNS, "ingest_date", "ingest_no")
"""A catalog row and the ingest that read it; a row of a newer ingest is not overwritten."""

REJECTION_REASONS = {
    "missing": "nothing is at the URI",
    "unreadable": "reading what is at the URI failed; it is read again every night",
    "bad_link": "a link or path in no form that can be read",
    "uri_not_allowed": "not a path or URI that may be read, or a web server at an address that may not be contacted",
    "empty": "no bytes",
    "not_an_image": "other content, such as HTML",
    "unsupported_format": "an image in a format that is not supported",
    "truncated": "an image that ends too early",
    "corrupt": "an image that does not decode",
    "decoder_crashed": "an image that ended the process that decoded it, twice",
    "too_small": "sides below the accepted ones",
    "too_large": "pixels or bytes above the accepted ones",
    "inference_failed": "the stored image could not be predicted",
}
"""Why an image could not be used, and what each reason means: the closed list of the database's check constraint."""

REVIEW_REASONS = {
    "gate_closed": "it could not be computed whether the release knows images like this one",
    "foreign_night": "the images of the night are unlike those that the release was calibrated on",
    "foreign_group": "many images in this category are unlike those that the release was calibrated on",
    "foreign_image": "the image, or each image of the product, is unlike those that the release was calibrated on",
    "shared_picture": "products of several kinds have the same picture, such as one that says `no image`",
    "changed_picture": "a person decided on another picture of the product",
    "taxonomy": "the answer is a parent of several categories, of which a person has to choose one",
    "below_threshold": "the confidence is below the threshold of the category, or the category has none",
}
"""Why an answer is not published by itself, and what each reason means. Where several hold, the first is kept."""

PUBLISHED = "published"
"""Key in a night's summary: what of the night was published, as the highest `ingest_no` of its rows in the dataset, and
under `earlier` the same by date for the earlier nights whose changes it published too."""

SHADOW_GATES = "shadow_gates"
"""Key in a run's summary: which answers of each challenger that predicted the run are held back, by its release_id."""

Rows = Sequence[tuple[Any, ...]]
"""One batch of rows."""


@dataclass(frozen=True)
class Decision:
    """Record of the answer that `Combine` computes for one product: category, confidence and status.

    Attributes:
        category_id: A leaf of the taxonomy; None only with status `unknown`.
        confidence: Calibrated probability in [0, 1]; None only with status `unknown`.
        status: `auto`, `review` or `unknown`.
        review_reason: One of `REVIEW_REASONS`; None with status `auto`.
    """

    category_id: str | None
    confidence: float | None
    status: str
    review_reason: str | None = None


class StoredImage(NamedTuple):
    """What the database holds of a predicted image, from which `Combine` computes its product's answer.

    Attributes:
        top: Best categories, `[(category_id, confidence), ...]`.
        review_reason: Why the image alone is not published; None if it is.
        held_by: Why its run held it back; None if it did not.
    """

    top: Sequence[tuple[str, float]]
    review_reason: str | None = None
    held_by: str | None = None


Combine = Callable[[Sequence[StoredImage]], Decision]
"""Function that computes a product's answer from its images, in order of image_no."""


@dataclass(frozen=True)
class CategoryRecord:
    """Record of a category that a job hands to the database: `apparel.tops.t-shirt`, `Apparel > Tops > T-shirt`."""

    category_id: str
    category_path: str


@dataclass(frozen=True)
class ReleaseRecord:
    """Record of a release that a job hands to the database: its name, taxonomy version and manifest.

    Attributes:
        release_id: Name of the release.
        taxonomy_version: Version of the taxonomy that it answers with.
        manifest: Content of its release.json.
    """

    release_id: str
    taxonomy_version: str
    manifest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunRecord:
    """Record of a run that a job hands to the database, with the values of its row in `runs`.

    Attributes:
        run_id: Name of the run, `nightly-2026-11-01`; a rerun has the same.
        kind: `nightly` or `backfill`.
        run_date: Date of the night; for a backfill, the last ingest date.
        release_id: The release that predicts; None if the run failed before it was known.
        started_at_utc: When the driver started, with a time zone.
        finished_at_utc: When the run ended, with a time zone; None is the time of publishing. The run's rows get this
            time too.
        counts: Counts by name, such as images, rejected.
        seconds: Duration in seconds by step, such as read, predict.
        summary: Everything else to store with the run; JSON values by name.
    """

    run_id: str
    kind: str
    run_date: date
    release_id: str | None
    started_at_utc: datetime
    finished_at_utc: datetime | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SharedPictures:
    """Record of the pictures under many products that hold answers back, for one publish.

    Attributes:
        groups: Fewest groups of products with the same picture; 0 looks for none.
        categories: Fewest of the shop's own categories among these products, where its catalog has categories.
        noted: Contents that an earlier publish of the same files found: `gates.shared_pictures.contents` of the run's
            summary. None looks for them now.
        in_table: Whether titles, groups and categories are in the table `products`, which the publish fills; False if
            the shop has a table of its own: then they come from the catalog rows of the run alone, which are not kept.
    """

    groups: int = 20
    categories: int = 3
    noted: Sequence[str] | None = None
    in_table: bool = True


USUAL_PICTURES = SharedPictures()
"""What a publish looks for unless it is told otherwise."""


@dataclass(frozen=True)
class PublishCounts:
    """Record of what one publish wrote, which a job gets back: numbers of rows by kind.

    Attributes:
        images: Predicted images of the run; each image content of a product counts once.
        images_changed: Rows of `category_predictions` added or changed.
        products: Products with at least one of these images.
        products_changed: Rows of `product_categories` added or changed.
        rejections: Rejected images of the run.
        rejections_changed: Rows of `rejected_images` added, changed or deleted.
        catalog_rows_changed: Rows of `products` added, changed or deleted.
        images_moved: Rows of `product_images` and `catalog_changes` added or changed.
        products_left: Products that no catalog names since this publish.
        products_returned: Products that had left and that a catalog names again since this publish.
    """

    images: int = 0
    images_changed: int = 0
    products: int = 0
    products_changed: int = 0
    rejections: int = 0
    rejections_changed: int = 0
    catalog_rows_changed: int = 0
    images_moved: int = 0
    products_left: int = 0
    products_returned: int = 0

    @property
    def changed(self) -> bool:
        """Whether any row of the run's results was written."""
        return bool(
            self.images_changed
            or self.products_changed
            or self.rejections_changed
            or self.catalog_rows_changed
            or self.images_moved
        )

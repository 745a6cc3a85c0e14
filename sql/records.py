"""What a run hands to the product database, and what it gets back.

Rows travel as plain tuples in the column orders below, so that a run of any size streams through in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

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
)
"""`ingest_date` is a `datetime.date`; `top_k` and `by_network` are JSON text. The release is the run's."""

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
)
"""`seen_at_utc` is an aware `datetime.datetime`; `image_sha256` is None where no byte could be read."""

PRODUCT_COLUMNS = (
    "product_id",
    "image_no",
    "image_uri",
    "title",
    "category",
    "updated_at",
    "ingest_date",
    "ingest_no",
)
"""A catalog row and the ingest that read it; a row of a newer ingest is never overwritten."""

REJECTION_REASONS = (
    "missing",
    "unreadable",
    "uri_not_allowed",
    "empty",
    "not_an_image",
    "unsupported_format",
    "truncated",
    "corrupt",
    "too_small",
    "too_large",
    "inference_failed",
)
"""Why an image could not be used: the closed list of the database's check constraint; `jobs.dataset.schema`
explains each."""

Rows = Sequence[tuple[Any, ...]]
"""One batch."""


@dataclass(frozen=True)
class Decision:
    """One answer for one product.

    Attributes:
        category_id: A leaf of the taxonomy; None only with status `unknown`.
        confidence: Calibrated probability in [0, 1]; None only with status `unknown`.
        status: `auto`, `review` or `unknown`.
    """

    category_id: str | None
    confidence: float | None
    status: str


Combine = Callable[[Sequence[Sequence[tuple[str, float]]]], Decision]
"""From each image's `[(category_id, confidence), ...]`, in order of image_no, to the product's answer."""


@dataclass(frozen=True)
class CategoryRecord:
    """A leaf of the taxonomy: `apparel.tops.t-shirt`, `Apparel > Tops > T-shirt`."""

    category_id: str
    category_path: str


@dataclass(frozen=True)
class ReleaseRecord:
    """The release that made a run's predictions.

    Attributes:
        release_id: Its name.
        taxonomy_version: Names the list of categories.
        manifest: What release.json says.
    """

    release_id: str
    taxonomy_version: str
    manifest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunRecord:
    """One run as its row in `runs`.

    Attributes:
        run_id: The same for a rerun: `nightly-2026-11-01`.
        kind: `nightly` or `backfill`.
        run_date: Night of the run; of a backfill, the last ingest date.
        release_id: The release that predicts; None in a failure before it was known.
        started_at_utc: Aware.
        finished_at_utc: Aware; None takes the time of publishing. Also the time that the run's rows carry.
        counts: Numbers by name, such as images, rejected.
        seconds: Seconds by step, such as read, predict.
        summary: Anything else that a reader of the run should find.
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
class PublishCounts:
    """What one publish did.

    Attributes:
        images: Predicted images in the run, each content of a product once.
        images_changed: Rows of `category_predictions` added or changed.
        products: Products with at least one of these images.
        products_changed: Rows of `product_categories` added or changed.
        rejections: Rejected images in the run.
        rejections_changed: Rows of `rejected_images` added, changed or dropped.
        catalog_rows_changed: Rows of `products` added or changed.
    """

    images: int = 0
    images_changed: int = 0
    products: int = 0
    products_changed: int = 0
    rejections: int = 0
    rejections_changed: int = 0
    catalog_rows_changed: int = 0

    @property
    def changed(self) -> bool:
        """Whether any row of the run's results was written."""
        return bool(
            self.images_changed or self.products_changed or self.rejections_changed or self.catalog_rows_changed
        )

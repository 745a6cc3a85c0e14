"""The data of a run's report, queried from the product database; every number of a report comes from here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from jobs.errors import UsageError
from sql.named_queries import run_query
from sql.store import ProductDatabase

REFERENCE_RUNS = 7
_UNUSUAL_DEVIATIONS, _UNUSUAL_POINTS, _FEWEST = 4.0, 0.03, 30


@dataclass(frozen=True)
class CategoryShare:
    """A category's share of a reported run's images, compared with the reference runs before it.

    Attributes:
        category_id: Category; None for images without a category.
        category_path: Name of the category for people.
        images: Images of the run in this category.
        reference_images: Images of all reference runs in this category.
        share: Share of the run's images, in [0, 1]; None if the run has no images.
        reference_share: Share of the reference runs' images, in [0, 1]; None if they have no images.
        mean_confidence: Mean confidence of the run's images in this category, in [0, 1].
        reference_mean_confidence: Mean confidence of the reference runs' images in this category, in [0, 1].
        products: Products of the whole catalog in this category when the run was published.
    """

    category_id: str | None
    category_path: str | None
    images: int
    reference_images: int
    share: float | None
    reference_share: float | None
    mean_confidence: float | None
    reference_mean_confidence: float | None
    products: int

    @property
    def change(self) -> float | None:
        """Share minus reference share; None if one of them is missing."""
        return None if self.share is None or self.reference_share is None else self.share - self.reference_share


@dataclass(frozen=True)
class Facts:
    """All data that a run's report is made of, as the database stores it.

    Attributes:
        run: Row of the run: run_id, kind, run_date, release_id, state, counts, seconds, summary, error, started_at_utc,
            finished_at_utc and retracted_at_utc.
        shares: Shares of the categories, the largest first.
        moved: Products that the run moved to another category, as rows of `run_highlights`.
        least_certain: Products that the run left to people to decide, the lowest confidence first.
        rejections: Numbers of rejected images by reason, the most frequent first.
        earlier: Earlier runs of the same kind that were not retracted, the latest first.
        waiting: Present number of products of the whole catalog by status; those that wait for a person because their
            picture changed after a decision count as `review`.
    """

    run: Mapping[str, Any]
    shares: Sequence[CategoryShare]
    moved: Sequence[Mapping[str, Any]]
    least_certain: Sequence[Mapping[str, Any]]
    rejections: Sequence[Mapping[str, Any]]
    earlier: Sequence[Mapping[str, Any]]
    waiting: Mapping[str, int]

    @property
    def noun(self) -> str:
        """Word for this kind of run in sentences: `night` or `backfill`."""
        return "night" if self.run["kind"] == "nightly" else str(self.run["kind"])

    @property
    def published(self) -> bool:
        """Whether the run is published."""
        return bool(self.run["state"] == "published")

    @property
    def retracted(self) -> bool:
        """Whether a person has taken the published run back."""
        return self.run["retracted_at_utc"] is not None

    @property
    def gates(self) -> Mapping[str, Any]:
        """What the run held back, as `jobs.runs.gates` notes it; empty for runs of earlier versions."""
        return self.run["summary"].get("gates") or {}

    @property
    def images(self) -> int:
        """Number of images that the networks predicted."""
        return sum(share.images for share in self.shares)

    @property
    def rejected(self) -> int:
        """Number of images that were rejected."""
        return sum(row["image_count"] for row in self.rejections)

    @property
    def statuses(self) -> dict[str, int] | None:
        """Number of products by status; None for a run that is not published."""
        if not self.published:
            return None
        return {status: int(self.run["counts"][status]) for status in ("auto", "review", "unknown")}

    @property
    def took_seconds(self) -> float | None:
        """Seconds from the start of the run to its end; None while it is running."""
        run = self.run
        if run["finished_at_utc"] is None or run["state"] == "running":
            return None
        return float((run["finished_at_utc"] - run["started_at_utc"]).total_seconds())

    @property
    def unusual(self) -> list[CategoryShare]:
        """Categories whose share differs significantly from the reference runs, the largest change first."""
        total, reference_total = self.images, sum(share.reference_images for share in self.shares)
        unusual = [
            share
            for share in self.shares
            if differs(share.images, total, share.reference_images, reference_total, points=_UNUSUAL_POINTS)
        ]
        return sorted(unusual, key=lambda share: -abs(share.change or 0.0))


def differs(count: int, total: int, reference_count: int, reference_total: int, *, points: float) -> bool:
    """Return whether a category's shares in two runs differ significantly (two-proportion z-test) and by `points`.

    Args:
        count: Number of cases.
        total: Number of all items; below 30, the result is False.
        reference_count: Number of cases in the reference.
        reference_total: Number of all items in the reference; below 30, the result is False.
        points: Smallest difference of the two shares, in [0, 1].
    """
    if total < _FEWEST or reference_total < _FEWEST:
        return False
    difference = count / total - reference_count / reference_total
    pooled = (count + reference_count) / (total + reference_total)
    error = sqrt(pooled * (1 - pooled) * (1 / total + 1 / reference_total))
    return abs(difference) >= points and abs(difference) > _UNUSUAL_DEVIATIONS * error


def mean_confidences(shares: Sequence[CategoryShare]) -> tuple[float | None, float | None]:
    """Return the mean confidence of the images with a category, of a reported run and of its reference runs."""

    def mean(pairs: list[tuple[float | None, int]]) -> float | None:
        weighted = [(value, images) for value, images in pairs if value is not None and images]
        return sum(value * images for value, images in weighted) / sum(n for _, n in weighted) if weighted else None

    answered = [share for share in shares if share.category_id]
    return (
        mean([(share.mean_confidence, share.images) for share in answered]),
        mean([(share.reference_mean_confidence, share.reference_images) for share in answered]),
    )


def load_facts(database: ProductDatabase, run_id: str) -> Facts:
    """Query the data of a run's report; no query reads a whole table of products.

    Raises:
        UsageError: If there is no such run; the message names the latest runs.
    """
    runs = list(_rows(database, "run_summary", run_id=run_id))
    if not runs:
        latest = [row["run_id"] for row in _rows(database, "run_summary", limit=3)]
        existing = f"the latest are {', '.join(latest)}" if latest else "there is no run at all yet"
        raise UsageError(f"there is no run {run_id!r}; {existing}")
    shares = [
        CategoryShare(
            category_id=row["category_id"],
            category_path=row["category_path"] or row["category_id"],
            images=row["image_count"],
            reference_images=row["reference_image_count"],
            share=row["share"],
            reference_share=row["reference_share"],
            mean_confidence=row["mean_confidence"],
            reference_mean_confidence=row["reference_mean_confidence"],
            products=row["product_count"],
        )
        for row in _rows(database, "run_shares", run_id=run_id, reference_runs=REFERENCE_RUNS)
    ]
    highlights = list(_rows(database, "run_highlights", run_id=run_id))
    return Facts(
        run=runs[0],
        shares=shares,
        moved=[row for row in highlights if row["kind"] == "moved"],
        least_certain=[row for row in highlights if row["kind"] == "least_certain"],
        rejections=list(_rows(database, "rejections_by_reason", run_id=run_id)),
        earlier=[
            row
            for row in _rows(database, "runs_up_to", run_id=run_id, limit=REFERENCE_RUNS + 1)
            if row["run_id"] != run_id
        ],
        waiting=_waiting(database),
    )


def _waiting(database: ProductDatabase) -> dict[str, int]:
    waiting: Counter[str] = Counter()
    for row in _rows(database, "review_reasons"):
        status = "review" if row["review_reason"] == "changed_picture" else row["status"]
        waiting[status] += row["product_count"]
    return dict(waiting)


def _rows(database: ProductDatabase, name: str, *, limit: int | None = None, **params: Any) -> Iterator[dict[str, Any]]:
    result = run_query(database, name, params, limit)
    for row in result.rows:
        yield dict(zip(result.columns, row, strict=True))

"""What the product database knows of a run, in one object; every number of a report comes from here."""

from __future__ import annotations

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
    """A category's part of a run, beside the runs before it.

    Attributes:
        category_id: None for images without an answer.
        category_path: What people read.
        images: Of the run.
        reference_images: Of the runs before, taken together.
        share: Of the run's images, in [0, 1]; None if the run has none.
        reference_share: The same of the runs before.
        mean_confidence: Of the run's images there.
        reference_mean_confidence: The same of the runs before.
        products: In this category when the run was published, all catalog long.
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
        """Difference of the shares; None without anything to compare."""
        return None if self.share is None or self.reference_share is None else self.share - self.reference_share


@dataclass(frozen=True)
class Facts:
    """All that is known of a run.

    Attributes:
        run: Its row: run_id, kind, run_date, release_id, state, counts, seconds, summary, error, and two moments.
        shares: By category, the largest first.
        moved: Products that the run moved to another category, as rows of `run_highlights`.
        least_certain: Products that the run left to people, the least certain first.
        rejections: By reason, the most frequent first.
        earlier: Runs of its kind before it, the latest first.
        waiting: Products of the whole catalog by status, now.
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
        """What people call such a run."""
        return "night" if self.run["kind"] == "nightly" else str(self.run["kind"])

    @property
    def published(self) -> bool:
        """Whether readers have its answers."""
        return bool(self.run["state"] == "published")

    @property
    def images(self) -> int:
        """Images that the networks answered."""
        return sum(share.images for share in self.shares)

    @property
    def rejected(self) -> int:
        """Images that could not be used."""
        return sum(row["image_count"] for row in self.rejections)

    @property
    def statuses(self) -> dict[str, int] | None:
        """Number of products by the status of the run's answer; None for a run that is not published."""
        if not self.published:
            return None
        return {status: int(self.run["counts"][status]) for status in ("auto", "review", "unknown")}

    @property
    def took_seconds(self) -> float | None:
        """From its start to its end; None while it is running."""
        run = self.run
        if run["finished_at_utc"] is None or run["state"] == "running":
            return None
        return float((run["finished_at_utc"] - run["started_at_utc"]).total_seconds())

    @property
    def unusual(self) -> list[CategoryShare]:
        """Categories whose share chance does not explain, the largest change first."""
        here, there = self.images, sum(share.reference_images for share in self.shares)
        found = [
            share
            for share in self.shares
            if differs(share.images, here, share.reference_images, there, points=_UNUSUAL_POINTS)
        ]
        return sorted(found, key=lambda share: -abs(share.change or 0.0))


def differs(count: int, total: int, reference_count: int, reference_total: int, *, points: float) -> bool:
    """Say whether two shares differ by more than chance and more than `points`, by the test of two proportions."""
    if total < _FEWEST or reference_total < _FEWEST:
        return False
    difference = count / total - reference_count / reference_total
    pooled = (count + reference_count) / (total + reference_total)
    error = sqrt(pooled * (1 - pooled) * (1 / total + 1 / reference_total))
    return abs(difference) >= points and abs(difference) > _UNUSUAL_DEVIATIONS * error


def mean_confidences(shares: Sequence[CategoryShare]) -> tuple[float | None, float | None]:
    """Return the mean confidence of a run's answered images and of those of the runs before."""

    def mean(pairs: list[tuple[float | None, int]]) -> float | None:
        known = [(value, images) for value, images in pairs if value is not None and images]
        return sum(value * images for value, images in known) / sum(n for _, n in known) if known else None

    answered = [share for share in shares if share.category_id]
    return (
        mean([(share.mean_confidence, share.images) for share in answered]),
        mean([(share.reference_mean_confidence, share.reference_images) for share in answered]),
    )


def load_facts(database: ProductDatabase, run_id: str) -> Facts:
    """Ask the database about a run; no query reads a table of products.

    Raises:
        UsageError: If there is no such run; names the latest ones.
    """
    found = list(_rows(database, "run_summary", run_id=run_id))
    if not found:
        latest = [row["run_id"] for row in _rows(database, "run_summary", limit=3)]
        known = f"the latest are {', '.join(latest)}" if latest else "there is no run at all yet"
        raise UsageError(f"there is no run {run_id!r}; {known}")
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
        run=found[0],
        shares=shares,
        moved=[row for row in highlights if row["kind"] == "moved"],
        least_certain=[row for row in highlights if row["kind"] == "least_certain"],
        rejections=list(_rows(database, "rejections_by_reason", run_id=run_id)),
        earlier=[
            row
            for row in _rows(database, "runs_up_to", run_id=run_id, limit=REFERENCE_RUNS + 1)
            if row["run_id"] != run_id
        ],
        waiting={row["status"]: row["product_count"] for row in _rows(database, "products_by_status")},
    )


def _rows(database: ProductDatabase, name: str, *, limit: int | None = None, **params: Any) -> Iterator[dict[str, Any]]:
    result = run_query(database, name, params, limit)
    for row in result.rows:
        yield dict(zip(result.columns, row, strict=True))

"""Publish nights in a database and a dataset without Spark and networks, for tests of their reports."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from jobs.dataset.schema import IMAGES
from jobs.dataset.shards import ShardWriter
from jobs.storage.places import Places
from sql.records import CategoryRecord, Decision, PublishCounts, ReleaseRecord, RunRecord
from sql.store import ProductDatabase
from tests.conftest import hash_of, picture
from tests.dataset_rows import image_row

FIRST_NIGHT = date(2026, 11, 1)
HOSTILE = "<script>alert('it ran')</script>\"><img src=http://127.0.0.1:9/x onerror=alert(1)>{{ 7919 * 6007 }}"


@dataclass(frozen=True)
class Answer:
    """Answer of a night for a product with one image."""

    product_id: str
    category_id: str | None
    confidence: float = 0.9
    status: str = "auto"
    title: str = ""
    jpeg: bytes | None = None

    def prediction(self, day: date) -> tuple[Any, ...]:
        """Return the row of the prediction in the order of PREDICTION_COLUMNS."""
        content = hashlib.sha256(f"{self.product_id}/{day}".encode()).hexdigest()
        top_k = json.dumps([[self.category_id, self.confidence]] if self.category_id else [])
        named = (self.category_id, self.confidence, self.status)
        known = (None if self.status == "auto" else "below_threshold", None, None, None)
        return (self.product_id, content, 0, f"{self.product_id}.jpg", day, 1, *named, top_k, "{}", "shop", *known)


class Nights:
    """Publish nights one after another, and store their images."""

    def __init__(self, database: ProductDatabase, places: Places, paths: dict[str, str]) -> None:
        """Use an empty database and home; `paths` is the taxonomy: category_path by category_id."""
        self.database, self.places = database, places
        self.categories = [CategoryRecord(category_id, path) for category_id, path in paths.items()]
        self.release = ReleaseRecord("release-1", "taxonomy-1")

    def night(
        self,
        answers: Sequence[Answer],
        *,
        number: int = 0,
        rejections: Iterable[tuple[str, str, str]] = (),
        kind: str = "nightly",
        images: bool = True,
    ) -> str:
        """Publish a night and return its run_id; a rejection is (product_id, reason, detail)."""
        day = FIRST_NIGHT + timedelta(days=number)
        run = self.run_of(number, kind)
        if images:
            self.store(answers, day)
        rows = [answer.prediction(day) for answer in answers]
        seen = datetime(2026, 11, 1, 2, tzinfo=UTC) + timedelta(days=number)
        rejected = [
            (one, 0, f"{one}.jpg", None, day, 1, reason, detail, seen, "shop") for one, reason, detail in rejections
        ]
        self.publish(run, rows, rejected)
        return run.run_id

    def publish(self, run: RunRecord, rows: list[tuple[Any, ...]], rejected: list[tuple[Any, ...]]) -> PublishCounts:
        """Publish rows as one batch."""
        return self.database.publish(
            run,
            predictions=[rows],
            rejections=[rejected],
            products=[],
            categories=self.categories,
            release=self.release,
            combine=lambda _: Decision(None, None, "unknown"),
        )

    def store(self, answers: Iterable[Answer], day: date) -> None:
        """Write the images of the products into the dataset."""
        writer = ShardWriter(self.places.partition(self.places.images, day), IMAGES, shard_bytes=10**9)
        for answer in answers:
            jpeg = picture(hash_of(answer.product_id, 0)) if answer.jpeg is None else answer.jpeg
            content = hashlib.sha256(f"{answer.product_id}/{day}".encode()).hexdigest()
            writer.add(image_row(answer.product_id, title=answer.title or None, image_sha256=content, jpeg=jpeg))
        writer.flush()

    def run_of(self, number: int, kind: str = "nightly") -> RunRecord:
        """Return the run record of a night."""
        day = FIRST_NIGHT + timedelta(days=number)
        started = datetime(2026, 11, 1, 1, tzinfo=UTC) + timedelta(days=number)
        step = {"seconds": 120.0, "images_per_second": 42.0, "waiting_seconds": 3.5, "predicting_seconds": 100.0}
        return RunRecord(
            run_id=f"{kind}-{day}",
            kind=kind,
            run_date=day,
            release_id=self.release.release_id,
            started_at_utc=started,
            finished_at_utc=started + timedelta(minutes=4),
            counts={"images": 1},
            seconds={"ingest": 60.0, "predict": 120.0},
            summary={"ingest": {"catalog_rows": 1200, "images_unchanged": 1000}, "predict": step},
        )

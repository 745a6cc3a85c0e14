"""What predicting a shard cost, kept in its prediction file, and what a run's shards say together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.storage.places import Place
from jobs.storage.stores import reading

METADATA_KEY = b"shelfwise"
_SHARDS_SHOWN = 200
_KEEPS_UP = 0.1


@dataclass(frozen=True)
class ShardReport:
    """What one shard cost.

    Attributes:
        shard: Path of the dataset file.
        release_id: What predicted it.
        images: Predicted of the shard.
        failed: Of these, images that no network could take.
        reading_seconds: Summed over the reader's threads: bytes came from the file. The wait for a copy from a store is
            in it.
        decoding_seconds: Summed over the reader's threads: bytes became pixels.
        waiting_seconds: No call of the networks was running: they waited for the copy, and for decoded images.
        predicting_seconds: At least one call was running.
        writing_seconds: The prediction file was written.
        loading_seconds: The networks were built and their weights read; 0 where a process had them already.
        selection: Names the choice of images that it was made for; empty is all of the shard.
        device: What computed.
        batch_size: Images a call; 0 where a shard was predicted apart, a few at a time, after an attempt had ended.
        precision: What the layers computed in.
        attempt: 0 for a task's first; more where Spark had to start it again.
        tried: Whether batch size and precision were found by trying, so that they are worth remembering.
    """

    shard: str
    release_id: str
    images: int
    failed: int
    decoding_seconds: float
    waiting_seconds: float
    predicting_seconds: float
    writing_seconds: float
    loading_seconds: float = 0.0
    selection: str = ""
    reading_seconds: float = 0.0
    device: str = ""
    batch_size: int = 0
    precision: str = "float32"
    attempt: int = 0
    tried: bool = False

    @property
    def images_per_second(self) -> float:
        """Images a second of the loop itself, without start-up and model load."""
        busy = self.waiting_seconds + self.predicting_seconds + self.writing_seconds
        return round(self.images / busy, 1) if busy else 0.0


@dataclass(frozen=True)
class PredictSummary:
    """What one predict did.

    Attributes:
        shards: Of the run's partitions, those with an image to predict.
        shards_skipped: Of these, finished by an earlier attempt.
        images: Predicted now.
        seconds: Wall time without Spark's start.
        reports: Of the shards computed now.
    """

    shards: int
    shards_skipped: int
    images: int
    seconds: float
    reports: tuple[ShardReport, ...]

    def seconds_by_stage(self) -> dict[str, float]:
        """Return the seconds of each stage, summed over shards."""
        names = [field.name for field in fields(ShardReport) if field.name.endswith("_seconds")]
        return {name: round(sum(getattr(report, name) for report in self.reports), 3) for name in names}

    @property
    def images_per_second(self) -> float:
        """Images a second of the loops themselves: waiting, predicting and writing, without start-up and model load."""
        stages = self.seconds_by_stage()
        busy = sum(stages[name] for name in ("waiting_seconds", "predicting_seconds", "writing_seconds"))
        return round(self.images / busy, 1) if busy else 0.0

    def document(self) -> dict[str, Any]:
        """Return what the run tells: totals, the slowest stage in words, and each shard, the slowest first."""
        slowest_first = sorted(self.reports, key=lambda report: report.images_per_second)
        left_out = len(slowest_first) - _SHARDS_SHOWN
        return {
            "shards": self.shards,
            "shards_skipped": self.shards_skipped,
            "shards_tried_again": sum(report.attempt > 0 for report in self.reports),
            "images": self.images,
            "images_failed": sum(report.failed for report in self.reports),
            "images_per_second": self.images_per_second,
            "seconds": self.seconds,
            **self.seconds_by_stage(),
            "devices": sorted({report.device for report in self.reports if report.device}),
            "slowest_stage": slowest_stage(self.seconds_by_stage()),
            "by_shard": [_line(report) for report in slowest_first[:_SHARDS_SHOWN]],
            **({"by_shard_left_out": left_out} if left_out > 0 else {}),
        }


def slowest_stage(seconds: Mapping[str, float]) -> str:
    """Name the stage that held up the others, and what would help, in words.

    Args:
        seconds: By stage, as `PredictSummary.seconds_by_stage` sums them.

    Returns:
        One sentence.
    """
    waited, predicted, wrote = (seconds[f"{name}_seconds"] for name in ("waiting", "predicting", "writing"))
    total = waited + predicted + wrote
    if not total:
        return "nothing was predicted"
    if max(waited, predicted, wrote) == wrote:
        return f"writing the predictions took {wrote / total:.0%} of the time; look at where they are stored"
    if predicted >= waited:
        keeping_up = (
            "reading and decoding kept up" if waited < _KEEPS_UP * total else f"they waited {waited / total:.0%}"
        )
        return f"the networks computed {predicted / total:.0%} of the time; {keeping_up}"
    cause, remedy = ("decoding", "give each task more cores")
    if seconds.get("reading_seconds", 0.0) > seconds["decoding_seconds"]:
        cause, remedy = ("reading", "bring the dataset nearer to the executors")
    return f"the networks waited {waited / total:.0%} of the time, mostly for {cause}; {remedy}"


def read_report(path: Place) -> ShardReport | None:
    """Return the report in a prediction file, or None if there is no such file or it is not one of ours."""
    try:
        metadata = reading(path, pq.read_schema).metadata or {}
        return ShardReport(**json.loads(metadata[METADATA_KEY]))
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException):
        return None


def with_report(schema: pa.Schema, report: ShardReport) -> pa.Schema:
    """Return a prediction file's schema with the report in its metadata."""
    return schema.with_metadata({METADATA_KEY: json.dumps(asdict(report))})


def _line(report: ShardReport) -> dict[str, Any]:
    stages = {name: value for name, value in asdict(report).items() if name.endswith("_seconds")}
    return {
        "shard": "/".join(Path(report.shard).parts[-2:]),
        "images": report.images,
        "failed": report.failed,
        "images_per_second": report.images_per_second,
        **stages,
        "device": report.device,
        "attempt": report.attempt,
    }

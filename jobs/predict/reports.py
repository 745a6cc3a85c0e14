"""Reports of a predict job: time and images per shard, kept in the prediction file's metadata, and the job's totals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
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
    """Report on one predicted shard: images, time per stage and device.

    Attributes:
        shard: Path or URI of the dataset file.
        release_id: Release that predicted the shard.
        images: Images predicted, with those that failed.
        failed: Of these, images that the networks could not predict.
        reading_seconds: Time to read bytes from the file, summed over the reader's threads, and the wait for the file's
            copy from a store.
        decoding_seconds: Time to decode images, summed over the reader's threads.
        waiting_seconds: Time in which no call of the networks was running: they waited for the copy or for decoded
            images.
        predicting_seconds: Time in which at least one call of the networks was running.
        writing_seconds: Time to keep the thumbnails and write the prediction file.
        loading_seconds: Time to build the networks and read their weights; 0 if the process had loaded them before.
        selection: Digest of the selected images, see `jobs.predict.selection`; empty if all images were predicted.
        device: Name of the device that computed.
        batch_size: Images per call; 0 if the shard was predicted in quarantine, a few images at a time, after an
            earlier attempt had crashed.
        precision: Number format in which the layers computed.
        attempt: Number of the Spark task's attempt, from 0.
        tried: Whether batch size and precision were measured, so that they are worth remembering.
        gate: `open` if the release has no description of the images that it knows, else `computed`.
        by_leaf: By the category with the highest confidence, [images with a score, those of them that are foreign].
        not_computed: Predicted images for which the release's description gave no score.
        predicted_at_utc: When the shard was predicted, in ISO 8601; empty in files of earlier versions.
        compared: Counts of `jobs.predict.trial.Compared`; empty if nothing was compared.
        thumbnails: Thumbnails kept of images whose answers wait for a person.
        thumbnails_seconds: Part of `writing_seconds` in which they were made and written.
        engine: Name of what computed, see `models.serving.engines.OPENVINO`; empty in files of earlier versions.
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
    gate: str = "open"
    by_leaf: Mapping[str, Sequence[int]] = field(default_factory=dict)
    not_computed: int = 0
    predicted_at_utc: str = ""
    compared: Sequence[int] = ()
    thumbnails: int = 0
    thumbnails_seconds: float = 0.0
    engine: str = ""

    @property
    def images_per_second(self) -> float:
        """Images per second of the prediction loop, without start-up and model loading."""
        busy = self.waiting_seconds + self.predicting_seconds + self.writing_seconds
        return round(self.images / busy, 1) if busy else 0.0


@dataclass(frozen=True)
class PredictSummary:
    """Report of one predict job: the totals of its shards.

    Attributes:
        shards: Shards of the run's partitions that have an image to predict.
        shards_skipped: Of these, shards that an earlier attempt had finished.
        images: Images predicted now.
        seconds: Wall time, without the start of Spark.
        reports: Reports of the shards predicted now.
        skipped: Reports of the shards that an earlier attempt had finished.
    """

    shards: int
    shards_skipped: int
    images: int
    seconds: float
    reports: tuple[ShardReport, ...]
    skipped: tuple[ShardReport, ...] = ()

    def seconds_by_stage(self) -> dict[str, float]:
        """Return the seconds of each stage, summed over shards."""
        names = [field.name for field in fields(ShardReport) if field.name.endswith("_seconds")]
        return {name: round(sum(getattr(report, name) for report in self.reports), 3) for name in names}

    @property
    def images_per_second(self) -> float:
        """Images per second of waiting, predicting and writing, summed over shards; without start-up and model load."""
        stages = self.seconds_by_stage()
        busy = sum(stages[name] for name in ("waiting_seconds", "predicting_seconds", "writing_seconds"))
        return round(self.images / busy, 1) if busy else 0.0

    def document(self) -> dict[str, Any]:
        """Return the job's JSON document: totals, the slowest stage as a sentence, and each shard, slowest first.

        What the run was computed with is of all its shards; counts, times and the list are of those predicted now.
        """
        every = self.reports + self.skipped
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
            "devices": sorted({report.device for report in every if report.device}),
            "precisions": sorted({report.precision for report in every}),
            "engines": sorted({report.engine for report in every if report.engine}),
            "slowest_stage": slowest_stage(self.seconds_by_stage()),
            "by_shard": [_line(report) for report in slowest_first[:_SHARDS_SHOWN]],
            **({"by_shard_left_out": left_out} if left_out > 0 else {}),
        }


def slowest_stage(seconds: Mapping[str, float]) -> str:
    """Describe which stage of a predict job's reports took most of the time, and how to make it faster.

    Args:
        seconds: Seconds by stage, from `PredictSummary.seconds_by_stage`.

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
    """Return the report in a prediction file's metadata; None if the file is missing, damaged or has no report."""
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
        "engine": report.engine,
        "precision": report.precision,
        "attempt": report.attempt,
    }

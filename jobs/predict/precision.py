"""Decide in which precision processors compute a run: bfloat16 only once a release has passed in it.

Until then a run computes in float32, and compares bfloat16 on some images beside it. The counts of all such runs are
added up in `SHELFWISE_HOME/precision.json`, by release, conversion and processor. The file may be deleted: the next
runs compare again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from jobs.dataset.batches import ImageBatch
from jobs.errors import RunFailed
from jobs.predict.config import Plan, PredictConfig
from jobs.predict.inference import Inference
from jobs.predict.reports import ShardReport
from jobs.predict.rows import rows_of
from jobs.spark.executors import registered
from jobs.storage.faults import StoreError
from jobs.storage.home_json import locked, read_json, write_json
from models.known.gate import ImageGate
from models.release import Release
from models.serving.devices import multiplies_bfloat16, processor

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

ENOUGH_IMAGES = 2000
"""Fewest images on which a release must pass."""

MOST = (0.001, 0.002, 0.001)
"""Largest shares of images whose first choice, whose status, and whose confidence (by more than `FAR`) differs."""

FAR = 0.02
"""Difference of the confidence of an image's first choice beyond which it counts."""

SHARE = 8
"""At most one in so many images of a shard is compared, so that a run takes hardly longer."""

_NAME = "precision.json"


@dataclass(frozen=True)
class Compared:
    """How many images were computed in both precisions, and on how many of them they differ.

    Attributes:
        images: Images compared.
        first_choices: Of these, images whose category with the highest confidence differs.
        statuses: Of these, images whose status, after all gates, differs.
        confidences: Of these, images whose highest confidence differs by more than `FAR`.
    """

    images: int = 0
    first_choices: int = 0
    statuses: int = 0
    confidences: int = 0

    def __add__(self, other: Compared) -> Compared:
        return Compared(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))

    @property
    def decided(self) -> bool:
        """Whether enough images were compared."""
        return self.images >= ENOUGH_IMAGES

    @property
    def passed(self) -> bool:
        """Whether bfloat16 may replace float32."""
        counts = (self.first_choices, self.statuses, self.confidences)
        return self.decided and all(count <= most * self.images for count, most in zip(counts, MOST, strict=True))


@dataclass(frozen=True)
class Processor:
    """A processor that computes.

    Attributes:
        name: Name of its model, as in `models.serving.devices.Device`.
        bfloat16: Whether it multiplies bfloat16 in hardware.
    """

    name: str
    bfloat16: bool


class Trial:
    """Computes some images of each shard in bfloat16, too, and compares."""

    def __init__(self, inference: Inference, *, images: int) -> None:
        """Make a trial.

        Args:
            inference: The release in bfloat16.
            images: Most images of each shard that are compared.
        """
        self._inference, self._images = inference, images

    def wanted(self, images: int) -> int:
        """Return how many images of a shard are compared, by the number of its images."""
        return min(self._images, -(-images // SHARE))

    def compare(
        self,
        batch: ImageBatch,
        rows: Sequence[Mapping[str, Any]],
        release: Release,
        gate: ImageGate | None,
        *,
        left: int,
    ) -> Compared:
        """Compute the first images of a batch, and compare them with their rows in float32.

        Args:
            batch: Decoded images.
            rows: Their rows in float32, from `jobs.predict.rows.rows_of`.
            release: Release whose categories and thresholds apply.
            gate: Decides which images the release knows.
            left: Most images to compare, of those that `wanted` returned for the shard.
        """
        count = min(len(batch), left)
        if count <= 0:
            return Compared()
        columns = {name: values[:count] for name, values in batch.columns.items()}
        part = ImageBatch(batch.images[:count], columns, batch.errors[:count])
        try:
            answer = self._inference.answer(part.images).judged(gate)
        except RunFailed as error:  # float32 has answered, so the run goes on
            log.warning("bfloat16 cannot be compared: %s", error)
            return Compared(count, count, count, count)
        others = rows_of(part, answer, release)
        pairs = [
            (_answer_in(row), _answer_in(other))
            for row, other in zip(rows[:count], others, strict=True)
            if row["reason"] is None
        ]
        return Compared(
            len(pairs),
            sum(one[0] != two[0] for one, two in pairs),
            sum(one[1] != two[1] for one, two in pairs),
            sum(abs(one[2] - two[2]) > FAR for one, two in pairs),
        )


def _answer_in(row: Mapping[str, Any]) -> tuple[str, str, float]:
    """Return first choice, status and confidence of a row; those of an image without an answer are like no others."""
    if row["reason"] is not None:
        return "", "", -1.0
    category_id, confidence = json.loads(row["top_k"])[0]
    return category_id, row["status"], float(confidence)


def processors(spark: SparkSession, *, cluster: bool) -> set[Processor]:
    """Return the processors of the driver, or of the executors of a cluster that have registered so far."""
    if not cluster:
        return {_own_processor()}
    context = spark.sparkContext
    executors = registered(context)
    context.setJobDescription("ask the executors for their processors")
    return set(context.parallelize(range(executors), executors).map(lambda _: _own_processor()).collect())


def _own_processor() -> Processor:
    return Processor(processor().name, multiplies_bfloat16())


def plan(
    config: PredictConfig, release: Release, found: Iterable[Processor], *, begun: str | None, shards: int
) -> Plan:
    """Decide in which precision processors compute a run.

    Args:
        config: Engine, precision and directories; with the converted release, if OpenVINO computes it.
        release: Release that predicts.
        found: Processors that will compute.
        begun: Precision of the run's prediction files that are finished; None if there is none.
        shards: Shards to predict.

    Raises:
        RunFailed: If the run was begun in bfloat16 and cannot go on in it; the message names the remedy.
    """
    computing, machines = config.computing, set(found)
    able = computing.converted is not None and all(machine.bfloat16 for machine in machines)
    if computing.precision == "float32":
        return Plan()
    if begun == "bfloat16":
        if able:
            return Plan("bfloat16")
        raise RunFailed(
            f"run {config.run_id} was begun in bfloat16 by OpenVINO, which cannot go on here; go on where the "
            "processors multiply it, or set SHELFWISE_PRECISION=float32"
        )
    if not able or computing.precision != "auto":
        return Plan()
    compared = _known(config, release)
    states = [compared.get(machine.name, Compared()) for machine in machines]
    if begun is None and all(state.passed for state in states):
        return Plan("bfloat16")
    if any(state.decided and not state.passed for state in states):
        return Plan()
    missing = max((ENOUGH_IMAGES - state.images for state in states if not state.decided), default=0)
    return Plan(trial_images=-(-max(0, missing) // max(1, shards)))


def remember(config: PredictConfig, release: Release, reports: Iterable[ShardReport]) -> None:
    """Add what the tasks of a run compared to precision.json, and say once whether the release has passed."""
    now: dict[str, Compared] = {}
    for report in reports:
        if report.compared:
            now[report.device] = now.get(report.device, Compared()) + Compared(*report.compared)
    if not now or config.computing.converted is None:
        return
    target, key = config.places.home / _NAME, _key(config, release)
    try:
        with locked(target):
            content = read_json(target)
            written = content if isinstance(content, dict) else {}
            before = _counts(written.get(key))
            after = {**before, **{name: before.get(name, Compared()) + each for name, each in now.items()}}
            lines = {name: list(astuple(each)) for name, each in after.items()}
            write_json(target, {**written, key: lines})
    except (OSError, StoreError) as error:
        log.warning("%s cannot be written (%s); the next run compares bfloat16 again", _NAME, error)
        return
    for name in now:
        if after[name].decided and not before.get(name, Compared()).decided:
            _tell(release, name, after[name])


def _tell(release: Release, name: str, compared: Compared) -> None:
    told = (
        f"on {name}, of {compared.images} images {compared.first_choices} have another first choice in bfloat16, "
        f"{compared.statuses} another status, and {compared.confidences} a confidence that is {FAR} higher or lower"
    )
    if compared.passed:
        log.info("release %s passed: %s; runs that begin now compute in bfloat16", release.release_id, told)
    else:
        log.warning("release %s is computed in float32: %s", release.release_id, told)


def _key(config: PredictConfig, release: Release) -> str:
    converted = config.computing.converted
    return f"{release.release_id} {converted.converted.key if converted else ''}"


def _known(config: PredictConfig, release: Release) -> dict[str, Compared]:
    """Return what was compared on each processor; empty if the file cannot be read or holds something else."""
    try:
        content = read_json(config.places.home / _NAME)
    except (OSError, StoreError):
        return {}
    return _counts(content.get(_key(config, release))) if isinstance(content, dict) else {}


def _counts(lines: Any) -> dict[str, Compared]:
    """Return the counts by processor that `remember` wrote; empty for anything else."""
    try:
        return {str(name): Compared(*map(int, counts)) for name, counts in lines.items()}
    except (TypeError, ValueError, AttributeError):
        return {}

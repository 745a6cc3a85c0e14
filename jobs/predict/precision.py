"""Decide in which precision processors compute a run: bfloat16 only once a release has passed in it.

Until then a run computes in float32, and compares bfloat16 on some images beside it (`jobs.predict.trial`). The counts
of all such runs are added up in `SHELFWISE_HOME/precision.json`, by release, conversion and processor, until there are
enough. A shard counts once, because a backfill or a run with another --run-id sees the same images. The file may be
deleted: the next runs compare again, and a run that was begun in bfloat16 is refused until a release has passed again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, Any

from jobs.errors import RunFailed
from jobs.predict.config import Plan, PredictConfig
from jobs.predict.reports import ShardReport
from jobs.predict.trial import ENOUGH_IMAGES, FAR, Compared
from jobs.spark.executors import registered
from jobs.storage.faults import StoreError
from jobs.storage.home_json import locked, read_json, write_json
from jobs.storage.places import Place
from jobs.storage.stores import uri
from models.release import Release
from models.serving.devices import multiplies_bfloat16, names_processor, processor

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

_NAME = "precision.json"


@dataclass(frozen=True)
class Processor:
    """A processor that computes.

    Attributes:
        name: Name of its model, as in `models.serving.devices.Device`.
        bfloat16: Whether it multiplies bfloat16 in hardware.
    """

    name: str
    bfloat16: bool


@dataclass(frozen=True)
class _Tried:
    """What was compared on a processor.

    Attributes:
        compared: Counts of all runs.
        shards: Marks of the shards that were counted; empty once the release has passed or failed.
    """

    compared: Compared = field(default_factory=Compared)
    shards: frozenset[str] = frozenset()

    def with_shards(self, found: Mapping[str, Compared]) -> _Tried:
        """Return this with the counts of shards, by their marks, that were not counted before; a decision stays."""
        if self.compared.decided:
            return self
        new = {mark: counts for mark, counts in found.items() if mark not in self.shards}
        compared = sum(new.values(), self.compared)
        return _Tried(compared, frozenset() if compared.decided else self.shards | new.keys())

    def line(self) -> list[Any]:
        """Return this as precision.json holds it: the counts, and then the list of shards, if there are any."""
        return [*astuple(self.compared), *([sorted(self.shards)] if self.shards else [])]


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


def begun_in(reports: Iterable[ShardReport]) -> str | None:
    """Return the precision in which processors began a run: bfloat16 if any shard is in it; accelerators do not count.

    Args:
        reports: Reports in the run's prediction files. Those of early versions name no device, and count too.

    Returns:
        `float32` or `bfloat16`; None if no processor has predicted a shard.
    """
    found = {each.precision for each in reports if not each.device or names_processor(each.device)}
    return "bfloat16" if "bfloat16" in found else min(found, default=None)


def plan(
    config: PredictConfig, release: Release, found: Iterable[Processor], *, begun: str | None, shards: int
) -> Plan:
    """Decide in which precision processors compute a run.

    Args:
        config: Engine, precision and directories; with the converted release, if OpenVINO computes it.
        release: Release that predicts.
        found: Processors that will compute.
        begun: Precision of the run's prediction files, from `begun_in`; None if processors have finished none.
        shards: Number of shards to predict that `uncounted` found.

    Raises:
        RunFailed: If the run was begun in bfloat16 and cannot go on in it: a run has one precision. The message names
            the remedy.
    """
    computing, machines = config.computing, set(found)
    able = computing.converted is not None and all(machine.bfloat16 for machine in machines)
    tried = _known(config, release) if able else {}
    states = [tried.get(machine.name, _Tried()).compared for machine in machines]
    in_bfloat16 = Plan("bfloat16", processors=frozenset(machine.name for machine in machines))
    if begun == "bfloat16":
        if computing.precision == "float32":
            raise RunFailed(
                f"run {config.run_id} was begun in bfloat16, and SHELFWISE_PRECISION demands float32; unset it, or run "
                "again with another --run-id"
            )
        if able and all(state.passed for state in states):
            return in_bfloat16
        raise RunFailed(
            f"run {config.run_id} was begun in bfloat16 by OpenVINO, which cannot go on here; go on where the release "
            "has passed in it on each processor, or run again with another --run-id"
        )
    if not able or computing.precision != "auto":
        return Plan()
    if begun is None and all(state.passed for state in states):
        return in_bfloat16
    if not shards or any(state.decided and not state.passed for state in states):
        return Plan()
    missing = max((ENOUGH_IMAGES - state.images for state in states if not state.decided), default=0)
    return Plan(trial_images=-(-missing // shards))


def uncounted(
    config: PredictConfig, release: Release, found: Iterable[Processor], shards: Iterable[Place]
) -> list[Place]:
    """Return those of a run's shards that were not yet counted on each processor; there is no use to compare others."""
    tried = _known(config, release)
    counted = [tried.get(machine.name, _Tried()) for machine in found]
    open_sets = [each.shards for each in counted if not each.compared.decided]
    return [shard for shard in shards if any(_mark(uri(shard)) not in each for each in open_sets)]


def remember(config: PredictConfig, release: Release, reports: Iterable[ShardReport]) -> None:
    """Add what the tasks of a run compared to precision.json, and say once whether the release has passed."""
    now: dict[str, dict[str, Compared]] = {}
    for report in reports:
        if report.compared:
            now.setdefault(report.device, {})[_mark(report.shard)] = Compared(*report.compared)
    if not now or config.computing.converted is None:
        return
    target, key = config.places.home / _NAME, _key(config, release)
    try:
        with locked(target):
            content = read_json(target)
            written = content if isinstance(content, dict) else {}
            before = _tried(written.get(key))
            after = {**before, **{name: before.get(name, _Tried()).with_shards(each) for name, each in now.items()}}
            write_json(target, {**written, key: {name: each.line() for name, each in after.items()}})
    except (OSError, StoreError) as error:
        log.warning("%s cannot be written (%s); the next run compares bfloat16 again", _NAME, error)
        return
    for name in now:
        if after[name].compared.decided and not before.get(name, _Tried()).compared.decided:
            _tell(release, name, after[name].compared)


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


def _mark(shard: str) -> str:
    """Return what precision.json holds of a shard: a digest of its ingest date and name, wherever the home lies."""
    return hashlib.sha256("/".join(shard.split("/")[-2:]).encode()).hexdigest()[:12]


def _known(config: PredictConfig, release: Release) -> dict[str, _Tried]:
    """Return what was compared on each processor; empty if the file cannot be read or holds something else."""
    try:
        content = read_json(config.places.home / _NAME)
    except (OSError, StoreError):
        return {}
    return _tried(content.get(_key(config, release))) if isinstance(content, dict) else {}


def _tried(lines: Any) -> dict[str, _Tried]:
    """Return what `remember` wrote, by processor; earlier versions wrote no shards. Empty for anything else."""
    try:
        return {
            str(name): _Tried(Compared(*map(int, line[:4])), frozenset(mark for marks in line[4:] for mark in marks))
            for name, line in lines.items()
        }
    except (TypeError, ValueError, AttributeError):
        return {}

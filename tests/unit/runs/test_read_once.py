"""How often the steps of a run read each file of a home in an object store: what was read is passed on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from s3fs.core import S3File  # type: ignore[import-untyped]
from upath import UPath

from jobs.dataset.partitions import partition
from jobs.dataset.schema import CATALOG_ROWS, IMAGES, SEEN
from jobs.dataset.shards import ShardWriter
from jobs.errors import RunFailed
from jobs.ingest import job as ingest
from jobs.ingest import reports as ingest_reports
from jobs.ingest.config import ProductSource
from jobs.predict import job as predict
from jobs.predict import networks
from jobs.predict.selection import Selected
from jobs.runs import backfill as backfills
from jobs.runs import night as nights
from jobs.runs import publish
from jobs.runs.config import RunConfig, RunContext
from jobs.runs.inputs import night_inputs
from jobs.runs.shadow import shadow_step
from jobs.spark.config import SparkConfig
from jobs.storage import faults, stores
from jobs.storage.places import Place, Places
from jobs.storage.stores import place
from models.release import Release
from sql.store import ProductDatabase, open_database
from tests.dataset_rows import image_row
from tests.object_store import ObjectStore
from tests.unit.predict.test_predict_loop import DAY, RELEASE, colour_jpeg
from tests.unit.predict.test_predict_task import fake_networks

SHARDS, IMAGES_A_SHARD = 3, 4
EACH_SHARD = [1] * SHARDS
UNDECODED = "p000"
"""Product whose stored image does not decode."""

NIGHT = RunConfig("night", "nightly", DAY, dates=(DAY,))
REPORT = {"started_at_utc": datetime(2026, 11, 2, tzinfo=UTC).isoformat(), "seconds": 1.0}


@dataclass
class Uses:
    """What was done with the files of a store.

    Attributes:
        counts: Number of times by (operation, path): `read` for each opening or copy, `listed`, and others.
        copies: Of the files that are read, number of copies of whole files to this machine, by path.
        ranged_bytes: Bytes that were read of opened files.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)
    ranged_bytes: int = 0

    def of(self, operation: str, folder: str) -> list[int]:
        """Return how often each file or directory below a folder of the home was used."""
        return [count for (done, path), count in self.counts.items() if done == operation and f"/{folder}/" in path]

    def copied(self, folder: str) -> list[int]:
        """Return how often each copied file below a folder of the home was copied."""
        return [count for path, count in self.copies.items() if f"/{folder}/" in path]


@pytest.fixture
def uses(monkeypatch: pytest.MonkeyPatch) -> Uses:
    """What is done with the files of a store from now on."""
    counted = Uses()
    whole: Callable[[UPath, Path], None] = stores.fetch
    ranged: Callable[[S3File, int, int], bytes] = S3File._fetch_range

    def with_retries(where: UPath, done: str, action: Callable[[], Any]) -> Any:
        counted.counts[done, where.path] += 1
        return faults.with_retries(where, done, action)

    def fetch(source: UPath, target: Path) -> None:
        counted.copies[source.path] += 1
        whole(source, target)

    def fetch_range(file: S3File, start: int, end: int) -> bytes:
        counted.ranged_bytes += end - start
        return ranged(file, start, end)

    monkeypatch.setattr(stores, "with_retries", with_retries)
    monkeypatch.setattr(stores, "fetch", fetch)
    monkeypatch.setattr(S3File, "_fetch_range", fetch_range)
    return counted


@dataclass(frozen=True)
class World:
    """A home in a store with an ingested night, and its database."""

    context: RunContext
    database: ProductDatabase


@pytest.fixture
def world(s3: ObjectStore, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    """Three shards; one has an image that does not decode, and ingest has rejected another image."""
    home = place(f"s3://shop/{request.node.name}")
    assert isinstance(home, UPath)
    home.fs.makedirs("shop", exist_ok=True)
    places = Places(home, tmp_path)
    for shard in range(SHARDS):
        rows = [image_row(f"p{shard}{i:02}", jpeg=colour_jpeg(i % 3)) for i in range(IMAGES_A_SHARD)]
        rows = [{**row, "jpeg": b"no image"} if row["product_id"] == UNDECODED else row for row in rows]
        write(places, places.images, IMAGES, rows)
    rejected = {"outcome": "rejected", "reason": "empty", "detail": "the file has no bytes", "counts_from": None}
    write(places, places.seen, SEEN, [{**image_row("p9"), **rejected}])
    write(places, places.catalog_rows, CATALOG_ROWS, [image_row("p8", title="New title")])
    ingest_reports.keep_report(places, DAY, REPORT, catalog="shop.csv")
    database = open_database(f"sqlite:///{tmp_path}/shop.db")
    database.upgrade()
    monkeypatch.setattr(predict, "_in_spark", in_this_process)
    monkeypatch.setattr(predict, "clean_worker", nullcontext)
    monkeypatch.setattr(predict, "loaded_networks", lambda *_: fake_networks())
    monkeypatch.setattr(networks, "_loaded", [])
    monkeypatch.setattr(nights, "spark_session", lambda *_, **__: nullcontext())
    monkeypatch.setattr(nights, "spark_progress", lambda *_: nullcontext())
    monkeypatch.setattr(ingest, "run", lambda *_: ingest.IngestSummary(14, 0, SHARDS * IMAGES_A_SHARD, 1, 1000, 1.0))
    spark = SparkConfig("local[1]", "1g", tmp_path)
    return World(RunContext(places, spark, RELEASE, tmp_path, ProductSource("", own=True), engine="keras"), database)


def write(places: Places, root: Place, schema: Any, rows: Sequence[dict[str, Any]]) -> None:
    writer = ShardWriter(places.partition(root, DAY), schema, shard_bytes=10**9)
    for row in rows:
        writer.add(row)
    writer.flush()


def in_this_process(_spark: object, config: Any, release: Release, todo: Sequence[Selected]) -> list[Any]:
    images = {chosen.shard: chosen.images for chosen in todo}
    return list(predict.predict_in_turn(images, config, release, None, quarantine_attempt=1))


def nightly(world: World) -> dict[str, Any]:
    return nights.nightly(world.context, world.database, "shop.csv", NIGHT)


def finish_night(world: World) -> dict[str, Any]:
    return nights.finish_night(world.context, world.database, NIGHT)


@pytest.mark.parametrize(("command", "reports_read"), [(nightly, []), (finish_night, [1])])
def test_a_night_reads_each_file_once(
    world: World, uses: Uses, command: Callable[[World], dict[str, Any]], reports_read: list[int]
) -> None:
    """The driver read the footer of a shard up to six times, and the partition and the ingest's report three times."""
    done = command(world)
    assert (done["publish"]["images"], done["publish"]["rejections"]) == (11, 2)
    assert done["publish"]["catalog_rows_changed"] == 13
    assert uses.of("read", "images") == [2] * SHARDS, "the driver reads the footer, and a task copies the shard"
    assert (uses.of("listed", "seen"), uses.of("read", "seen")) == ([1], [1])
    assert uses.of("read", "catalog_rows") == [2], "the number of its ingest is in the footer"
    assert uses.of("read", "ingests") == reports_read
    assert uses.copied("predictions") == EACH_SHARD, "rows, rejections and catalog rows come from one copy"
    # Driver and task look for a finished file, and publish reads the report in the footer before it copies the file.
    assert uses.of("read", "predictions") == [4] * SHARDS


def test_the_steps_of_a_night_that_are_commands_read_each_file_once(world: World, uses: Uses) -> None:
    nights.predict_night(world.context, world.database, NIGHT)
    assert uses.of("read", "images") == [2] * SHARDS
    assert (uses.of("read", "seen"), uses.of("read", "ingests")) == ([1], [1])
    uses.counts.clear()
    assert nights.publish_night(world.context, world.database, NIGHT)["images"] == 11
    assert uses.of("read", "images") == EACH_SHARD
    assert (uses.of("read", "seen"), uses.of("read", "ingests")) == ([1], [1])
    assert uses.copied("predictions") == EACH_SHARD
    assert uses.of("read", "predictions") == [2] * SHARDS


@pytest.mark.parametrize(("only_missing", "selections"), [(False, []), (True, EACH_SHARD)])
def test_a_backfill_reads_each_file_once(world: World, uses: Uses, only_missing: bool, selections: list[int]) -> None:
    run = RunConfig("backfill", "backfill", DAY, dates=(DAY,), only_missing=only_missing)
    assert backfills.backfill(world.context, world.database, run)["publish"]["images"] == 11
    assert uses.of("read", "images") == [2] * SHARDS
    assert uses.of("read", "selections") == selections, "a task reads the keys; the driver has selected them"
    assert uses.copied("predictions") == EACH_SHARD
    assert (uses.of("read", "seen"), uses.of("read", "ingests")) == ([], [])


def test_a_challenger_reads_each_file_once(world: World, uses: Uses) -> None:
    nightly(world)
    uses.counts.clear()
    uses.copies.clear()
    challenger = replace(world.context, release=replace(RELEASE, release_id="colours-2"))
    world_networks = replace(fake_networks(), release=challenger.release)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "loaded_networks", lambda *_: world_networks)
        assert shadow_step(world.context, challenger, world.database, NIGHT)["images"] == 12
    assert uses.of("read", "images") == [2] * SHARDS
    assert uses.copied("predictions") == EACH_SHARD


def test_a_plan_reads_the_keys_of_the_images_and_no_picture(world: World, uses: Uses) -> None:
    """A dry run copied whole shards."""
    places = world.context.places
    noise = np.random.default_rng(0).bytes(2**20)
    write(places, places.images, IMAGES, [image_row(f"p7{i}", jpeg=noise) for i in range(8)])
    run = RunConfig("backfill", "backfill", DAY, dates=(DAY,), only_missing=True)
    plan = backfills.backfill_plan(world.context, world.database, run)
    assert plan["images_to_predict"] == 20
    assert uses.copied("images") == []
    assert 0 < uses.ranged_bytes < 2**20, "of 8 MiB"


def test_a_shard_written_after_the_partition_was_read_is_noticed(world: World) -> None:
    """Another ingest of the date may end while a night is predicted: publishing must not leave its images out."""
    places, context = world.context.places, world.context
    inputs = night_inputs(partition(places, DAY), REPORT)
    nights.predict_step(context, NIGHT, inputs)
    write(places, places.images, IMAGES, [image_row("p700", jpeg=colour_jpeg(0))])
    with pytest.raises(RunFailed, match="1 of 4 shards of run night are not predicted by release colours-1"):
        publish.collect(nights.predict_config(context, NIGHT), RELEASE, inputs)
    nights.predict_step(context, NIGHT, inputs)
    assert publish.collect(nights.predict_config(context, NIGHT), RELEASE, inputs).images == 13

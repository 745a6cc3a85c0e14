"""What is published of runs whose images their release does not know: nights, their repetition, backfills, shadows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobs.dataset.schema import IMAGES
from jobs.errors import RunFailed
from jobs.ingest.config import ProductSource
from jobs.predict import job as predict
from jobs.predict import networks
from jobs.predict.reports import ShardReport
from jobs.runs import backfill as backfills
from jobs.runs import night as nights
from jobs.runs import publish
from jobs.runs.config import RunConfig, RunContext
from jobs.runs.shadow import shadow_step
from jobs.spark.config import SparkConfig
from jobs.storage.places import Places
from sql.run_history import find_run
from sql.store import ProductDatabase, open_database
from tests.dataset_rows import image_row
from tests.unit.predict.test_predict_loop import DAY, RELEASE, colour_jpeg
from tests.unit.predict.test_predict_task import fake_networks
from tests.unit.runs.test_read_once import in_this_process, write

NIGHT = RunConfig("night", "nightly", DAY, dates=(DAY,))
BACKFILL = RunConfig("again", "backfill", DAY, dates=(DAY,))
FAMILIAR = {"colour.red": [100, 1], "colour.blue": [100, 1]}
GROUP = {"colour.red": [100, 40], "colour.blue": [100, 1]}
FOREIGN = {"colour.red": [100, 90], "colour.blue": [100, 90]}
UNLIKE = "these images are unlike those that release colours-1 was calibrated on (180 of 200 beyond its limit)"
ANSWERS = "SELECT product_id, status, review_reason FROM product_categories ORDER BY product_id"
HELD = "SELECT product_id, held_by FROM category_predictions WHERE release_id = '{}' ORDER BY product_id"

AUTO = [("blue", "auto", None), ("red", "auto", None)]


@dataclass
class World:
    """An ingested night of a red and a blue product, and the counts that its prediction files are to have."""

    context: RunContext
    database: ProductDatabase
    counts: Mapping[str, list[int]] = field(default_factory=lambda: FAMILIAR)
    not_computed: int = 0

    def publish(self, counts: Mapping[str, list[int]], *, allow_shift: bool = False) -> dict[str, Any]:
        self.counts = counts
        return nights.finish_night(self.context, self.database, replace(NIGHT, allow_shift=allow_shift))

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with self.database.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(statement))]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    places = Places(tmp_path / "home")
    jpegs = {"red": colour_jpeg(0), "blue": colour_jpeg(2)}
    write(places, places.images, IMAGES, [image_row(name, jpeg=jpeg) for name, jpeg in jpegs.items()])
    database = open_database(f"sqlite:///{tmp_path}/shop.db")
    database.upgrade()
    spark = SparkConfig("local[1]", "1g", tmp_path)
    made = World(RunContext(places, spark, RELEASE, tmp_path, ProductSource("", own=True), engine="keras"), database)

    def counted(*given: Any) -> ShardReport | None:
        report = predict.finished_report(*given)
        return report and replace(report, gate="computed", by_leaf=made.counts, not_computed=made.not_computed)

    monkeypatch.setattr(publish, "finished_report", counted)
    monkeypatch.setattr(predict, "_in_spark", in_this_process)
    monkeypatch.setattr(predict, "clean_worker", nullcontext)
    monkeypatch.setattr(predict, "loaded_networks", lambda *_: fake_networks())
    monkeypatch.setattr(networks, "_loaded", [])
    monkeypatch.setattr(nights, "spark_session", lambda *_, **__: nullcontext())
    monkeypatch.setattr(nights, "spark_progress", lambda *_: nullcontext())
    return made


def changed(done: Mapping[str, Any]) -> int:
    return sum(count for name, count in done["publish"].items() if name.endswith("_changed"))


def test_a_foreign_group_waits_and_the_same_night_again_changes_nothing(world: World) -> None:
    done = world.publish(GROUP)
    assert world.rows(ANSWERS) == [("blue", "auto", None), ("red", "review", "foreign_group")]
    assert world.rows(HELD.format("colours-1")) == [("blue", None), ("red", "foreign_group")]
    group = {"ingest_date": "2026-11-01", "category_id": "colour.red", "images": 100, "foreign": 40}
    assert done["gates"]["foreign_groups"] == [group]
    assert (done["gates"]["images"], done["gates"]["foreign"], done["gates"]["state"]) == (200, 41, "computed")
    assert "gates" not in done["publish"]
    row = find_run(world.database, "night")
    assert row is not None
    noted = row["summary"]["gates"]
    assert noted == {**done["gates"], "files": noted["files"], "shared_pictures": {"contents": [], "shown": []}}
    assert done["gates"]["shared_pictures"] == []
    again = world.publish(GROUP)
    assert changed(again) == 0
    assert again["gates"] == done["gates"]
    assert find_run(world.database, "night") == row


def test_allow_shift_is_remembered_until_other_files_are_published(world: World) -> None:
    world.publish(GROUP)
    assert changed(world.publish(GROUP, allow_shift=True)) > 0
    assert world.rows(ANSWERS) == AUTO
    assert changed(world.publish(GROUP)) == 0, "the note says that a person allowed it"
    assert world.rows(ANSWERS) == AUTO
    world.publish({**GROUP, "colour.red": [100, 41]})
    assert world.rows(ANSWERS)[1] == ("red", "review", "foreign_group")


def test_a_foreign_night_is_published_and_every_answer_of_it_waits(world: World) -> None:
    done = world.publish(FOREIGN)
    assert done["state"] == "published"
    assert done["gates"]["sentence"].startswith(UNLIKE)
    assert done["gates"]["foreign_nights"] == [{"ingest_date": "2026-11-01", "images": 200, "foreign": 180}]
    assert world.rows(ANSWERS) == [("blue", "review", "foreign_night"), ("red", "review", "foreign_night")]
    world.publish(FAMILIAR)
    assert world.rows(ANSWERS) == AUTO


def test_the_publish_step_alone_prints_the_gates_too(world: World) -> None:
    world.counts = FOREIGN
    nights.predict_night(world.context, world.database, NIGHT)
    done = nights.publish_night(world.context, world.database, NIGHT)
    assert done["gates"]["sentence"].startswith(UNLIKE)


def test_a_foreign_partition_publishes_nothing_of_a_backfill(world: World) -> None:
    world.counts = FOREIGN
    with pytest.raises(RunFailed, match=r"nothing of run again was published .* 2026-11-01: these images are unlike"):
        backfills.backfill(world.context, world.database, BACKFILL)
    assert world.rows(ANSWERS) == world.rows(HELD.format("colours-1")) == []
    row = find_run(world.database, "again")
    assert row is not None
    assert row["state"] == "failed"
    assert UNLIKE in row["error"]
    done = backfills.backfill(world.context, world.database, replace(BACKFILL, allow_shift=True))
    assert (done["state"], done["gates"]["allow_shift"]) == ("published", True)
    assert world.rows(ANSWERS) == AUTO
    assert changed(backfills.backfill(world.context, world.database, BACKFILL)) == 0, "the same files were allowed"


def test_a_partition_without_scores_publishes_nothing_of_a_backfill(world: World) -> None:
    """A release whose description cannot be used would turn every published answer into a question."""
    world.publish(FAMILIAR)
    world.counts, world.not_computed = {}, 2
    with pytest.raises(
        RunFailed, match=r"nothing of run again was published .* for 2 of 2 images it could not be comp"
    ):
        backfills.backfill(world.context, world.database, BACKFILL)
    assert world.rows(ANSWERS) == AUTO
    row = find_run(world.database, "again")
    assert row is not None
    assert row["error"].startswith("RunRefused: ")
    done = backfills.backfill(world.context, world.database, replace(BACKFILL, allow_shift=True))
    assert (done["state"], done["gates"]["state"], done["gates"]["not_computed"]) == ("published", "closed", 2)
    assert changed(backfills.backfill(world.context, world.database, BACKFILL)) == 0, "the same files were allowed"


def test_a_night_without_scores_is_published_and_alerts_people(world: World) -> None:
    world.not_computed = 2
    night = world.publish({})
    assert (night["state"], night["gates"]["closed_nights"]) == ("published", ["2026-11-01"])
    [alert] = night["gates"]["alerts"]
    assert alert.startswith("for 2 of 2 images it could not be computed whether release colours-1 knows them")


def test_a_published_backfill_that_is_refused_when_it_runs_again_says_so_in_its_row(world: World) -> None:
    """Airflow asks the row, and tried again what can never pass, because a published row kept no error."""
    backfills.backfill(world.context, world.database, BACKFILL)
    published = find_run(world.database, "again")
    world.counts = FOREIGN
    with pytest.raises(RunFailed, match="nothing of run again was published"):
        backfills.backfill(world.context, world.database, BACKFILL)
    row = find_run(world.database, "again")
    assert published is not None
    assert row is not None
    refused = row["summary"].pop("refused")
    assert refused["error"].startswith("RunRefused: nothing of run again was published")
    assert datetime.fromisoformat(refused["at_utc"]).tzinfo is not None
    assert row == published
    assert world.rows(ANSWERS) == AUTO


@pytest.mark.parametrize(("allow_shift", "held_by"), [(False, "foreign_night"), (True, None)])
def test_a_challenger_has_gates_of_its_own_and_is_never_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, allow_shift: bool, held_by: str | None
) -> None:
    world.publish(FAMILIAR)
    world.counts = FOREIGN
    challenger = replace(world.context, release=replace(RELEASE, release_id="colours-2"))
    monkeypatch.setattr(predict, "loaded_networks", lambda *_: replace(fake_networks(), release=challenger.release))
    run = replace(NIGHT, allow_shift=allow_shift)
    assert shadow_step(world.context, challenger, world.database, run)["images"] == 2
    assert world.rows(HELD.format("colours-2")) == [("blue", held_by), ("red", held_by)]
    assert world.rows(HELD.format("colours-1")) == [("blue", None), ("red", None)]
    assert world.rows(ANSWERS) == AUTO


def test_what_was_allowed_of_a_challenger_is_remembered_until_it_predicts_other_files(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each challenger has a note of its own, and the champion's is none of them."""
    night = world.publish(FAMILIAR)
    before = find_run(world.database, "night")
    world.counts = FOREIGN

    def shadow(release_id: str, *, allow_shift: bool = False) -> dict[str, Any]:
        release = replace(RELEASE, release_id=release_id)
        monkeypatch.setattr(predict, "loaded_networks", lambda *_: replace(fake_networks(), release=release))
        challenger, run = replace(world.context, release=release), replace(NIGHT, allow_shift=allow_shift)
        return shadow_step(world.context, challenger, world.database, run)

    allowed = shadow("colours-2", allow_shift=True)
    assert (allowed["images_changed"], allowed["gates"]["allow_shift"]) == (2, True)
    row = find_run(world.database, "night")
    again = shadow("colours-2")
    assert (again["images_changed"], again["gates"]) == (0, allowed["gates"]), "the note says that a person allowed it"
    assert find_run(world.database, "night") == row
    assert world.rows(HELD.format("colours-2")) == [("blue", None), ("red", None)]

    other = shadow("colours-3")
    assert other["gates"]["foreign_nights"] == [{"ingest_date": "2026-11-01", "images": 200, "foreign": 180}]
    assert world.rows(HELD.format("colours-3")) == [("blue", "foreign_night"), ("red", "foreign_night")]
    row = find_run(world.database, "night")
    assert before is not None
    assert row is not None
    notes = row["summary"].pop("shadow_gates")
    assert {name: note["allow_shift"] for name, note in notes.items()} == {"colours-2": True, "colours-3": False}
    assert row == before, "the champion's note is its own"

    world.counts = {**FOREIGN, "colour.red": [100, 91]}
    assert (shadow("colours-2")["images_changed"], shadow("colours-2")["images_changed"]) == (2, 0)
    assert world.rows(HELD.format("colours-2")) == [("blue", "foreign_night"), ("red", "foreign_night")]
    row = find_run(world.database, "night")
    again = world.publish(FAMILIAR)
    assert (changed(again), again["gates"]) == (0, night["gates"])
    assert find_run(world.database, "night") == row, "the champion's night keeps the notes of its challengers"


def test_a_night_says_what_computed_it_also_when_nothing_is_left_to_compute(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(predict, "loaded_networks", lambda *_: replace(fake_networks(), engine="openvino"))
    caplog.set_level(logging.INFO, "jobs.runs.night")
    for images in (2, 0):
        caplog.clear()
        done = world.publish(FAMILIAR)["predict"]
        assert (done["images"], done["precisions"], done["engines"]) == (images, ["float32"], ["openvino"])
        assert " images/s in float32 by OpenVINO on A device (waited " in caplog.text

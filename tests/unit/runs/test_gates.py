"""What a run holds back: from counts in prediction files to rows, notes, and refusals, without Spark and networks."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import RunFailed, RunRefused
from jobs.predict.reports import ShardReport
from jobs.runs.config import RunConfig
from jobs.runs.gates import decide_gates, gates_of, noted, printed
from models.answers.groups import ImageCount
from models.release import CROSS_FITTED
from sql.records import RunRecord
from sql.store import ProductDatabase, open_database
from tests.unit.predict.test_predict_loop import RELEASE
from tests.unit.runs.gate_reports import D1, D2, D3, DESCRIBED, FAMILIAR, FOREIGN, GROUP, NIGHT, Counts, gates, report

BACKFILL = RunConfig("again", "backfill", D2, dates=(D1, D2))
UNLIKE = (
    "these images are unlike those that release colours-1 was calibrated on (60 of 70 beyond its limit); fine-tune on "
    "your own, or pass --allow-shift"
)

CALIBRATE = "shelfwise release calibrate colours-1 --release-id NEW"
GROUPS = (
    "the answers of 1 category wait for a person, because many of their images are unlike those that release colours-1 "
    "was calibrated on, such as colour.green"
)
CLOSED_EIGHT = (
    "for 8 of 10 images it could not be computed whether release colours-1 knows them, so none of them is published "
    f"without a person; make a release with a new description by `{CALIBRATE}`"
)


def test_the_shards_of_a_night_count_together() -> None:
    """Four of ten images of a small shard alone prove nothing."""
    halves = [report({"colour.green": [10, 4]}, number=number) for number in (0, 1)]
    assert gates(halves[0]).foreign_groups == ()
    both = gates(*halves)
    assert both.images == {D1: {"colour.green": ImageCount(20, 8)}}
    assert (both.foreign_nights, both.foreign_groups) == ((), ((D1, "colour.green"),))
    assert both.held_by(D1, "colour.green") == "foreign_group"
    assert both.held_by(D1, "colour.red") is None
    assert both.holds


def test_each_partition_of_a_backfill_is_judged_by_itself() -> None:
    found = gates(report(FOREIGN, day=D1), report(GROUP, day=D2))
    assert found.foreign_nights == (D1,)
    assert found.foreign_groups == ((D2, "colour.green"),), "a group of a foreign partition is not named again"
    held = [found.held_by(day, leaf) for day in (D1, D2) for leaf in ("colour.red", "colour.green", "")]
    assert held == ["foreign_night"] * 3 + [None, "foreign_group", None]


@pytest.mark.parametrize("reports", [(), (report({}),), (report(FAMILIAR),), (report({"colour.red": [5, 3]}),)])
def test_an_ordinary_night_holds_nothing(reports: Iterable[ShardReport]) -> None:
    found = gates(*reports)
    assert not found.holds
    assert found.sentence is None
    assert "sentence" not in found.note()


def test_allow_shift_switches_off_groups_and_nights_and_notes_what_was_found() -> None:
    found = gates(report(FOREIGN), report(GROUP, day=D2), allow_shift=True)
    assert not found.holds
    assert {found.held_by(day, leaf) for day in (D1, D2) for leaf in GROUP} == {None}
    assert found.sentence is None
    note = found.note()
    assert note["allow_shift"] is True
    assert (len(note["foreign_nights"]), len(note["foreign_groups"])) == (1, 1)


@pytest.mark.parametrize(
    ("reports", "release", "state"),
    [
        ((), RELEASE, "open"),
        ((), DESCRIBED, "computed"),
        ((report({}, gate="open"), report({}, number=1, gate="open")), RELEASE, "open"),
        ((report({}, gate="open"), report(FAMILIAR, number=1)), DESCRIBED, "computed"),
        ((report(FAMILIAR),), DESCRIBED, "computed"),
        ((report(FAMILIAR, not_computed=3), report({}, number=1, gate="open")), DESCRIBED, "closed"),
    ],
)
def test_the_state_of_a_run_is_that_of_its_shards(reports: Any, release: Any, state: str) -> None:
    found = gates_of(reports, release)
    assert found.state == found.note()["state"] == state
    assert found.not_computed == found.note()["not_computed"] == (3 if state == "closed" else 0)


def test_the_note_of_a_foreign_night_is_json_with_its_sentence() -> None:
    note = json.loads(json.dumps(gates(report(FOREIGN), report(GROUP, day=D2)).note()))
    files = note.pop("files")
    assert len(files) == 64
    assert note == {
        "state": "computed",
        "images": 1090,
        "foreign": 79,
        "not_computed": 0,
        "allow_shift": False,
        "foreign_nights": [{"ingest_date": "2026-11-01", "images": 70, "foreign": 60}],
        "foreign_groups": [{"ingest_date": "2026-11-02", "category_id": "colour.green", "images": 20, "foreign": 9}],
        "closed_nights": [],
        "remedy": CALIBRATE,
        "alerts": [UNLIKE, GROUPS],
        "sentence": UNLIKE,
    }


def test_alerts_name_foreign_nights_closed_ones_and_categories() -> None:
    reports = [report(FOREIGN), report(GROUP, day=D2), report({"colour.red": [2, 0]}, day=D3, not_computed=8)]
    found = gates(*reports)
    assert found.note()["alerts"] == found.alerts == [UNLIKE, CLOSED_EIGHT, GROUPS]
    assert found.note()["closed_nights"] == ["2026-11-03"]
    allowed = gates(*reports, allow_shift=True)
    assert allowed.alerts == [CLOSED_EIGHT], "what has no score waits all the same"
    assert gates(report(FAMILIAR, not_computed=3)).alerts == [], "a few pictures that overflow the networks"
    assert gates(report({}, not_computed=1)).closed_nights == (D1,)


def test_the_remedy_is_to_calibrate_again_also_for_a_cross_fitted_release() -> None:
    found = gates_of([report({}, not_computed=70)], replace(DESCRIBED, training={CROSS_FITTED: 5}))
    assert found.note()["remedy"] == f"shelfwise release calibrate {DESCRIBED.release_id} --release-id NEW"
    assert found.alerts[0].endswith(f"make a release with a new description by `{found.note()['remedy']}`")


def test_the_digest_is_of_what_was_counted_and_not_of_where_it_lies() -> None:
    one, two = report(FAMILIAR), report(GROUP, number=1)
    digest = gates(one, two).files
    assert digest == gates(two, one).files, "in any order"
    moved = [report(FAMILIAR, home="s3://shop/home"), report(GROUP, number=1, home="s3://shop/home")]
    assert digest == gates(*moved).files
    turned = report(dict(reversed(list(FAMILIAR.items()))))
    assert digest == gates(turned, two).files
    others = (
        [one],
        [one, replace(two, by_leaf={"colour.red": [1020, 19]})],
        [one, replace(two, selection="1" * 64)],
        [one, replace(two, release_id="colours-2")],
        [one, replace(two, shard=two.shard.replace("part-1", "part-2"))],
        [one, report(GROUP, day=D2, number=1)],
        [one, replace(two, not_computed=1)],
    )
    assert len({digest, *(gates(*other).files for other in others)}) == 1 + len(others)


def test_the_same_files_use_the_note_and_others_are_counted_anew() -> None:
    night = report(FOREIGN)
    allowed = gates(night, allow_shift=True).note()
    assert noted(gates(night), allowed) == gates(night, allow_shift=True)
    assert noted(gates(night), None) == gates(night)
    assert noted(gates(night), {}) == gates(night)
    others = gates(night, report(FAMILIAR, number=1))
    assert noted(others, allowed) == others


def test_what_was_noted_counts_although_the_same_counts_would_be_decided_otherwise_now() -> None:
    """Another version may have other bounds; the same run again must not change its rows."""
    found = gates(report(GROUP), report(FAMILIAR, day=D2))
    note = {**found.note(), "foreign_groups": [], "foreign_nights": [{"ingest_date": "2026-11-02"}]}
    used = noted(found, note)
    assert (used.foreign_nights, used.foreign_groups) == ((D2,), ())
    assert (used.held_by(D1, "colour.green"), used.held_by(D2, "colour.red")) == (None, "foreign_night")


def test_an_explicit_allow_shift_is_a_new_decision() -> None:
    night = report(FOREIGN)
    used = noted(gates(night, allow_shift=True), gates(night).note())
    assert used.allowed
    assert not used.holds


def test_shared_pictures_come_from_the_note_of_the_same_files() -> None:
    night, shared = report(FAMILIAR), {"contents": ["a" * 64, "b" * 64], "shown": []}
    note = {**gates(night).note(), "shared_pictures": shared}
    assert noted(gates(night), note).shared_pictures == ("a" * 64, "b" * 64)
    assert noted(gates(night, allow_shift=True), note).shared_pictures == ("a" * 64, "b" * 64)
    assert noted(gates(night), gates(night).note()).shared_pictures is None
    assert noted(gates(report(GROUP)), note).shared_pictures is None


def test_a_command_prints_the_shared_pictures_that_are_described_and_not_all_contents() -> None:
    note, picture = gates(report(FAMILIAR)).note(), {"image_sha256": "a" * 64, "products": 21}
    shared = {"contents": ["a" * 64] * 5000, "shown": [picture]}
    assert printed({**note, "shared_pictures": shared})["shared_pictures"] == [picture]
    assert "shared_pictures" not in printed(note)


@pytest.fixture
def database(tmp_path: Path) -> ProductDatabase:
    opened = open_database(f"sqlite:///{tmp_path}/shop.db")
    opened.upgrade()
    return opened


def claim(database: ProductDatabase, run: RunConfig, **summary: Any) -> None:
    moment = datetime(2026, 11, 2, tzinfo=UTC)
    database.claim(RunRecord(run.run_id, run.kind, run.run_date, None, moment, summary=summary))


def test_a_foreign_partition_stops_a_backfill_in_one_sentence(database: ProductDatabase) -> None:
    reports = [report(FOREIGN), report(FAMILIAR, day=D2)]
    with pytest.raises(RunFailed) as stopped:
        decide_gates(database, BACKFILL, DESCRIBED, reports)
    expected = f"nothing of run again was published because of the ingest date 2026-11-01: {UNLIKE}"
    assert str(stopped.value) == expected
    assert not decide_gates(database, replace(BACKFILL, allow_shift=True), DESCRIBED, reports).holds
    assert decide_gates(database, BACKFILL, DESCRIBED, [report(GROUP)]).holds, "a group waits, and stops nothing"


def test_a_backfill_names_three_foreign_partitions(database: ProductDatabase) -> None:
    reports = [report(FOREIGN, day=date(2026, 10, day)) for day in range(1, 6)]
    with pytest.raises(RunFailed, match=r"date 2026-10-01, 2026-10-02, 2026-10-03 and 2 more: .*\(300 of 350 beyond"):
        decide_gates(database, BACKFILL, DESCRIBED, reports)


@pytest.mark.parametrize("counts", [{}, {"colour.red": [2, 0]}])
def test_a_partition_without_scores_stops_a_backfill_in_a_sentence_of_its_own(
    database: ProductDatabase, counts: Counts
) -> None:
    """A description of another version leaves no image a score: each published answer would become a question."""
    reports = [report(counts, not_computed=8), report(FAMILIAR, day=D2)]
    expected = CLOSED_EIGHT.replace("8 of 10", f"8 of {8 + sum(scored for scored, _ in counts.values())}")
    with pytest.raises(RunRefused) as stopped:
        decide_gates(database, BACKFILL, DESCRIBED, reports)
    assert str(stopped.value) == (
        f"nothing of run again was published because of the ingest date 2026-11-01: {expected}, or pass --allow-shift"
    )
    assert decide_gates(database, replace(BACKFILL, allow_shift=True), DESCRIBED, reports).not_computed == 8
    assert decide_gates(database, replace(BACKFILL, kind="nightly"), DESCRIBED, reports).not_computed == 8
    few = [report({"colour.red": [1000, 1]}, not_computed=8)]
    assert decide_gates(database, BACKFILL, DESCRIBED, few).not_computed == 8, "these few wait, and stop nothing"


def test_a_backfill_names_what_is_foreign_beside_what_has_no_score(database: ProductDatabase) -> None:
    with pytest.raises(RunRefused) as stopped:
        decide_gates(database, BACKFILL, DESCRIBED, [report(FOREIGN), report({}, day=D2, not_computed=8)])
    closed, foreign = str(stopped.value).split("; and because of the ingest date 2026-11-01: ")
    assert closed.startswith("nothing of run again was published because of the ingest date 2026-11-02: for 8 of 8")
    assert foreign == UNLIKE


def test_a_foreign_night_is_published_and_logged(database: ProductDatabase, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    caplog.set_level(logging.INFO, "jobs.runs.gates")
    decided = decide_gates(database, NIGHT, DESCRIBED, [report(FOREIGN)])
    assert decided.held_by(D1, "colour.blue") == "foreign_night"
    assert [(line.levelname, line.getMessage()) for line in caplog.records] == [("WARNING", f"publish: {UNLIKE}")]


def test_an_open_gate_is_said_with_the_way_to_close_it(
    database: ProductDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    caplog.set_level(logging.INFO, "jobs.runs.gates")
    assert decide_gates(database, NIGHT, RELEASE, [report({}, gate="open")]).state == "open"
    [line] = caplog.records
    assert line.levelname == "INFO"
    assert "colours-1 has no description of the images that it knows, so every image passes" in line.getMessage()
    assert f"`{CALIBRATE}` makes a release that has one" in line.getMessage()


def test_held_groups_and_images_without_a_score_are_warned_of(
    database: ProductDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    caplog.set_level(logging.INFO, "jobs.runs.gates")
    many = {**{f"c{number}": [20, 20] for number in range(4)}, "usual": [200, 2]}
    decide_gates(database, NIGHT, DESCRIBED, [report(many, not_computed=7)])
    no_score, groups = [line.getMessage() for line in caplog.records]
    assert "7 images have no score" in no_score
    assert groups.startswith("publish: the answers of 4 categories wait for a person")
    assert groups.endswith("release colours-1 was calibrated on, such as c0, c1, c2")


def test_a_run_reads_its_note_from_the_database(database: ProductDatabase) -> None:
    claim(database, NIGHT, gates=gates(report(FOREIGN), allow_shift=True).note())
    assert not decide_gates(database, NIGHT, DESCRIBED, [report(FOREIGN)]).holds
    assert decide_gates(database, NIGHT, DESCRIBED, [report({**FOREIGN, "colour.blue": [1, 1]})]).holds
    assert decide_gates(database, replace(NIGHT, run_id="other"), DESCRIBED, [report(FOREIGN)]).holds

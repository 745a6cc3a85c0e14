"""Which nights and challengers are refused, and that this never costs the champion's night."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import main as cli
from jobs.errors import RunFailed, UsageError
from jobs.ingest.config import ProductSource
from jobs.runs.config import RunConfig, RunContext
from jobs.runs.run_ids import shadow_run_id
from jobs.runs.shadow import check, publisher, try_challenger
from jobs.settings import Settings
from jobs.spark.config import SparkConfig
from jobs.storage.places import Places
from models.release import SHIPPED, Release, ReleaseError
from models.spec import MAX_NAME_CHARACTERS
from sql.aliases import set_alias
from sql.records import ReleaseRecord
from sql.store import open_database
from tests.report_nights import Answer, Nights
from tests.unit.predict.test_predict_loop import DAY, RELEASE


def test_the_run_id_of_a_shadow_differs_from_every_other_run() -> None:
    """Its name was cut at 128 characters: of a run with so long a name, it was the champion's own."""
    long, longer = "n" * MAX_NAME_CHARACTERS, "n" * (MAX_NAME_CHARACTERS - 1)
    tried = [
        *(
            (run_id, release_id)
            for run_id in (long, longer, "night")
            for release_id in ("c", "d", "r" * 127, "r" * 128)
        ),
        ("night.shadow.c", "d"),
        ("night", "c.shadow.d"),
    ]
    names = {shadow_run_id(*pair) for pair in tried}
    assert len(names) == len(tried)
    assert names.isdisjoint({long, longer, "night", "night.shadow.c", "night.shadow.c.shadow.d"})
    for name in names:
        replace(NIGHT, run_id=name)  # which refuses what is no name


def context(tmp_path: Path, release: Release) -> RunContext:
    spark = SparkConfig("local[1]", "1g", tmp_path)
    return RunContext(Places(tmp_path), spark, release, tmp_path, ProductSource("", "", {}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "release colours-1 is champion and challenger"),
        ({"release_id": "other", "taxonomy_version": "other"}, "only releases of the same categories"),
        (
            {"release_id": "other", "categories": RELEASE.categories[:2]},
            "answers with 2 categories of taxonomy",
        ),
    ],
)
def test_a_challenger_that_cannot_be_compared_is_refused(
    changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=sentence):
        check(context(tmp_path, RELEASE), context(tmp_path, replace(RELEASE, **changes)))


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (UsageError("no release is challenger; promote one"), "UsageError: no release is challenger"),
        (ReleaseError("w.h5 was altered"), "ReleaseError: w.h5 was altered"),
        (RELEASE, "UsageError: release colours-1 is champion and challenger"),
        (replace(RELEASE, release_id="old", taxonomy_version="old"), "only releases of the same categories"),
    ],
)
def test_the_error_of_a_challenger_is_reported_in_one_sentence(
    found: Release | Exception, sentence: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def challenger() -> RunContext:
        if isinstance(found, Exception):
            raise found
        return context(tmp_path, found)

    champion, database = context(tmp_path, RELEASE), open_database(f"sqlite:///{tmp_path}/s.db")
    done = try_challenger(champion, challenger, database, RunConfig("night", "nightly", DAY))
    assert done["state"] == "failed"
    assert sentence in done["reason"]
    [warning] = caplog.records
    assert sentence in warning.getMessage()
    assert "run night stays published" in warning.getMessage()
    assert not warning.exc_info, "what was foreseen needs no traceback"


NIGHT = RunConfig("nightly-2026-11-01", "nightly", DAY, dates=(DAY,))
ROW = {
    "kind": "nightly",
    "run_date": DAY,
    "state": "published",
    "release_id": "old",
    "summary": {},
    "retracted_at_utc": None,
}


def test_the_release_of_a_night_is_found_from_its_recorded_command_line() -> None:
    assert publisher(ROW, NIGHT) == "old"
    call = ["publish", "--run-date", str(DAY), "--release", "s3://shop/releases/old"]
    assert publisher({**ROW, "summary": {"call": call}}, NIGHT) == "s3://shop/releases/old"


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"state": "running"}, RunFailed, "is running, and .*: `shelfwise runs resume nightly-2026-11-01`"),
        ({"state": "failed"}, RunFailed, "is failed, and a challenger answers what is published; go on with it first"),
        ({"kind": "backfill"}, UsageError, "is the backfill run of 2026-11-01 and not the night 2026-11-01; leave --r"),
        ({"run_date": date(2026, 10, 31)}, UsageError, "is the nightly run of 2026-10-31 and not the night 2026-11-01"),
    ],
)
def test_a_night_that_is_not_published_is_refused(
    changes: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        publisher({**ROW, **changes}, NIGHT)


def test_the_challenger_is_compared_with_the_publishing_release_and_cannot_change_the_night(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def shadow() -> Any:
        cli.main_group.main(["shadow", "--run-date", str(DAY), "--json"], standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    with pytest.raises(UsageError, match="no run 'nightly-2026-11-01'; the latest are: there is none yet"):
        shadow()
    assert not home.exists(), "it has only read"
    database, moment = open_database(Settings().url), datetime(2026, 11, 2, tzinfo=UTC)
    home.mkdir()
    database.make()
    nights = Nights(database, Places(home), {"shop.red": "Red"})
    nights.release = ReleaseRecord(SHIPPED.name, "taxonomy-1")
    nights.night([Answer("p", "shop.red")], images=False)
    set_alias(database, "champion", ReleaseRecord("gone-1", "taxonomy-1"), changed_by="ada", at_utc=moment)
    alone = shadow()
    assert (alone["run_id"], alone["champion"], alone["state"]) == (NIGHT.run_id, SHIPPED.name, "failed")
    assert "no release is challenger; promote one" in alone["reason"]
    set_alias(database, "challenger", nights.release, changed_by="ada", at_utc=moment)
    assert f"release {SHIPPED.name} is champion and challenger" in shadow()["reason"]

"""Marks of running ingests: which count, and that prune looks at them before each file."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs.dataset.ingest_marks import COUNTS_FOR, ingest_marked, running_ingests
from jobs.errors import RunFailed
from jobs.housekeeping import prune
from jobs.housekeeping.partitions import delete_images
from jobs.storage.places import Place, Places
from tests.labelled import DAY, RED, write_labelled
from tests.unit.housekeeping.test_prune import NIGHT_2, FakeRecords, config, dates


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def mark(places: Places, text: str) -> Path:
    path = Path(str(places.ingests)) / "ingesting-1.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_an_ingest_that_fails_leaves_no_mark(places: Places) -> None:
    with pytest.raises(RunFailed), ingest_marked(places):
        assert [ingest.holder.rpartition(":")[2] for ingest in running_ingests(places)] == [str(os.getpid())]
        raise RunFailed("no Spark master can be reached")
    assert running_ingests(places) == []


def test_an_ingest_on_another_machine_counts_for_a_day(places: Places, caplog: pytest.LogCaptureFixture) -> None:
    for age, counts in ((timedelta(hours=23), True), (COUNTS_FOR + timedelta(minutes=1), False)):
        began = (datetime.now(UTC) - age).isoformat()
        path = mark(places, json.dumps({"host": "worker-7", "pid": 1, "began_at_utc": began}))
        assert [ingest.holder for ingest in running_ingests(places)] == (["worker-7:1"] if counts else [])
        assert (f"{path} is of an ingest in worker-7:1 that was killed; delete that file" in caplog.text) is not counts


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"host": "h", "pid": "x", "began_at_utc": "2026"}'])
def test_a_damaged_mark_counts_by_its_age(places: Places, text: str) -> None:
    path = mark(places, text)
    assert len(running_ingests(places)) == 1
    os.utime(path, (0, 0))
    assert running_ingests(places) == []


def test_a_prune_ends_before_the_next_file_when_an_ingest_begins(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version, day in enumerate((DAY, NIGHT_2, NIGHT_2 + timedelta(days=1)), 1):
        write_labelled(places, [("p", RED, [0])], day=day, version=version)

    def delete_while_an_ingest_begins(where: Places, file: Place) -> None:
        delete_images(where, file)
        began = datetime.now(UTC).isoformat()
        mark(places, json.dumps({"host": "worker-7", "pid": 1, "began_at_utc": began}))

    monkeypatch.setattr(prune, "delete_images", delete_while_an_ingest_begins)
    with pytest.raises(RunFailed, match="an ingest is running in worker-7:1 since"):
        prune.run(FakeRecords(), config(places))
    assert dates(places)[0] == NIGHT_2, "the first date was deleted, and the second stays"

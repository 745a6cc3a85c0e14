"""What a person types about runs that were taken back and products that have left, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import main as cli
from sql.store import ProductDatabase, open_database
from tests.sql.runs import BOOT, NEWER_RELEASE, combine_by, image_change, prediction, publish


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProductDatabase:
    """A night of two products, of which the second one left in the next night, and a backfill."""
    url = f"sqlite:///{tmp_path}/shelfwise.db"
    monkeypatch.setenv("SHELFWISE_DATABASE_URL", url)
    monkeypatch.setenv("SHELFWISE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("jobs.releases.records.decider", combine_by)  # the releases of these rows have no thresholds
    database = open_database(url)
    database.upgrade()
    publish(database, [prediction("p"), prediction("q")])
    publish(database, image_changes=[image_change("q", "left", night=1)], night=1)
    publish(database, [prediction("p", BOOT)], night=2, release=NEWER_RELEASE, run_id="backfill")
    return database


def shelfwise(
    arguments: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["shelfwise", *arguments.split()])
    code = 0
    try:
        cli.main()
    except SystemExit as left:
        code = int(left.code or 0)
    return code, *capfd.readouterr()


def test_a_run_is_retracted_once(
    database: ProductDatabase, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def ask(arguments: str) -> tuple[int, str, str]:
        return shelfwise(arguments, monkeypatch, capfd)

    code, out, _ = ask("runs retract backfill --by ada --why wrong --json")
    assert (code, json.loads(out)["predictions_deleted"], json.loads(out)["products_changed"]) == (0, 1, 1)
    for refused, reason in (
        ("runs retract backfill --by ada", "was retracted already, by ada"),
        ("runs retract backfil --by ada", "There is no run 'backfil'; the nearest are 'backfill'"),
        ("runs retract backfill", "Missing option '--by'"),
    ):
        code, _, err = ask(refused)
        assert (code, len(err.strip().splitlines()) == 1 or "Usage" in err, reason in err) == (2, True, True), err
    shown: dict[str, Any] = json.loads(ask("runs show backfill --json")[1])
    assert (shown["state"], shown["summary"]["retracted"]) == ("published", {"by": "ada", "why": "wrong"})
    listed = json.loads(ask("runs list --json")[1])["runs"]
    assert {run["run_id"] for run in listed if run["retracted_at_utc"]} == {"backfill"}


def test_products_that_have_left_are_listed_on_request(
    database: ProductDatabase, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = shelfwise("query current_categories --include-left --format json", monkeypatch, capfd)
    assert code == 0
    assert {row["product_id"]: row["left_at"] for row in json.loads(out)} == {"p": None, "q": "2026-11-02"}
    code, _, err = shelfwise("query review_queue --include-left", monkeypatch, capfd)
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert "cannot include products that have left" in err

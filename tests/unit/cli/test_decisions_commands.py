"""What a person does with a file of decisions: the review queue out, filled in, imported, and taken back."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from jobs.storage.places import Places
from sql.records import ReleaseRecord
from sql.store import ProductDatabase, open_database
from tests.report_nights import Answer, Nights
from tests.unit.cli.test_allow_picture import ask


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProductDatabase:
    """A night of three products, all of which wait for a person."""
    url = f"sqlite:///{tmp_path}/shelfwise.db"
    monkeypatch.setenv("SHELFWISE_DATABASE_URL", url)
    monkeypatch.setenv("SHELFWISE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    database = open_database(url)
    database.upgrade()
    nights = Nights(database, Places(tmp_path / "home"), {"shop.shirt": "Shirt", "shop.shoe": "Shoe"})
    nights.release = ReleaseRecord("release-1", "taxonomy-1", {"thresholds": {}, "floor": 0.2})
    run = nights.run_of(0)
    answers = (Answer(name, "shop.shirt").prediction(run.run_date) for name in ("-p", "q", "r"))
    nights.publish(run, [(*row[:13], "shared_picture", *row[14:]) for row in answers], [])
    return database


def filled(source: Path, target: Path, categories: dict[str, str]) -> None:
    """Add a column category_id, as a person does in a spreadsheet that writes semicolons."""
    with source.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    with target.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "Category_ID"], delimiter=";")
        writer.writeheader()
        writer.writerows({**row, "Category_ID": categories.get(row["product_id"], "")} for row in rows)


@pytest.mark.usefixtures("database")
def test_the_review_queue_is_filled_in_imported_and_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out_of = "query review_queue --format csv --safe --bom --output queue.csv"
    assert ask(out_of, monkeypatch, capfd)[0] == 0
    code, _, err = ask("override import queue.csv --by ada", monkeypatch, capfd)
    assert (code, "add the column category_id" in err) == (2, True)

    filled(tmp_path / "queue.csv", tmp_path / "done.csv", {"'-p": "shop.shoe", "q": "shop.shirt"})
    code, out, err = ask("override import done.csv --by ada --json", monkeypatch, capfd)
    counts = {"changed": 2, "agreed": 0, "replaced": 0, "replaced_newer": 0}
    assert (code, json.loads(out)) == (0, {"file": "done.csv", "decisions": 2, **counts}), err

    (tmp_path / "other.csv").write_text("product_id,category_id\n-p,shop.shirt\nq,shop.shirt\n")
    code, out, err = ask("override import other.csv --by jon --json", monkeypatch, capfd)
    done = json.loads(out)
    assert (done["changed"], done["agreed"], done["replaced"]) == (1, 1, 1)
    assert "decisions of people that this import replaced: 1: '-p' (shop.shoe by ada)" in err

    code, out, _ = ask("override clear --file done.csv --by ada --json", monkeypatch, capfd)
    assert (code, json.loads(out)) == (0, {"cleared": 2, "with_prediction": 2})
    code, _, err = ask("override clear q r --by ada", monkeypatch, capfd)
    assert (code, "No person decided on product 'q', 'r'" in err) == (2, True)


@pytest.mark.usefixtures("database")
def test_an_import_of_a_database_could_not_be_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The help of `override import` promised it, and the bytes of the database were read as text."""
    for words in ("override set q shop.shoe --by ada", "override set r shop.shirt --by ada"):
        assert ask(words, monkeypatch, capfd)[0] == 0
    shutil.copy(tmp_path / "shelfwise.db", tmp_path / "former.db")
    assert ask("override clear q r --by ada", monkeypatch, capfd)[0] == 0
    code, out, err = ask("override import former.db --json", monkeypatch, capfd)
    assert (code, json.loads(out)["changed"]) == (0, 2), err
    code, out, err = ask("override clear --file former.db --by ada --json", monkeypatch, capfd)
    assert (code, json.loads(out)) == (0, {"cleared": 2, "with_prediction": 2}), err
    code, _, err = ask("override clear --file former.db --by ada", monkeypatch, capfd)
    assert (code, "No person decided on product 'q', 'r'" in err) == (2, True)


@pytest.mark.usefixtures("database")
def test_products_to_clear_are_named_or_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.csv").write_text("product_id\nq\n")
    for arguments in ("override clear --by ada", "override clear q --file p.csv --by ada"):
        code, _, err = ask(arguments, monkeypatch, capfd)
        assert (code, "give the PRODUCT_IDS to clear, or a file" in err) == (2, True)
    assert ask("override set q shop.shoe --by ada", monkeypatch, capfd)[0] == 0
    code, out, _ = ask("override clear q --by ada --json", monkeypatch, capfd)
    assert (code, json.loads(out)) == (0, {"product_id": "q", "has_prediction": True})

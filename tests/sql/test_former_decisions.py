"""The decisions of a database that was set aside are taken over, and nothing of its content is trusted."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.cli.decisions_file import read_decisions
from jobs.errors import UsageError
from sql.errors import DatabaseError, UnknownNameError
from sql.former_decisions import read_former_decisions
from sql.overrides import Override, accept_suggestions, clear_override, record_overrides, set_overrides
from sql.store import ProductDatabase, open_database
from tests.sql.runs import BOOT, SHIRT, T_SHIRT, answer, combine_by, dump, of_another_version, prediction, publish

MOMENT = datetime(2026, 10, 1, 12, 30, tzinfo=UTC)


@pytest.fixture
def old(migrated_sqlite: Path, tmp_path: Path) -> Path:
    """A database of an earlier version with decisions that were made, changed and taken back."""
    path = tmp_path / "old.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    database = open_database(f"sqlite:///{path}")
    publish(database, [prediction(name, SHIRT, status="review") for name in "pqrs"])
    set_overrides(database, [Override("p", T_SHIRT), Override("q", BOOT)], decided_by="maria", at_utc=MOMENT)
    set_overrides(database, [Override("p", BOOT, "it has laces")], decided_by="jon", at_utc=MOMENT)
    clear_override(database, "q", decided_by="maria", combine_by=combine_by)
    accept_suggestions(database, ["r"], decided_by="maria", at_utc=MOMENT)
    of_another_version(database)
    return path


def edit(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.executescript(statement)


def test_current_decisions_are_imported_with_their_person_and_time(database: ProductDatabase, old: Path) -> None:
    publish(database, [prediction(name, SHIRT) for name in "pqrs"])
    assert set_overrides(database, read_decisions(old, None)) == 2
    taken = {row[1]: (row[3], row[4], row[5], row[9]) for row in dump(database)["overrides"]}
    assert {name: row[:3] for name, row in taken.items()} == {
        "p": (BOOT, "jon", "it has laces"),
        "r": (SHIRT, "maria", None),
    }
    assert {row[3] for row in taken.values()} == {MOMENT}
    assert [answer(database, name)["status"] for name in "pqrs"] == ["manual", "auto", "manual", "auto"]
    assert set_overrides(database, read_decisions(old, None)) == 0


def test_none_of_the_categories_is_imported_as_long_as_it_stands(database: ProductDatabase, old: Path) -> None:
    path = old.with_name("newer.db")
    path.write_bytes(old.read_bytes())
    edit(path, "UPDATE overrides SET action = 'none', category_id = NULL WHERE action <> 'clear'")
    edit(path, "UPDATE product_categories SET status = 'unknown', decided = (product_id = 'p')")
    publish(database, [prediction(name, SHIRT) for name in "pqrs"])
    done = record_overrides(database, read_decisions(path, None), came_by="import")
    assert done.changed == 1, "another picture's answer has replaced what was decided on r"
    found = answer(database, "p")
    assert (found["category_id"], found["status"], found["decided"]) == (None, "unknown", True)
    (row,) = dump(database)["overrides"]
    assert (row[2], row[3], row[4], row[9], row[10]) == ("none", None, "jon", MOMENT, "import")
    assert record_overrides(database, read_decisions(path, None), came_by="import").changed == 0
    record_overrides(database, [Override("p", BOOT)], decided_by="jon")
    assert record_overrides(database, read_decisions(path, None)).examples == (("p", BOOT, "jon", True),)
    edit(path, "ALTER TABLE product_categories RENAME COLUMN decided TO something_else")
    assert [each.product_id for each in read_former_decisions(path)] == ["p", "r"], "a version that does not say"


def test_a_product_missing_in_the_new_database_refuses_the_whole_import(database: ProductDatabase, old: Path) -> None:
    publish(database, [prediction("p", SHIRT)])
    before = dump(database)
    with pytest.raises(UnknownNameError, match="does not know 'r'"):
        set_overrides(database, read_former_decisions(old))
    assert dump(database) == before


def test_the_old_database_is_only_read(old: Path) -> None:
    before = old.read_bytes()
    old.chmod(0o400)
    assert [decision.product_id for decision in read_former_decisions(old)] == ["p", "r"]
    assert old.read_bytes() == before


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE overrides SET decided_by = ' ' WHERE product_id = 'p'", "product 'p' .* no valid decided_by"),
        ("UPDATE overrides SET decided_by = x'00' WHERE product_id = 'p'", "product 'p' .* no valid decided_by"),
        ("DELETE FROM overrides", "holds no decision that stands"),
        ("UPDATE overrides SET category_id = x'00'", "no valid category_id"),
        ("UPDATE overrides SET action = 'none'", "no valid category_id"),
        ("UPDATE overrides SET category_id = NULL", "no valid category_id"),
        ("UPDATE overrides SET decided_at_utc = 'yesterday'", "no valid decided_at_utc"),
        ("UPDATE overrides SET decided_at_utc = 20261101", "no valid decided_at_utc"),
        ("UPDATE overrides SET why = x'ff'", "no valid why"),
        ("DROP TABLE overrides; CREATE VIEW overrides AS SELECT 1 AS product_id", "has no table overrides"),
    ],
)
def test_hostile_content_is_refused(old: Path, statement: str, message: str) -> None:
    edit(old, statement)
    with pytest.raises(ValueError, match=message):
        read_former_decisions(old)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE overrides DROP COLUMN decided_by",
        "UPDATE overrides SET why = CAST(x'ff' AS TEXT)",
    ],
)
def test_a_database_that_cannot_be_read_gives_one_sentence(old: Path, statement: str) -> None:
    edit(old, statement)
    with pytest.raises(DatabaseError, match=r"old\.db"):
        read_former_decisions(old)


def test_text_of_people_is_imported_unchanged(database: ProductDatabase, old: Path) -> None:
    publish(database, [prediction(name, SHIRT) for name in "pqrs"])
    nasty = "'); DELETE FROM overrides; -- \" \\ \t\n :p %s"
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("UPDATE overrides SET why = ?, decided_by = ?", (nasty, nasty))
    set_overrides(database, read_former_decisions(old))
    assert {row[4:6] for row in dump(database)["overrides"]} == {(nasty, nasty)}


def test_the_person_comes_from_the_file_or_the_option_but_not_both(old: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave --by out"):
        read_decisions(old, "ada")
    file = tmp_path / "decisions.csv"
    file.write_text("product_id,category_id\np,x\n", encoding="utf-8")
    with pytest.raises(UsageError, match="add --by NAME"):
        read_decisions(file, None)
    assert read_decisions(file, "ada") == [Override("p", "x", None, "ada")]


def test_a_damaged_database_gives_one_sentence(old: Path) -> None:
    old.write_bytes(old.read_bytes()[:5000])
    with pytest.raises(DatabaseError, match=r"old\.db"):
        read_former_decisions(old)

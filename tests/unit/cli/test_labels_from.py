"""`--labels-from`: whose labels a training learns, and what happens where no decision can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.cli.finetune_options import selection_of
from jobs.cli.labels_from import decisions_of
from jobs.cli.main import main_group
from jobs.dataset.decided_labels import Decided, no_decisions
from jobs.settings import Settings
from jobs.storage.places import Places
from sql.errors import DatabaseError
from sql.store import open_database
from tests.labelled import LEAVES, write_labelled

COMMANDS = {
    "finetune": ("finetune", "--release-id", "shop-1", "--start-from", "nothing"),
    "quick": ("finetune", "--quick", "--release-id", "shop-1"),
    "export-arrays": ("export-arrays", "--output", "shop.npz", "--side-px", "16"),
}


@pytest.fixture(autouse=True)
def place(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_labelled(Places(home), [(f"p{number}", LEAVES[number % 3], [number % 3]) for number in range(90)])
    return home


def called(*words: str) -> Any:
    return CliRunner().invoke(main_group, words, catch_exceptions=False, standalone_mode=False)


def test_without_a_database_nobody_has_decided_anything_and_none_is_made(place: Path) -> None:
    assert decisions_of(Settings(), "both")(None) == Decided()
    called(*COMMANDS["export-arrays"])
    assert Path("shop.npz").is_file()
    assert sorted(path.name for path in place.iterdir()) == ["images"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("state", ["of another version", "damaged", "not migrated"])
def test_a_database_that_cannot_be_read_gives_one_sentence_before_anything_begins(
    command: str, state: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = place / "shelfwise.db"
    if state == "damaged":
        file.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    elif state == "of another version":
        database = open_database(f"sqlite:///{file}")
        database.upgrade()
        with database.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE shelfwise_version SET version_num = 'another'")
    else:
        monkeypatch.setenv("SHELFWISE_DATABASE_URL", f"sqlite:///{tmp_path / 'other.db'}")
    with pytest.raises(DatabaseError) as told:
        called(*COMMANDS[command])
    assert str(told.value).count("\n") == 0
    assert not Path("shop.npz").exists()
    assert sorted(path.name for path in place.iterdir()) in (["images"], ["images", "shelfwise.db"])


def test_with_the_catalog_alone_no_database_is_opened(place: Path) -> None:
    (place / "shelfwise.db").write_text("no database")
    called(*COMMANDS["export-arrays"], "--labels-from", "catalog")
    assert Path("shop.npz").is_file()
    assert decisions_of(Settings(), "catalog") is no_decisions


def test_another_source_of_labels_is_refused() -> None:
    done = CliRunner().invoke(main_group, [*COMMANDS["finetune"], "--labels-from", "machine"])
    assert done.exit_code == 2
    assert "'machine' is not one of 'catalog', 'people', 'both'" in done.output


def test_both_is_the_default() -> None:
    parameters = dict.fromkeys(("taxonomy", "first", "last", "min_products", "labels"))
    chosen = selection_of(Settings(), {**parameters, "taxonomy_version": "", "leave_out": (), "labels_from": "both"})
    assert (chosen.labels_from, chosen.decisions(None)) == ("both", Decided())
    [option] = [each for each in main_group.commands["finetune"].params if each.name == "labels_from"]
    assert option.default == "both"

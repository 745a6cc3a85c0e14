"""Who follows sql/BACKUP.md has the shop back as it was, and its nights go on; every command of the page is run."""

from __future__ import annotations

import shlex
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SmallShop
from tests.end_to_end.conftest import Shelfwise, dump
from tests.pages import chapter, dead_links, shell_lines

pytestmark = pytest.mark.usefixtures("one_spark")

FOLDER = Path(__file__).parents[2] / "sql"
PAGE = (FOLDER / "BACKUP.md").read_text(encoding="utf-8")
LINES = shell_lines(chapter(PAGE, "SQLite"))
OF_RESULTS = (
    "category_predictions",
    "product_categories",
    "product_images",
    "products",
    "overrides",
    "rejected_images",
)
MOMENTS = ("predicted_at_utc", "updated_at_utc")
"""Columns with the time of a publish."""


def results(home: Path) -> dict[str, Any]:
    """Return what the nights have published, without the times at which they did."""
    found = {}
    with closing(sqlite3.connect(home / "shelfwise.db")) as connection:
        for name in OF_RESULTS:
            rows = connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2, 3")
            names = [column[0] for column in rows.description]
            found[name] = [
                {column: value for column, value in zip(names, row, strict=True) if column not in MOMENTS}
                for row in rows
            ]
    return found


def shop_csv(shop: SmallShop) -> Path:
    """Write the catalog under the name that the page gives it."""
    return Path(shutil.copy(shop.catalog, shop.directory / "shop.csv"))


class Reader:
    """Runs the page's lines in a directory, the commands of shelfwise in this process."""

    def __init__(self, shelfwise: Shelfwise, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shelfwise, self.directory, self.monkeypatch = shelfwise, directory, monkeypatch
        self.lines = list(LINES)

    def follow(self, program: str) -> None:
        """Run the next line, which starts with this word."""
        line = self.lines.pop(0)
        words = shlex.split(line)
        assert words[0] == program, line
        if program == "export":
            name, value = words[1].split("=")
            self.monkeypatch.setenv(name, value.replace("$PWD", str(self.directory)))
        elif program == "shelfwise":
            done = self.shelfwise(*words[1:])
            assert done.code == 0, (line, done.err)
        else:
            subprocess.run(line, shell=True, cwd=self.directory, check=True)


@pytest.mark.timeout(600)  # four nights, and the machine may be busy
def test_a_shop_is_restored_as_it_was_and_goes_on(
    shelfwise: Shelfwise, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reader, shop = Reader(shelfwise, tmp_path, monkeypatch), SmallShop(tmp_path)
    shop.add_many([f"p{number}" for number in range(4)])
    shelfwise.night(shop_csv(shop), "2026-11-01")
    [category, *_] = shelfwise("query", "taxonomy", "--format", "json").json
    shelfwise.done("override", "set", "p0", category["category_id"], "--by", "ada")
    before = dump(home)
    reader.follow("shelfwise")  # the database is copied, and a night is published before the files are

    shop.add("p1", seed=1234)
    shop.add("new")
    shelfwise.night(shop_csv(shop), "2026-11-02")
    after = results(home)
    (home / "people.json").write_text("{}", encoding="utf-8")
    for cache in ("engines/one.xml", "java/spark-1-9.jsa", "ingests/ingesting-1.json"):
        (home / cache).parent.mkdir(exist_ok=True)
        (home / cache).touch()
    reader.follow("tar")
    for program in ("mkdir", "tar", "cp", "export", "shelfwise", "shelfwise"):
        reader.follow(program)
    restored = tmp_path / "restored"
    assert dump(restored) == before
    assert (restored / "people.json").is_file(), "whoever reviews can still log in"
    names = {str(path.relative_to(restored)).partition("/")[0] for path in restored.rglob("*")}
    assert not names & {"scratch", "engines", "features", "java"}
    assert [path.name for path in (restored / "ingests").glob("*.json")] == [], "no ingest is running there"

    reader.follow("shelfwise")
    assert reader.lines == []
    assert results(restored) == after, "the night that came after the copy is published from its files"
    shop.add("newer")
    third = shelfwise.night(shop_csv(shop), "2026-11-03")
    assert (third["ingest"]["images_stored"], third["ingest"]["images_unchanged"]) == (1, 5)


def test_every_link_of_the_page_leads_somewhere() -> None:
    assert dead_links(PAGE, FOLDER) == []

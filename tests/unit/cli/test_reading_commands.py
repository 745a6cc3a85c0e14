"""Commands that only read make no home."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from jobs.cli import main as cli
from jobs.settings import Settings
from sql.store import open_database


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["shelfwise", *arguments])
    try:
        cli.main()
    except SystemExit as leave:
        return int(leave.code or 0)
    return 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--help",), 0),
        (("nightly", "--help"), 0),
        (("query",), 0),
        (("query", "category_counts"), 0),
        (("runs", "list"), 0),
        (("runs", "show", "nightly-2026-11-01"), 2),
        (("runs", "resume", "nightly-2026-11-01"), 2),
        (("report", "--run-id", "nightly-2026-11-01"), 2),
        (("shadow", "--run-date", "2026-11-01"), 2),
        (("release", "list"), 0),
        (("release", "show"), 0),
        (("release", "verify"), 0),
        (("catalog", "check", "shop.csv"), 0),
        (("review", "people", "list"), 0),
        (("db", "check"), 1),
        (("db", "prune", "--keep-runs", "3", "--dry-run"), 0),
        (("backfill", "--from", "2026-11-01", "--to", "2026-11-02", "--dry-run"), 2),
    ],
)
def test_a_command_that_only_reads_made_a_home(
    arguments: tuple[str, ...], code: int, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.csv").write_text("product_id,image_uri\np1,p1.jpg\n")
    assert run(monkeypatch, *arguments) == code
    assert not home.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["shop.csv"]


def test_a_query_without_a_home_says_that_nothing_is_there(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    assert run(monkeypatch, "query", "category_counts", "--format", "json") == 0
    assert capsys.readouterr().out == "[]\n"
    assert [record.message for record in caplog.records] == [
        f"nothing is there yet: the first night makes {home / 'shelfwise.db'}"
    ]


def test_a_query_of_a_home_reads_its_database(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home.mkdir()
    open_database(Settings().url).upgrade()
    copy = home.with_name("copy")
    shutil.copytree(home, copy)
    caplog.set_level("INFO")
    assert run(monkeypatch, "query", "category_counts") == 0
    assert "nothing is there yet" not in caplog.text
    assert {path.name: path.read_bytes() for path in home.iterdir()} == {
        path.name: path.read_bytes() for path in copy.iterdir()
    }


def test_a_query_for_a_spreadsheet_begins_with_a_byte_order_mark(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "counts.csv"
    assert run(monkeypatch, "query", "category_counts", "--format", "csv", "--bom", "--output", str(target)) == 0
    assert target.read_bytes().startswith(b"\xef\xbb\xbfcategory_id,")

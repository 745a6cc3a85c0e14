"""Texts of catalogs cannot command the terminal or the spreadsheet of the person who reads them."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import pty
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner

from jobs.catalog.errors import catalog_error
from jobs.catalog.recognise import recognise
from jobs.cli import main as cli
from jobs.cli import output
from jobs.errors import RunFailed, UsageError
from jobs.wording import one_line, printable

TITLE = "\x1b]0;x\x07"
"""Sets the title of the terminal's window."""
C1 = "a\x9b2Jb"
"""Clears the screen by one character of C1."""
REVERSED = "a\u202egpj.exe\u2066"
HOSTILE = f"{TITLE}{C1}{REVERSED}\x7f\u2028\udcff"


def unsafe(text: str) -> list[str]:
    ranges = ((0, 8), (11, 31), (127, 159), (0x2028, 0x202E), (0x2066, 0x2069), (0xD800, 0xDFFF))
    return [each for each in text if any(first <= ord(each) <= last for first, last in ranges)]


def test_control_characters_and_directions_are_replaced_and_other_texts_stay() -> None:
    assert unsafe(HOSTILE)
    assert not unsafe(printable(HOSTILE))
    assert printable(TITLE) == "\ufffd]0;x\ufffd"
    kept = "caf\xe9 \u4f60\u597d \u05d0\u200f \U0001f600 \xa0 a\tb\nc"
    assert printable(kept) == kept
    assert one_line("a\r\nb\tc") == "a\ufffd\ufffdb\ufffdc"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["shelfwise", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(str(caught.value.code))


def test_the_header_of_a_catalog_does_not_reach_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "shop.csv"
    path.write_text(f"{TITLE},{C1},{REVERSED}\n1,2,3\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        recognise(path)
    assert not unsafe(str(caught.value)), "a task's message reaches logs of Spark too"

    monkeypatch.setattr(cli, "main_group", lambda **_: recognise(path))
    assert run(monkeypatch) == 2
    shown = capsys.readouterr().err
    assert "has no column product_id" in shown
    assert not unsafe(shown)
    assert len(shown.splitlines()) == 1


@pytest.mark.parametrize(
    "error", [UsageError(HOSTILE), RunFailed(HOSTILE), click.UsageError(HOSTILE), OSError(28, "", HOSTILE)]
)
def test_no_error_commands_the_terminal(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(cli, "main_group", fail)
    assert run(monkeypatch) in (1, 2)
    shown = capsys.readouterr().err
    assert "gpj.exe" in shown
    assert not unsafe(shown)


def test_the_refusal_of_an_option_is_shown_as_click_shows_it_without_what_commands_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "query", "--format", TITLE) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("Usage: ")
    assert "is not one of" in shown
    assert shown.endswith(".\n")
    assert not shown.endswith("\n\n")
    assert not unsafe(shown)


def test_an_error_of_a_catalog_is_one_line() -> None:
    assert str(catalog_error("a\nb.csv", f"has {HOSTILE}\r\n")).count("\n") == 0
    assert not unsafe(str(catalog_error(f"{HOSTILE}.csv", "")))


def logged(message: str, *arguments: object, **options: Any) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(output.PrintableFormatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.warning(message, *arguments, **options)
    return stream.getvalue()


def test_a_log_line_is_one_line_and_commands_no_terminal() -> None:
    shown = logged("product %s has %d images", f"{HOSTILE}\n00:00:00 the night was good", 3)
    assert shown.count("\n") == 1
    assert not unsafe(shown)
    assert shown.endswith("the night was good has 3 images\n")


def test_a_traceback_in_the_log_keeps_its_lines_and_commands_no_terminal() -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        shown = logged("failed", exc_info=True)
    assert "\nTraceback (most recent call last):\n  File " in shown
    assert not unsafe(shown)


def test_the_command_line_formats_its_log_so(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    output.configure_logging()
    [handler] = root.handlers
    assert isinstance(handler.formatter, output.PrintableFormatter)
    assert isinstance(handler, logging.StreamHandler)
    assert handler.stream is sys.stderr
    assert logging.getLogger("urllib3").level == logging.WARNING, "at DEBUG it logs whole links"


def test_summaries_and_tables_command_no_terminal_and_show_markup_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    odd = f"[bold]{HOSTILE}[/bold] :smile: [link=https://a.example]a[/link]"
    output.summary({odd: {odd: odd}, "list": [odd]}, as_json=False)
    output.summary({odd: odd}, as_json=True)
    output.table([odd], [[odd], [3]], title=None)
    output.line(odd)
    shown = capsys.readouterr().out
    assert not unsafe(shown.replace("\x7f", ""))  # JSON leaves DEL as it is, which no terminal acts upon
    assert shown.count("[bold]") == shown.count("[/bold]") >= 8
    assert shown.count(":smile:") >= 8
    assert "[link=https://a.example]a[/link]" in shown


RESULT = SimpleNamespace(
    columns=("text",),
    rows=[[each] for each in ("=1+1", "+a", "-a", "@a", "\ta", "\ra", "\na", "\uff1da", "'a", "a=1", "", None)]
    + [[each] for each in (-1, -1.5, "-1", "+49", "-1.5e-3", True, {"a": 1}, ["=1"])],
)


def cells(**options: Any) -> list[str]:
    stream = io.StringIO(newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        output.rows(RESULT, "csv", **options)
    return [row[0] if row else "" for row in csv.reader(io.StringIO(stream.getvalue(), newline=""))][1:]


def test_with_safe_no_text_begins_like_a_formula_and_numbers_stay_numbers() -> None:
    assert cells(safe=True)[:12] == [
        *("'=1+1", "'+a", "'-a", "'@a", "'\ta", "'\ra", "'\na", "'\uff1da", "'a", "a=1", "", "")
    ]
    assert cells(safe=True)[12:] == ["-1", "-1.5", "-1", "+49", "-1.5e-3", "True", '{"a": 1}', '["=1"]']


def test_no_cell_of_csv_begins_a_row_of_its_own(tmp_path: Path) -> None:
    result = SimpleNamespace(columns=("a", "b"), rows=[["a\r=1+1", "b\n=1"]])
    output.rows(result, "csv", tmp_path / "a.csv", safe=True)
    assert (tmp_path / "a.csv").read_bytes() == b'a,b\n"a\r=1+1","b\n=1"\n'


def test_without_safe_texts_are_written_as_they_are() -> None:
    assert cells()[:8] == ["=1+1", "+a", "-a", "@a", "\ta", "\ra", "\na", "\uff1da"]


def test_a_spreadsheet_took_csv_for_another_encoding_without_a_byte_order_mark(tmp_path: Path) -> None:
    result = SimpleNamespace(columns=("text",), rows=[["größe"]])
    output.rows(result, "csv", tmp_path / "a.csv", bom=True)
    assert (tmp_path / "a.csv").read_bytes() == b"\xef\xbb\xbftext\n" + "größe\n".encode()
    output.rows(result, "csv", tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes().startswith(b"text\n")


@pytest.mark.parametrize("option", ["--safe", "--bom"])
def test_safe_is_for_csv_alone(option: str, home: Path) -> None:
    for form in ([], ["--format", "json"]):
        with pytest.raises(UsageError, match=f"{option} is for CSV: add --format csv"):
            CliRunner().invoke(
                cli.main_group,
                ["query", "category_counts", option, *form],
                catch_exceptions=False,
                standalone_mode=False,
            )
    shown = CliRunner().invoke(cli.main_group, ["query", "--help"]).stdout
    assert "apostrophe" in shown


def test_csv_is_printable_on_a_terminal_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = SimpleNamespace(columns=("text",), rows=[[C1]])
    output.rows(result, "csv", tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == f"text\n{C1}\n"
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal, os.fdopen(ours, "rb") as shown:
        monkeypatch.setattr(sys, "stdout", terminal)
        output.rows(result, "csv")
        terminal.flush()
        assert not unsafe(os.read(shown.fileno(), 1000).decode().replace("\r", ""))


def test_json_has_no_character_that_a_terminal_acts_upon(capsys: pytest.CaptureFixture[str]) -> None:
    output.rows(SimpleNamespace(columns=("text",), rows=[[HOSTILE]]), "json")
    shown = capsys.readouterr().out
    assert not unsafe(shown.replace("\x7f", ""))
    assert json.loads(shown) == [{"text": HOSTILE}]

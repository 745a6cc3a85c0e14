"""Wrong calls and broken surroundings: one sentence, the right exit code, nothing written."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook

from jobs.cli import main as cli
from models.release import SHIPPED
from tests.conftest import SmallShop
from tests.end_to_end.conftest import Shelfwise

NIGHT = ("--run-date", "2026-11-01")


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in group.commands.items():
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


@pytest.mark.parametrize(("path", "command"), commands(cli.main_group), ids=lambda value: str(value))
def test_every_command_has_help_with_an_example_that_parses(
    path: tuple[str, ...], command: click.Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "decisions.csv").touch()
    text = command.help or ""
    assert "Example:" in text, path
    line = next(line for line in text.split("Example:")[1].splitlines() if "shelfwise" in line)
    words = shlex.split(line[line.index("shelfwise") :])[1:]
    context: click.Context = click.Context(cli.main_group)
    group: click.Command = cli.main_group
    while isinstance(group, click.Group):
        group, words = group.commands[words[0]], words[1:]
    group.make_context("example", words, parent=context)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nightly", "--catalog", "x.csv"), "Missing option '--run-date'"),
        (("nightly", "--catalog", "x.csv", "--run-date", "01.11.2026"), "write it as 2026-11-01"),
        (("nightly", "--catalog", "x.csv", "--run-date", "2206-11-01"), "is in the future"),
        (("nightly", "--catalog", "x.csv", *NIGHT, "--max-rejected", "20"), "0.0<=x<=1.0"),
        (("nightly", "--catalog", "x.csv", *NIGHT, "--run-id", "../x"), "letters, digits"),
        (("nightly", "--catalog", "x.csv", *NIGHT, "--release", "none-such"), SHIPPED.name),
        (("backfill", "--from", "2026-11-02", "--to", "2026-11-01"), "is after"),
        (("backfill", "--from", "2026-11-01", "--to", "2026-11-02"), "no ingested images"),
        (("query", "none_such"), "category_counts"),
        (("query", "product_history"), "product_id"),
        (("query", "product_history", "--param", "product_id"), "NAME=VALUE"),
        (("query", "category_counts", "--format", "xml"), "'xml' is not one of"),
        (("tag",), "No such command"),
    ],
)
def test_a_wrong_call_is_exit_2_and_one_sentence(
    shelfwise: Shelfwise, arguments: tuple[str, ...], sentence: str
) -> None:
    done = shelfwise(*arguments)
    assert done.code == 2, done
    assert sentence in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def workbook(*rows: tuple[object, ...]) -> bytes:
    book, stream = Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    book.save(stream)
    return stream.getvalue()


def parquet(**columns: list[object]) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("bad.csv", b"id,image_uri\n1,a.jpg\n", "no column product_id"),
        ("bad.csv", b"product_id,image_uri\n", "is empty"),
        ("bad.csv", b"product_id,image_uri\np1,a.jpg\np1,b.jpg\n", "(p1, 0) 2 times"),
        ("bad.json", b'[\n{"product_id": 1, "image_uri": "a.jpg"},\n{"product_id": 2', "ends too soon, inside of what"),
        ("bad.xlsx", workbook(("product_id", "image_uri"), (1, "a"), (2.5, "b")), "has in row 3 the number '2.5' as"),
        (
            "bad.xml",
            b"<a><b><product_id>1</product_id><image_uri>a</image_uri></b>\n<b><product_id>2</product_id></c></a>",
            "is no XML in line 2 (mismatched tag)",
        ),
        ("bad.parquet", parquet(product_id=[1.0, 2.5], image_uri=["a", "b"]), "has in row 2 the number '2.5' as"),
    ],
)
def test_a_bad_catalog_is_exit_2_and_leaves_no_run(
    shelfwise: Shelfwise, home: Path, tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    done = shelfwise("nightly", "--catalog", tmp_path / name, *NIGHT, "--json")
    assert (done.code, done.out) == (2, "")
    assert (sentence in done.err, "Traceback" in done.err) == (True, False), done.err
    assert not (home / "images").exists()
    with sqlite3.connect(home / "shelfwise.db") as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)


def test_a_broken_release_is_refused_before_spark_starts(
    shelfwise: Shelfwise, shop: SmallShop, tiny_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_spark(*_args: object, **_options: object) -> None:
        raise AssertionError("Spark was started")

    monkeypatch.setattr("jobs.runs.night.spark_session", no_spark)
    shop.add("a")
    broken = tmp_path / "broken"
    shutil.copytree(tiny_release, broken)
    weights = next(broken.glob("*.weights.h5"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    altered = shelfwise("nightly", "--catalog", shop.catalog, *NIGHT, "--release", broken)
    assert (altered.code, "was altered" in altered.err) == (2, True)
    weights.unlink()
    lacking = shelfwise("nightly", "--catalog", shop.catalog, *NIGHT, "--release", broken)
    assert (lacking.code, "lacks" in lacking.err) == (2, True)


def test_a_database_that_is_not_migrated_names_the_command(
    shelfwise: Shelfwise, shop: SmallShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add("a")
    monkeypatch.setenv("SHELFWISE_DATABASE_URL", f"sqlite:///{tmp_path}/other.db")
    done = shelfwise("nightly", "--catalog", shop.catalog, *NIGHT)
    assert (done.code, done.out) == (1, "")
    assert "shelfwise db upgrade" in done.err
    assert shelfwise("db", "upgrade").code == 0
    assert shelfwise("query", "category_counts", "--format", "json").json == []


def test_a_database_of_a_newer_version_is_left_alone(
    shelfwise: Shelfwise, shop: SmallShop, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shelfwise("db", "upgrade").code == 0
    with sqlite3.connect(home / "shelfwise.db") as connection:
        connection.execute("UPDATE shelfwise_version SET version_num = '9999'")
    done = shelfwise("query", "category_counts")
    assert done.code == 1
    assert "newer" in done.err


def test_the_password_of_the_database_is_never_shown(shelfwise: Shelfwise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFWISE_DATABASE_URL", "postgresql://shop:s3cret@127.0.0.1:1/none")
    done = shelfwise("query", "category_counts")
    assert done.code == 1
    assert "s3cret" not in done.err + done.out


@pytest.mark.parametrize(
    ("name", "value"),
    [("SHELFWISE_DRIVER_MEMORY", "lots"), ("SHELFWISE_HOME", "/tmp/a,b"), ("SHELFWISE_HOME", "/a\nb")],
)
def test_a_wrong_setting_names_its_variable(
    shelfwise: Shelfwise, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    done = shelfwise("query", "category_counts")
    assert (done.code, name in done.err, "Traceback" in done.err) == (2, True, False)


def test_missing_or_old_java_is_one_sentence(
    shelfwise: Shelfwise, shop: SmallShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add("a")
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    done = shelfwise("ingest", "--catalog", shop.catalog, *NIGHT)
    assert (done.code, "Java 17 or 21" in done.err, "apt-get install" in done.err) == (1, True, True)


def test_planning_needs_no_tensorflow() -> None:
    program = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'jax', 'torch'): sys.modules[name] = None\n"
        "import jobs.predict.job, jobs.runs.night, jobs.cli.main\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr


def test_results_are_data_not_markup(shelfwise: Shelfwise, shop: SmallShop) -> None:
    shop.rows["[red]a[/red]\u00ad;DROP TABLE runs", 0] = shop.add("a").name
    del shop.rows["a", 0]
    done = shelfwise("nightly", "--catalog", shop.catalog, *NIGHT, "--json")
    assert done.code == 0, done.err
    assert "[red]a[/red]" in shelfwise("query", "current_categories").out
    rows = json.loads(shelfwise("query", "current_categories", "--format", "json").out)
    assert rows[0]["product_id"] == "[red]a[/red]\u00ad;DROP TABLE runs"
    csv_lines = shelfwise("query", "current_categories", "--format", "csv").out.splitlines()
    assert len(csv_lines) == 2


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("d.csv", "product_id,category_id\np1,\n", "row 1"),
        ("d.csv", "product_id,category_id\n", "no decision"),
        ("d.jsonl", '{"product_id": "p1"}\n', "no category_id"),
        ("d.jsonl", "{", "cannot be read"),
        ("d.csv", "product_id,category_id\np1,none.such\n", "does not know"),
        ("d.csv", "product_id,category_id\np1,x\np1,y\n", "p1"),
        ("d.jsonl", '{"product_id": "p1", "category_id": "x", "why": ["a"]}\n', "row 1"),
    ],
)
def test_a_file_of_decisions_is_taken_whole_or_not_at_all(
    shelfwise: Shelfwise, tmp_path: Path, name: str, text: str, sentence: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    done = shelfwise("override", "import", tmp_path / name, "--by", "ada")
    assert done.code == 2
    assert sentence in done.err
    assert "Traceback" not in done.err


def test_parquet_goes_to_a_file(shelfwise: Shelfwise, tmp_path: Path) -> None:
    assert shelfwise("query", "category_counts", "--format", "parquet").code == 2
    target = tmp_path / "counts.parquet"
    assert shelfwise("query", "category_counts", "--format", "parquet", "--output", target).code == 0
    assert "category_id" in pq.read_schema(target).names


@pytest.mark.parametrize("form", ["csv", "json", "table", "parquet"])
def test_a_file_that_cannot_be_written_is_a_sentence(shelfwise: Shelfwise, tmp_path: Path, form: str) -> None:
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "counts"
    done = shelfwise("query", "category_counts", "--format", form, "--output", target)
    assert (done.code, "cannot be written" in done.err, "Traceback" in done.err) == (2, True, False)
    assert shelfwise("query", "category_counts", "--format", form, "--output", tmp_path / "file").code == 0
    assert sorted(path.name for path in tmp_path.glob("*") if path.is_file()) == ["file"], "nothing else is left"


def test_a_value_that_is_no_text_is_a_sentence(shelfwise: Shelfwise) -> None:
    for query, parameter in (("product_history", "product_id"), ("current_of_products", "product_ids")):
        done = shelfwise("query", query, "--param", f"{parameter}=\udcff")
        assert (done.code, "is not text in UTF-8" in done.err) == (2, True)


def test_a_database_of_a_development_version_is_set_aside(shelfwise: Shelfwise, home: Path) -> None:
    assert shelfwise("db", "upgrade").code == 0
    with sqlite3.connect(home / "shelfwise.db") as connection:
        connection.execute("UPDATE shelfwise_version SET version_num = '0005'")
    failed = shelfwise("db", "check")
    assert (failed.code, "`shelfwise db upgrade --set-aside`" in failed.err) == (1, True)
    done = shelfwise("db", "upgrade", "--set-aside", "--json")
    (kept,) = home.glob("shelfwise-set-aside-*.db")
    assert (done.code, done.json["set_aside"]) == (0, str(kept))
    assert shelfwise("db", "check").code == 0
    assert "set_aside" not in shelfwise("db", "upgrade", "--set-aside", "--json").json
    empty = shelfwise("override", "import", kept)
    assert (empty.code, "holds no decision" in empty.err) == (2, True)

"""A file of the home that was damaged ends a run with one sentence; what the sentence says mends it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import SmallShop
from tests.end_to_end.conftest import Done, Shelfwise, ask, dump
from tests.extent import ALL

pytestmark = pytest.mark.usefixtures("one_spark")

NIGHT_1, NIGHT_2 = "2026-11-01", "2026-11-02"


def cut(file: Path) -> None:
    """Take away the footer's end."""
    file.write_bytes(file.read_bytes()[:-50])


def blank(file: Path) -> None:
    """Put zeros over every column; the footer stays sound."""
    data = bytearray(file.read_bytes())
    group = pq.read_metadata(file).row_group(0)
    for index in range(group.num_columns):
        column = group.column(index)
        start = column.dictionary_page_offset or column.data_page_offset
        data[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    file.write_bytes(data)


def of_another_version(file: Path) -> None:
    """Take two columns away."""
    pq.write_table(pq.read_table(file).drop(["jpeg", "title"]), file)


def refused(done: Done, file: Path, words: str) -> None:
    """See that a run ended with one sentence that names the file."""
    assert done.code == 1
    [sentence] = [line for line in done.err.splitlines() if line.startswith("shelfwise: ")]
    assert re.search(re.escape(str(file)) + words, sentence), sentence
    assert "Traceback" not in done.err


def only(directory: Path, pattern: str) -> Path:
    [found] = directory.rglob(pattern)
    return found


def test_a_catalog_whose_quotation_mark_is_not_closed_does_not_lose_rows_in_silence(
    shelfwise: Shelfwise, shop: SmallShop, home: Path
) -> None:
    shop.add_many([f"p{number:02d}" for number in range(60)])
    catalog = Path(shop.catalog)
    lines = catalog.read_text().splitlines(keepends=True)
    lines[11] = lines[11].rstrip("\r\n") + '"No 11\n'
    catalog.write_text("".join(lines))
    done = shelfwise("nightly", "--catalog", catalog, "--run-date", NIGHT_1)
    assert done.code == 2
    [sentence] = [line for line in done.err.splitlines() if line.startswith("shelfwise: ")]
    assert f"catalog {catalog} ends inside of a quoted value of the row of lines 12 to 61; close each" in sentence
    assert "Traceback" not in done.err
    assert not (home / "images").exists()


COMMANDS = {
    "nightly": ("--run-date", NIGHT_1),
    "predict": ("--run-date", NIGHT_1),
    "backfill": ("--from", NIGHT_1, "--to", NIGHT_1),
}


@pytest.mark.parametrize(
    ("damage", "commands", "words"),
    [
        (cut, COMMANDS, " cannot be read.*; delete that file and ingest its date again"),
        (blank, ["predict"], " cannot be read.*; delete that file and ingest its date again"),
        (of_another_version, ["predict"], " was written by another version: it lacks jpeg, title; delete that file"),
    ],
)
def test_a_damaged_shard(
    shelfwise: Shelfwise,
    shop: SmallShop,
    home: Path,
    damage: Callable[[Path], None],
    commands: Iterable[str],
    words: str,
) -> None:
    shop.add("a")
    shelfwise.night(shop.catalog, NIGHT_1)
    before = dump(home)
    shutil.rmtree(home / "predictions")
    shard = only(home / "images", "part-*.parquet")
    damage(shard)
    night = ("nightly", "--catalog", shop.catalog, "--run-date", NIGHT_1)
    for command in COMMANDS if ALL else commands:
        catalog = ("--catalog", shop.catalog) if command == "nightly" else ()
        refused(shelfwise(command, *catalog, *COMMANDS[command]), shard, words)
    assert dump(home)["product_categories"] == before["product_categories"]
    shard.unlink()
    done = shelfwise(*night, "--json")
    assert done.code == 0, done.err
    assert done.json["ingest"]["images_stored"] == 1
    assert ask(home, "SELECT count(*) FROM product_categories") == [(1,)]


def test_a_damaged_file_of_what_was_seen(shelfwise: Shelfwise, shop: SmallShop, home: Path) -> None:
    shop.add_many(["a", "b"])
    (shop.directory / "b-0.jpg").write_bytes(b"no image")
    night = ("nightly", "--catalog", shop.catalog, "--run-date", NIGHT_1, "--max-rejected", "0.9")
    assert shelfwise(*night).code == 0
    seen = only(home / "seen", "part-*.parquet")
    cut(seen)
    refused(shelfwise(*night), seen, " cannot be read.*; delete that file and ingest its date again")
    seen.unlink()
    done = shelfwise(*night, "--json")
    assert done.code == 0, done.err
    assert ask(home, "SELECT product_id FROM rejected_images") == [("b",)]


def test_damaged_predictions(shelfwise: Shelfwise, shop: SmallShop, home: Path) -> None:
    shop.add("a")
    assert shelfwise("ingest", "--catalog", shop.catalog, "--run-date", NIGHT_1).code == 0
    assert shelfwise("predict", "--run-date", NIGHT_1).code == 0
    predictions = only(home / "predictions", "*.parquet")
    blank(predictions)
    refused(shelfwise("publish", "--run-date", NIGHT_1), predictions, " cannot be read .*; delete that file and run")
    assert ask(home, "SELECT count(*) FROM product_categories") == [(0,)]
    predictions.unlink()
    done = shelfwise("nightly", "--catalog", shop.catalog, "--run-date", NIGHT_1)
    assert done.code == 0, done.err
    assert ask(home, "SELECT count(*) FROM product_categories") == [(1,)]

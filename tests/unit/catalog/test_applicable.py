"""What a person says of a catalog counts, or is refused or named; nothing is dropped in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook

from jobs.catalog.applicable import without_effect
from jobs.catalog.description import Description, toml_of
from jobs.catalog.recognise import recognise
from jobs.errors import UsageError

ROW = {"product_id": "p1", "image_uri": "1.jpg"}
SAID: dict[str, Any] = {
    "columns": {"title": ("name",)},
    "separator": ";",
    "quote": "'",
    "encoding": "utf-8",
    "base_url": "https://shop.example/",
    "image_separator": "|",
    "header_line": 1,
    "group_by": "product_id",
    "product_id": "path",
    "max_images": 3,
}
FORMS = ("csv", "jsonl", "json", "xml", "xlsx", "parquet", "tables", "folders")
TEXTS, RECORDS = {"csv", "jsonl", "json", "xml"}, {*FORMS} - {"folders"}
COUNT_FOR = {
    **dict.fromkeys(("columns", "base_url", "image_separator", "group_by"), RECORDS),
    **{name: {"csv"} for name in ("separator", "quote")},
    **{"encoding": TEXTS, "header_line": {"csv", "xlsx"}, "product_id": {"folders"}, "max_images": {*FORMS}},
}


def made(folder: Path, form: str) -> Path:
    """Write a catalog of a form with one product, and the columns that `SAID` names."""
    row = {**ROW, "name": "T"}
    path = folder / ("shop" if form in ("tables", "folders") else f"shop.{form}")
    if form in ("tables", "folders"):
        (path / "hats").mkdir(parents=True)
        (path / "hats" / "1.jpg").write_bytes(b"x")
    if form in ("tables", "parquet"):
        pq.write_table(pa.Table.from_pylist([row]), path / "t.parquet" if form == "tables" else path)
    elif form == "csv":
        path.write_text(";".join(row) + "\n" + ";".join(row.values()) + "\n")
    elif form == "xlsx":
        book = Workbook()
        book.active.append(list(row))
        book.active.append(list(row.values()))
        book.save(path)
    elif form in ("json", "jsonl"):
        path.write_text(json.dumps([row], indent=1) if form == "json" else json.dumps(row))
    elif form == "xml":
        path.write_text(
            "<a>" + f"<b>{''.join(f'<{name}>{text}</{name}>' for name, text in row.items())}</b>" * 2 + "</a>"
        )
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SAID)
def test_an_option_counts_or_is_refused(tmp_path: Path, form: str, name: str) -> None:
    """A directory with `--columns product_id=nope --group-by nope --encoding nope` was read as if nothing was said."""
    path, said = made(tmp_path, form), Description.model_validate({name: SAID[name]})
    if form in COUNT_FOR[name]:
        assert recognise(path, said).notes == ()
        return
    option = f"--{name.replace('_', '-')}"
    with pytest.raises(UsageError, match=rf"^catalog {path} is [A-Za-z ]+, and {option} is for .*; leave it out"):
        recognise(path, said)


@pytest.mark.parametrize("name", SAID)
def test_every_key_is_known_to_be_for_some_form(name: str) -> None:
    assert {*SAID, "format"} == {*Description.model_fields}
    said = Description.model_validate({name: SAID[name]})
    assert {form for form in FORMS if not without_effect(said, form)} == COUNT_FOR[name]
    assert without_effect(Description.model_validate(Description().model_dump()), "folders") == []


@pytest.mark.parametrize(
    ("form", "said", "words"),
    [
        ("folders", {"format": "csv"}, "is a directory of pictures, and --format is for files; leave it out"),
        ("folders", {"format": "google"}, "is a directory of pictures, and --format is for files; leave it out"),
        ("tables", {"format": "csv"}, "is a directory of Parquet files, and --format is for files; leave it out"),
        (
            "folders",
            {"group_by": "sku"},
            "leave it out; --product-id folder makes the pictures of each folder one product",
        ),
        ("tables", {"product_id": "path"}, "leave it out, or name the column with --columns product_id=COLUMN"),
    ],
)
def test_what_is_said_of_a_directory_of_another_kind_is_refused(
    tmp_path: Path, form: str, said: dict[str, Any], words: str
) -> None:
    """`--group-by` made two pictures with one name the images of one product, instead of a clash."""
    with pytest.raises(UsageError) as caught:
        recognise(made(tmp_path, form), Description.model_validate(said))
    assert str(caught.value).endswith(words)


def test_the_form_of_the_files_of_a_directory_may_be_said(tmp_path: Path) -> None:
    for form in ("parquet", "auto"):
        assert (
            recognise(made(tmp_path / form, "tables"), Description.model_validate({"format": form})).words == "Parquet"
        )


def test_a_file_beside_several_catalogs_counts_for_each_as_far_as_it_can(tmp_path: Path) -> None:
    said = Description(separator=";", encoding="utf-8", product_id="path", max_images=3)
    (tmp_path / "shelfwise.toml").write_text(toml_of(said))
    text = recognise(made(tmp_path, "csv"))
    assert text.notes == ("passed over product_id of shelfwise.toml, as the file is CSV",)
    assert (text.layout.separator, text.layout.product_id, text.layout.max_images) == (";", "stem", 3)
    workbook = recognise(made(tmp_path, "xlsx"))
    assert workbook.notes == (
        "passed over separator, encoding, product_id of shelfwise.toml, as the file is an XLSX workbook",
    )
    assert (workbook.layout.encoding, workbook.layout.max_images) == ("", 3)


@pytest.mark.parametrize("form", ["folders", "tables"])
def test_a_file_inside_of_a_directory_is_for_that_directory(tmp_path: Path, form: str) -> None:
    path = made(tmp_path, form)
    (path / "shelfwise.toml").write_text("header_line = 2\n")
    with pytest.raises(UsageError, match=r", and header_line of its shelfwise.toml is for CSV and XLSX; leave it out$"):
        recognise(path)
    (path / "shelfwise.toml").write_text("max_images = 2\n")
    assert recognise(path).layout.max_images == 2

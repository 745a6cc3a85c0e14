"""The command `shelfwise catalog check`: what it prints, writes and answers with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.cli.main import main_group
from jobs.errors import UsageError

CATALOGS = Path(__file__).parents[2] / "catalogs"
AMAZON = (
    "TemplateType=x\tVersion=1\t\n"
    "item_sku\tmain_image_url\tother_image_url1\n"
    "A1\thttps://m.example/1.jpg\thttps://m.example/2.jpg\n"
)


def called(*arguments: str) -> str:
    result = CliRunner().invoke(main_group, ["catalog", "check", *arguments], catch_exceptions=False)
    return result.stdout


def test_a_catalog_is_shown_in_half_a_page(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("product_id;image_uri;category\np1;https://h.example/a.jpg;Tops\n")
    shown = called(str(tmp_path / "c.csv"))
    assert f"{tmp_path}/c.csv: CSV with semicolons" in shown
    assert "\nname: c; products that" in shown
    assert "name: My shop; products that" in called(str(tmp_path / "c.csv"), "--catalog-name", " My shop")
    assert "1 row, 1 product, 1 image" in shown
    assert "images on: https://h.example (1)" in shown
    assert len(shown.splitlines()) < 25


def test_json_has_the_same(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("product_id,image_uri\np1,https://h.example/a.jpg\n")
    shown = json.loads(called(str(tmp_path / "c.csv"), "--json"))
    assert (shown["read_as"], shown["rows"], shown["refusals"]) == ("CSV with commas in UTF-8", 1, [])
    assert shown["catalog_name"] == "c"
    assert shown["columns"] == {"product_id": ["product_id"], "image_uri": ["image_uri"]}
    assert shown["encoding"] == "UTF-8"


def test_a_catalog_that_a_night_would_refuse_is_an_error_of_its_user(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("product_id,image_uri\np1,a.jpg\np1,b.jpg\n")
    with pytest.raises(UsageError, match=r"a night would refuse catalog .*in more than one row"):
        called(str(tmp_path / "c.csv"))
    (tmp_path / "amazon.txt").write_text(AMAZON)
    with pytest.raises(UsageError, match="catalog check --write"):
        called(str(tmp_path / "amazon.txt"), "--json")
    assert not (tmp_path / "shelfwise.toml").exists()


def test_what_was_written_is_what_the_next_call_reads(tmp_path: Path) -> None:
    (tmp_path / "amazon.txt").write_text(AMAZON)
    shown = called(str(tmp_path / "amazon.txt"), "--write")
    assert f"wrote {tmp_path}/shelfwise.toml" in shown
    again = json.loads(called(str(tmp_path / "amazon.txt"), "--json"))
    assert (again["header_line"], again["products"], again["images"]) == (2, 1, 2)
    (tmp_path / "amazon.txt").write_text(AMAZON.replace("item_sku", "sku"))
    with pytest.raises(UsageError, match="has no column item_sku"):
        called(str(tmp_path / "amazon.txt"))


def test_a_second_write_of_the_same_understanding_changes_nothing_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "amazon.txt"
    file.write_text(AMAZON)
    called(str(file), "--write")
    written = (tmp_path / "shelfwise.toml").read_bytes()
    shown = called(str(file), "--write")
    assert f"{tmp_path}/shelfwise.toml says this already; it stays as it is" in shown
    assert "wrote" not in shown
    assert json.loads(called(str(file), "--write", "--json"))["written"] == []
    with pytest.raises(UsageError, match="says something else; delete it"):
        called(str(file), "--write", "--max-images", "3")
    file.write_text(AMAZON.replace("item_sku", "sku"))
    with pytest.raises(UsageError, match="says something else; delete it"):
        called(str(file), "--write")
    assert (tmp_path / "shelfwise.toml").read_bytes() == written


def test_an_export_that_is_recognised_needs_no_description(tmp_path: Path) -> None:
    shutil.copy(CATALOGS / "google.tsv", tmp_path)
    shown = called(str(tmp_path / "google.tsv"), "--write")
    assert "no shelfwise.toml is needed: the catalog itself says all of this" in shown
    assert {path.name for path in tmp_path.iterdir()} == {"google.tsv", "labels.csv"}


@pytest.mark.parametrize("lines", [5, 5000])
def test_an_umlaut_far_behind_the_header_is_read_in_the_encoding_that_write_finds(tmp_path: Path, lines: int) -> None:
    text = "product_id,image_uri,title\n" + "".join(f"p{n},{n}.jpg,Hut\n" for n in range(lines)) + "x,x.jpg,Schürze\n"
    (tmp_path / "c.csv").write_bytes(text.encode("cp1252"))
    with pytest.raises(UsageError, match=f"is not UTF-8: bytes fc in line {lines + 2};"):
        called(str(tmp_path / "c.csv"))
    called(str(tmp_path / "c.csv"), "--write")
    assert (tmp_path / "shelfwise.toml").read_text() == 'encoding = "cp1252"\n'
    assert json.loads(called(str(tmp_path / "c.csv"), "--json"))["rows"] == lines + 1

"""What a person says about a catalog, by options and in `shelfwise.toml`."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.catalog.description import Description, described, parse_columns, read_description, toml_of
from jobs.catalog.description_file import draft_labels, write_description
from jobs.dataset.label_map import read_label_map
from jobs.errors import UsageError

FULL = Description(
    format="csv",
    columns={"product_id": ("sku",), "image_uri": ("main", 'other "image" *'), "title": ("Näme",)},
    separator="\t",
    quote="",
    encoding="cp1252",
    base_url="https://cdn.shop.example/",
    image_separator="|",
    header_line=3,
    group_by="parent",
    product_id="path",
    max_images=4,
)


def test_a_description_is_read_as_it_was_written(tmp_path: Path) -> None:
    catalog = tmp_path / "shop.csv"
    catalog.touch()
    assert write_description(str(catalog), FULL) == [str(tmp_path / "shelfwise.toml")]
    assert read_description(catalog) == FULL
    assert read_description(tmp_path) == FULL


def test_a_catalog_without_a_file_beside_it_has_an_empty_description(tmp_path: Path) -> None:
    assert read_description(tmp_path / "shop.csv") == Description()
    assert toml_of(Description()).strip() == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colums = 1", "has 'colums': no such key; expected format, columns,"),
        ("format = 'xls'", "has 'format': Input should be 'auto', 'csv'"),
        ("[columns]\nsku = 'id'", "has 'columns': 'sku' is no column of a catalog; expected product_id, image_no,"),
        ("[columns]\nimage_uri = ['a', 'a']", "has 'columns': image_uri is given one column twice"),
        ("[columns]\ntitle = []", "has 'columns': title is given no column"),
        ("separator = ';;'", "has 'separator': String should have at most 1 character"),
        ("header_line = 0", "has 'header_line': Input should be greater than or equal to 1"),
        ("max_images = 'many'", "has 'max_images': Input should be a valid integer"),
        ("password = 'x'", "has 'password': no such key"),
        ("format = ", "is no TOML (Invalid value (at end of document)); correct it"),
        (b"\xff\xfe", "is no TOML ('utf-8' codec can't decode"),
        ("header_line = " + "9" * 5000, "is no TOML (Exceeds the limit (4300 digits)"),
        ("columns = " + "[" * 100_000, "is nested too deep; write keys and values alone"),
        ("columns" + ".a" * 10_000 + " = 1", "has 'columns"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str | bytes, words: str) -> None:
    (tmp_path / "shelfwise.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as caught:
        read_description(tmp_path)
    assert str(caught.value).startswith(f"catalog {tmp_path}/shelfwise.toml {words}"), str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_take_precedence_and_leave_the_rest() -> None:
    said = described(format=None, columns=parse_columns("product_id=id"), max_images=2, encoding=None).over(FULL)
    assert said.columns == {"product_id": ("id",)}
    assert (said.max_images, said.encoding, said.format) == (2, "cp1252", "csv")


def test_columns_of_an_option() -> None:
    assert parse_columns("product_id = sku, image_uri=a,image_uri=b*") == {
        "product_id": ("sku",),
        "image_uri": ("a", "b*"),
    }
    for text in ("product_id", "product_id=", "=sku", "", "product_id=sku,", 'title="a,b', 'title="a"b', 'title=""'):
        with pytest.raises(UsageError, match="write column=theirs"):
            parse_columns(text)
    with pytest.raises(UsageError, match="names title twice"):
        parse_columns("title=a,title=b")
    with pytest.raises(UsageError, match=r"^--columns: 'sku' is no column of a catalog"):
        described(columns=parse_columns("sku=id"))


@pytest.mark.parametrize("name", ["Image URLs (x,y,z...)", 'a "b", c', ",", '"', 'Länge 5" b', "a=b, c=d", " x, "])
def test_a_column_with_a_comma_in_its_name_stands_in_quotation_marks(name: str) -> None:
    quoted = name.replace('"', '""')
    expected = {"product_id": ("Product ID",), "image_uri": (name, "b")}
    assert parse_columns(f'product_id=Product ID,image_uri="{quoted}", image_uri = b') == expected
    assert parse_columns('product_id=Product ID, title=5" pipe') == {
        "product_id": ("Product ID",),
        "title": ('5" pipe',),
    }
    with pytest.raises(UsageError, match=r"--columns has 'y'; .* and a name with a comma in quotation marks"):
        parse_columns("product_id=Product ID,image_uri=Image URLs (x,y,z...)")


def test_another_description_is_never_overwritten(tmp_path: Path) -> None:
    catalog = str(tmp_path / "shop.csv")
    write_description(catalog, FULL)
    before = (tmp_path / "shelfwise.toml").read_bytes()
    assert write_description(catalog, FULL) == []
    with pytest.raises(UsageError, match="says something else; delete it"):
        write_description(catalog, Description())
    assert (tmp_path / "shelfwise.toml").read_bytes() == before


def test_the_drafted_label_map_can_be_used_and_leaves_parents_to_a_person(tmp_path: Path) -> None:
    texts = ["Apparel > Tops", "Apparel", "Küche, Textil", "!!!"]
    (file,) = draft_labels(str(tmp_path / "shop.csv"), texts)
    labels = read_label_map(file)
    found = {text: labels.category(text) for text in texts}
    assert {text: each.category_id if each else None for text, each in found.items()} == {
        "Apparel > Tops": "apparel.tops",
        "Apparel": None,
        "Küche, Textil": "kuche",
        "!!!": None,
    }
    Path(file).write_text("mine")
    assert draft_labels(str(tmp_path / "shop.csv"), texts) == []
    assert Path(file).read_text() == "mine"

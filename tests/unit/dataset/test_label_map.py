"""A shop's label map: what it may contain, how a text is found in it, and who uses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.dataset.label_map import keep_label_map, kept_label_map, parse_label_map, read_label_map
from jobs.errors import UsageError
from jobs.storage.places import Places
from models.spec import Category

HEADER = "category,category_id,category_path\n"


def mapped(text: str, *lines: str, header: str = HEADER) -> str:
    """Return the category_id that a map of these lines gives for a text; empty if it has none."""
    category = parse_label_map((header + "\n".join(lines)).encode(), "map.csv").category(text)
    return category.category_id if category else ""


@pytest.mark.parametrize(
    ("text", "category_id"),
    [
        ("Clothing > Tops", "apparel.tops"),
        (" clothing>TOPS ", "apparel.tops"),
        ("clothing/tops", "apparel.tops"),
        ("Café", "food.cafe"),
        ("CAFE\u0301", "food.cafe"),
        ("Cafe", ""),
        ("5322", "shoes"),
        ("C++", "books.c-plus-plus"),
        ("C#", "books.c-sharp"),
        ("Sale", ""),
        ("Not yet", ""),
        ("Unheard of", ""),
        ("☂", "umbrellas"),
        ("", ""),
        ("Sale, Clothing > Tops", "apparel.tops"),
        ("5322, Clothing > Tops", "apparel.tops"),
        ("Clothing, Sale", "outlet"),
        ("Home, Garden > Pots", ""),
        ("apparel.tops", "apparel.tops"),
        ("Sale, books.c-sharp", "books.c-sharp"),
        ("Shirt", "Shirt"),
    ],
)
def test_a_text_is_found_in_any_spelling_as_a_whole_or_by_its_categories(text: str, category_id: str) -> None:
    lines = [
        "Clothing > Tops,apparel.tops,Apparel > Tops",
        "Café,food.cafe,",
        "5322,shoes,",
        "C++,books.c-plus-plus,",
        "C#,books.c-sharp,",
        '"Clothing, Sale",outlet,',
        "Not yet,,",
        "☂,umbrellas,",
        "Shirts,Shirt,",
    ]
    assert mapped(text, *lines) == category_id


@pytest.mark.parametrize("text", ["Pants", " PANTS ", "pants", "Sale, pants", "Sale, Pants"])
def test_a_line_counts_before_a_category_id_in_any_spelling(text: str) -> None:
    """What is underwear to a shop in Britain, though `pants` is its id of trousers."""
    lines = ["Pants,underwear,", "Trousers,pants,"]
    assert mapped(text, *lines) == "underwear"
    assert mapped("trousers", *lines) == "pants"
    assert mapped(text, "Pants,,", "Trousers,pants,") == "", "nor is a text with an empty line one of the ids"


@pytest.mark.parametrize(
    "text", ["apparel.overalls", "Apparel.Overalls", " APPAREL > overalls", "Sale, Apparel.Overalls"]
)
def test_a_category_id_is_found_in_any_spelling(text: str) -> None:
    assert mapped(text, "Dungarees,apparel.overalls,") == "apparel.overalls"


def test_of_two_category_ids_that_differ_in_case_each_is_found_as_it_is_written() -> None:
    lines = ["A,Shirt,", "B,shirt,"]
    assert [mapped(text, *lines) for text in ("Shirt", "shirt", "Sale, shirt", "SHIRT")] == [
        *("Shirt", "shirt", "shirt", "Shirt")
    ]


def test_a_text_with_and_without_a_category_id_has_it() -> None:
    for lines in (["Tops,,", "tops,a.b,"], ["tops,a.b,", "Tops,,"]):
        assert mapped("TOPS", *lines) == "a.b"


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffCategory , CATEGORY_ID,note\r\nTops,apparel.tops,x\r\n\r\ntops,apparel.tops,\r\n",
        "category_id\tcategory\napparel.tops\tTops\n",
        'note,category,category_id\n"a\nb",Tops,apparel.tops\n',
    ],
)
def test_a_map_may_be_tsv_and_have_other_columns_and_line_ends(content: str) -> None:
    labels = parse_label_map(content.encode(), "map.csv")
    assert labels.category("TOPS") == Category("apparel.tops", "")


def test_a_map_gives_paths() -> None:
    labels = parse_label_map((HEADER + "Tops,apparel.tops,\nTees,apparel.tops, Apparel  > Tops \n").encode(), "map.csv")
    assert labels.category("tops") == Category("apparel.tops", "Apparel > Tops")


REFUSED = [
    ("", "is no label map, its first line is ''; expected a CSV file in UTF-8 with the columns category, category_id"),
    ("product_id,image_uri\np1,1.jpg\n", "is no label map, its first line is 'product_id,image_uri'; expected a CSV"),
    ("category,category,category_id\n", "is no label map, its first line is"),
    ("\x89PNG\r\n\x1a\n\x00", "is no label map, its first line is '\\x89PNG'; expected"),
    (HEADER, "maps no text to a category_id; expected a CSV"),
    (HEADER + "Tops,,\n", "maps no text to a category_id; expected a CSV"),
    (HEADER + "Tops,a.b\n", "has 2 values in line 2, and its header has 3; quote"),
    (HEADER + "a,b,c,d\n", "has 4 values in line 2, and its header has 3; quote"),
    (HEADER + '"Tops,a.b,\n', "cannot be read in line 2 (unexpected end of data); expected a CSV"),
    (HEADER + " ,a.b,\n", "has no text in line 2; write the shop's text as category"),
    (HEADER + "Tops,a.b,\nTees,a.c,\n TOPS,a.c,\n", "names the text ' TOPS' twice, as 'a.b' and in line 4 as 'a.c'; "),
    (HEADER + "Tops,a.b,A\nTees,a.b,B\n", "gives 'a.b' two paths, 'A' and in line 3 'B'; give it one"),
    (HEADER + "Tops,a.b,\nAll,a,\n", "has a category that is the parent of others: 'a'; products can only be"),
    (
        HEADER + "Tops,a.b.c,\nAll,a,\nSome,a.b,\n",
        "has 2 categories that are parents of others: 'a', 'a.b'; products can only be labelled with the leaves",
    ),
    *(
        (HEADER + f'Tops,"{bad}",\n', f"has in line 2 the category_id {bad!r}, which has a level without a letter")
        for bad in (".a", "a.", "a..b", "-", "../x")
    ),
    (HEADER + "Tops,a\u200f,\n", "the category_id 'a\\u200f', which holds characters that cannot be seen"),
    (HEADER + f"Tops,{'x' * 256},\n", ", which has 256 characters, where 255 at most were expected; correct it"),
]


@pytest.mark.parametrize("category_id", ["Men's Shoes", "Home & Garden/Lamps", "a > b", "a,b", "靴.長靴"])
def test_a_map_refused_the_ids_that_a_shop_had_before(category_id: str) -> None:
    """The ids of labels with capitals, blanks and signs can be kept by a map, as by a taxonomy."""
    lines = [f'Tops,"{category_id}",', "Other,other,"]
    for text in ("tops", category_id, f"Tops, {category_id}" if "," not in category_id else "tops"):
        assert mapped(text, *lines) == category_id


@pytest.mark.parametrize(("content", "words"), REFUSED)
def test_a_map_that_cannot_be_used_is_refused_in_one_sentence(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_bytes(content.encode())
    with pytest.raises(UsageError) as refused:
        read_label_map(str(path))
    sentence = str(refused.value)
    assert words in sentence
    assert str(path) in sentence
    assert sentence.isprintable()
    assert len(sentence.replace(str(path), "")) <= 400


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no.csv", "no.csv cannot be read (No such file or directory); expected a CSV"),
        (".", "cannot be read (Is a directory); expected"),
        ("", "cannot be read (Is a directory); expected"),
        ("latin.csv", "latin.csv is not UTF-8; expected"),
        ("a\0b", "cannot be read (ValueError); expected"),
    ],
)
def test_a_file_that_is_no_map_is_refused(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "latin.csv").write_bytes(f"{HEADER}Café,food.cafe,\n".encode("latin-1"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as refused:
        read_label_map(name)
    assert words in str(refused.value)


def test_the_last_map_of_an_ingest_is_kept_in_the_home(tmp_path: Path) -> None:
    places = Places(tmp_path / "home")
    assert kept_label_map(places) is None
    for category_id in ("apparel.tops", "clothes.tops"):
        keep_label_map(places, parse_label_map(f"{HEADER}Tops,{category_id},\n".encode(), "elsewhere.csv"))
        kept = kept_label_map(places)
        assert kept
        assert kept.category("tops") == Category(category_id, "")
        assert kept.name == str(tmp_path / "home" / "label_map.csv")

"""The rule that makes a category_id of a shop's text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jobs.dataset.category_texts import (
    MAX_CHARACTERS,
    ShopCategory,
    beside,
    deepest,
    shop_categories,
    text_key,
)
from models.answers.taxonomy import above_others, fault_of_id
from models.fashion_mnist import CATEGORIES

TEXTS = (
    st.text(max_size=40)
    | st.text("&amp;gtGT#3862x105.0> ", max_size=20)
    | st.text("aAéÉß-_.>/\\, &\u00a0\u200f\u0301\u0302İΣς한が", max_size=20)
)


def chosen(text: str) -> ShopCategory:
    category = deepest(shop_categories(text))
    assert category is not None, text
    return category


@pytest.mark.parametrize(
    ("text", "category_id", "path"),
    [
        ("Apparel > Tops", "apparel.tops", "Apparel > Tops"),
        ("Apparel>Tops", "apparel.tops", "Apparel > Tops"),
        ("Apparel/Tops", "apparel.tops", "Apparel > Tops"),
        ("/Apparel/Tops/", "apparel.tops", "Apparel > Tops"),
        ("Apparel.Long  Sleeve", "apparel.long-sleeve", "Apparel > Long Sleeve"),
        ("Home > Pots/Pans & Lids", "home.pots-pans-lids", "Home > Pots/Pans & Lids"),
        ("5322", "5322", "5322"),
        ("Café Crème", "cafe-creme", "Café Crème"),
        ("Straße", "strasse", "Straße"),
        ("Dr. Martens", "dr-martens", "Dr. Martens"),
        ("T-Shirt", "t-shirt", "T-Shirt"),
        ("T/Shirt", "t.shirt", "T > Shirt"),
        ("Women's", "women-s", "Women's"),
        ("- Sale! -", "sale", "- Sale! -"),
        ("Обувь/Кроссовки", "обувь.кроссовки", "Обувь > Кроссовки"),
        ("がま口 > 財布", "がま口.財布", "がま口 > 財布"),
        ("हिन्दी", "हिन्दी", "हिन्दी"),
        ("\u202eshirt\u200f", "shirt", "shirt"),
        ("Apparel\ufffd> Tops\n", "apparel.tops", "Apparel > Tops"),
        ("Apparel > & > Tops", "apparel.tops", "Apparel > Tops"),
        ("Apparel &gt; Tops &amp; Tees", "apparel.tops-tees", "Apparel > Tops & Tees"),
        ("Apparel &amp;gt; Tops", "apparel.tops", "Apparel > Tops"),
        ("Apparel&nbsp;&#62;&#x20;Women&#39;s &AMP; Men&apos;s", "apparel.women-s-men-s", "Apparel > Women's & Men's"),
        ("R&D; Lab &copy Co", "r-d-lab-copy-co", "R&D; Lab &copy Co"),
        ("Salt &#44; Pepper", "salt-pepper", "Salt , Pepper"),
        ("5322.0", "5322", "5322"),
        (" 5322.00 ", "5322", "5322"),
        ("5322.5", "5322.5", "5322 > 5"),
        ("5322.0.1", "5322.0.1", "5322 > 0 > 1"),
        ("Size.0", "size.0", "Size > 0"),
    ],
)
def test_a_text_becomes_an_id_and_stays_as_the_path(text: str, category_id: str, path: str) -> None:
    category = chosen(text)
    assert (category.category_id, category.category_path) == (category_id, path)


@pytest.mark.parametrize(
    ("text", "category_id", "left"),
    [
        ("Clothing, Sale", "clothing", ["sale"]),
        ("Sale, Clothing > Tops", "clothing.tops", ["sale"]),
        ("Clothing, Clothing > Tops", "clothing.tops", []),
        ("Clothing > Tops,Clothing > Shoes", "clothing.tops", ["clothing.shoes"]),
        (r"Home\, Garden > Pots", "home-garden.pots", []),
        (" , Sale,,", "sale", []),
    ],
)
def test_of_several_categories_in_a_cell_the_deepest_counts(text: str, category_id: str, left: list[str]) -> None:
    assert chosen(text).category_id == category_id
    assert beside(shop_categories(text), category_id) == left


@pytest.mark.parametrize(
    "category_id",
    [
        *(category.category_id for category in CATEGORIES),
        "cold.green-grey",
        "a_b",
        "t--shirt",
        "-x.y-",
        "5322",
        "обувь.зима",
        "\ue000" * 200,
    ],
)
def test_an_id_of_earlier_versions_stays_as_it_is(category_id: str) -> None:
    assert chosen(category_id).category_id == category_id
    assert chosen(category_id).is_plain


@pytest.mark.parametrize(
    "text", ["", " ", "☂", "---", "&, /", ">", "._.", "\x00\x1f", "\u200f", "\u0301", "," * 100_000]
)
def test_a_text_without_a_letter_or_digit_has_no_category(text: str) -> None:
    assert shop_categories(text) == ()


@pytest.mark.parametrize("part", ["&amp;x", "amp;", "x", "Ä ", "very long > ", "a.", "한", "\u0301a", "☂x"])
def test_a_text_of_100_kb_becomes_an_id_of_bounded_length(part: str) -> None:
    text = part * (100_000 // len(part))
    category, other = chosen(text), chosen(f"{text}z")
    assert len(category.category_id) <= MAX_CHARACTERS
    assert len(category.category_path) <= MAX_CHARACTERS
    assert category.category_id != other.category_id, "what is cut off still counts"
    assert chosen(category.category_id).category_id == category.category_id
    assert category.category_id.encode()


@settings(deadline=None)
@given(TEXTS)
def test_an_id_maps_to_itself(text: str) -> None:
    for category in shop_categories(text):
        assert not fault_of_id(category.category_id), "which is never empty"
        assert not set(category.category_id) & set(" /,'")
        again = shop_categories(category.category_id)
        assert [each.category_id for each in again] == [category.category_id]
        assert again[0].is_plain


@settings(deadline=None)
@given(TEXTS)
def test_unicode_forms_blanks_and_case_make_no_difference(text: str) -> None:
    assume(text.isprintable())
    for form in ("NFC", "NFD"):
        other = unicodedata.normalize(form, text)
        assert text_key(other) == text_key(text)
        assert [each.category_id for each in shop_categories(other)] == [
            each.category_id for each in shop_categories(text)
        ]
    blanks = f"\u00a0{text.replace(' ', '  ')}\u200f\t"
    assert text_key(blanks) == text_key(text)
    assert text_key(text.casefold()) == text_key(text)


@settings(deadline=None)
@given(TEXTS)
def test_texts_with_one_key_have_one_id(text: str) -> None:
    for other in (text.upper(), text.lower(), f" {text} "):
        if text_key(other) == text_key(text):
            assert [each.category_id for each in shop_categories(other)] == [
                each.category_id for each in shop_categories(text)
            ]


@settings(deadline=None)
@given(TEXTS)
def test_the_category_of_a_cell_is_no_parent_of_another_one_in_it(text: str) -> None:
    categories = shop_categories(text)
    if category := deepest(categories):
        assert category.category_id not in above_others(each.category_id for each in categories)


@settings(deadline=None)
@given(st.text(max_size=8))
def test_an_id_consists_of_letters_digits_and_hyphens(name: str) -> None:
    for category in shop_categories(name):
        assert not set(category.category_id) & set(" ,>/\\'\"\n\t\x00&")
        assert category.category_id == category.category_id.strip(".")

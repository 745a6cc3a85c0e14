"""What the labels of a dataset are when the shop writes them in its own words, and what is logged about them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.dataset.label_findings import text_labels
from jobs.dataset.label_map import LabelMap, parse_label_map
from jobs.dataset.labels import LabelledImage, data_sha256, labelled_images
from jobs.errors import UsageError
from jobs.evaluation.config import EvaluateConfig
from jobs.storage.places import Places
from jobs.training.selection import Selection, training_set
from jobs.training.taxonomy import taxonomy_of
from models.answers.taxonomy import above_others
from models.spec import Category
from tests.labelled import relabel, write_labelled


@pytest.fixture
def places(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Places:
    caplog.set_level(logging.INFO, "jobs.dataset.label_findings")
    return Places(tmp_path)


def write(places: Places, products: Mapping[str, int], *, prefix: str = "p") -> None:
    """Write as many products with each text, each with a picture of its own."""
    texts = [text for text, count in products.items() for _ in range(count)]
    write_labelled(places, [(f"{prefix}{number}", text, [0]) for number, text in enumerate(texts)])


def shop_map(*lines: str) -> LabelMap:
    return parse_label_map("\n".join(["category,category_id,category_path", *lines]).encode(), "map.csv")


def found(places: Places, labels: LabelMap | None = None, **chosen: object) -> dict[str, tuple[str, str]]:
    """Return the category_id and path of each product."""
    images = labelled_images(places, labels=labels, **chosen)  # type: ignore[arg-type]
    return {image.product_id: (image.category_id, image.category_path) for image in images}


def test_four_spellings_of_shirt_are_one_category(places: Places, caplog: pytest.LogCaptureFixture) -> None:
    """They became four categories with one path, silently."""
    write(places, {"shirt": 1, "Shirt": 4, " SHIRT": 2, "shirt\u00a0": 3})
    assert set(found(places).values()) == {("shirt", "Shirt")}
    assert caplog.messages == [
        "labels: 1 category is written in different case, blanks or Unicode form, and each counts as one category: "
        r"'shirt' is 'Shirt' (4), 'shirt\xa0' (3), ' SHIRT' (2), 'shirt' (1)"
    ]


def test_unicode_forms_are_one_category_and_are_told_apart_in_the_log(
    places: Places, caplog: pytest.LogCaptureFixture
) -> None:
    write(places, {"Café": 1, "Cafe\u0301": 2, "Apparel > Tops": 3, "apparel.tops": 1, "Apparel/Tops": 1})
    assert set(found(places).values()) == {("cafe", "Café"), ("apparel.tops", "Apparel > Tops")}
    (message,) = caplog.messages
    assert message.startswith("labels: 2 categories are written in different case")
    assert "'cafe' is 'Cafe\\u0301' (2), 'Café' (1)" in message


def test_plain_ids_and_one_spelling_each_need_no_word(places: Places, caplog: pytest.LogCaptureFixture) -> None:
    write(places, {"apparel.tops.t-shirt": 2, "Apparel > Shoes": 2, "5322": 1})
    paths = {"apparel.tops.t-shirt": "", "apparel.shoes": "Apparel > Shoes", "5322": ""}
    assert set(found(places).values()) == set(paths.items())
    assert not caplog.messages


def test_texts_that_differ_in_more_and_have_one_id_are_named(places: Places, caplog: pytest.LogCaptureFixture) -> None:
    write(places, {"C++": 2, "c++": 2, "C#": 3, "c#": 1, "T-Shirt": 1, "T Shirt": 2, "T/Shirt": 4})
    ids = [category_id for category_id, _ in found(places).values()]
    assert {name: ids.count(name) for name in ids} == {"c": 8, "t-shirt": 3, "t.shirt": 4}
    assert caplog.messages == [
        "labels: 1 category is written in different case, blanks or Unicode form, and each counts as one category: "
        "'c' is 'C#' (3), 'C++' (2), 'c++' (2), 'c#' (1)",
        "labels: 2 categories are made of texts that differ in signs or accents: 'c' of 'C#' (4), 'c++' (4), 't-shirt' "
        "of 'T Shirt' (2), 'T-Shirt' (1); if they mean different things, give them different category_ids with "
        "--labels FILE",
    ]


def test_cells_with_several_categories_are_named(places: Places, caplog: pytest.LogCaptureFixture) -> None:
    write(places, {"Clothing, Sale": 1, "Sale, Clothing > Tops": 2, "Shoes, Shoes > Boots": 1, r"Home\, Garden": 1})
    assert {each for each, _ in found(places).values()} == {"clothing", "clothing.tops", "shoes.boots", "home-garden"}
    assert caplog.messages == [
        "labels: 2 texts name several categories, and the deepest counts, or the first of equally deep ones: "
        "'Sale, Clothing > Tops' is 'clothing.tops', 'Clothing, Sale' is 'clothing'; write a comma inside a name as "
        "\\, or map the texts with --labels FILE"
    ]


def test_what_a_map_lacks_is_listed_with_counts_and_has_no_label(
    places: Places, caplog: pytest.LogCaptureFixture
) -> None:
    write(places, {"Tops": 3, "Hats": 1} | {f"Other {number:02}": 30 - number for number in range(12)})
    labels = shop_map("tops,apparel.tops,", "hats,apparel.hats,Clothes > Hats")
    assert set(found(places, labels).values()) == {("apparel.tops", ""), ("apparel.hats", "Clothes > Hats")}
    (message,) = caplog.messages
    total = sum(30 - number for number in range(12))
    assert message.startswith(
        f"labels: {total} products have no label, because map.csv does not have their texts: 'Other 00' (30), 'Other 01"
    )
    assert message.endswith("'Other 09' (21) and 2 more")


def test_texts_of_signs_alone_are_listed_and_have_no_label(places: Places, caplog: pytest.LogCaptureFixture) -> None:
    write(places, {"---": 2, "\u202e☂": 1, "Tops": 1})
    assert set(found(places).values()) == {("tops", "Tops")}
    assert caplog.messages == [
        "labels: 3 products have no label, because their texts have no letter and no digit: '---' (2), "
        r"'\u202e☂' (1)"
    ]


def test_no_label_at_all_is_refused_with_the_texts(places: Places) -> None:
    write(places, {"---": 2})
    with pytest.raises(
        UsageError, match=r"none of 2 .* because the rule gives none for its 1 category texts: '---' \(2"
    ):
        found(places)
    with pytest.raises(UsageError, match=r"because map.csv gives none .* give --labels FILE with these texts"):
        found(places, shop_map("Tops,apparel.tops,"))


def test_a_product_whose_images_differ_in_spelling_has_one_label(places: Places) -> None:
    write_labelled(places, [("p1", "Shirt", [0, 1])])
    relabel(places, {"p1": "SHIRT"}, ingest_no=0, image_no=1)
    assert found(places) == {"p1": ("shirt", "Shirt")}
    relabel(places, {"p1": "Café"}, ingest_no=5)
    relabel(places, {"p1": "Hats"}, ingest_no=5, image_no=1)
    with pytest.raises(UsageError, match=r"'p1' has two categories, 'cafe' and 'hats', both of ingest date"):
        found(places)
    assert found(places, shop_map("Hats,a.hats,")) == {"p1": ("a.hats", "")}, "the other text says nothing"


def test_a_category_that_can_be_left_out_may_be_written_as_in_the_catalog(places: Places) -> None:
    write(places, {"Apparel > Tops": 1, "Apparel > Hats": 1})
    for name in ("Apparel > Tops", "apparel.tops"):
        assert set(found(places, leave_out=[name]).values()) == {("apparel.hats", "Apparel > Hats")}


def test_the_ids_of_a_release_stay_and_other_spellings_become_them(places: Places) -> None:
    """Earlier versions took each text as a category_id, and their releases are still measured."""
    assert text_labels(["Long Sleeve", "long  sleeve", "Hats", "shirt"], None, ["Long Sleeve", "Shirt"]).ids == {
        "Long Sleeve": "Long Sleeve",
        "long  sleeve": "Long Sleeve",
        "Hats": "hats",
        "shirt": "Shirt",
    }
    both = text_labels(["Shirt", "shirt", "SHIRT"], None, ["shirt", "Shirt"]).ids
    assert both == {"Shirt": "Shirt", "shirt": "shirt", "SHIRT": "Shirt"}, "a release of two spellings has both"
    write(places, {"Shirt": 1, "Hats": 1})
    config = EvaluateConfig(places, category_ids=("Shirt",))
    assert {image.category_id for image in config.images()} == {"Shirt", "hats"}


def test_finetune_with_another_map_needs_no_new_ingest(places: Places) -> None:
    write(places, {"Tops > Tees": 40, "Tops > Shirts": 40, "Shoes": 40})
    plain = training_set(Selection(places))
    assert plain.categories == (
        Category("shoes", "Shoes"),
        Category("tops.shirts", "Tops > Shirts"),
        Category("tops.tees", "Tops > Tees"),
    )
    labels = shop_map("Tops > Tees,a.tops,Apparel > Tops", "Tops > Shirts,a.tops,", "Shoes,f.shoes,")
    mapped = training_set(Selection(places, labels=labels))
    assert mapped.categories == (Category("a.tops", "Apparel > Tops"), Category("f.shoes", "F > Shoes"))
    assert sum(map(len, mapped.sides.values())) == 120
    assert mapped.data_sha256 != plain.data_sha256, "a checkpoint of one is not taken for the other"


def test_a_taxonomy_file_keeps_its_ids(places: Places, tmp_path: Path) -> None:
    write(places, {"Shirt": 40, "hats": 40})
    file = tmp_path / "taxonomy.csv"
    file.write_text("category_id,category_path\nShirt,Shirts\nHats,Hats\n")
    assert training_set(Selection(places, taxonomy=file)).category_ids == ("Hats", "Shirt")


def test_a_picture_in_two_categories_is_named_with_both(places: Places, caplog: pytest.LogCaptureFixture) -> None:
    write_labelled(places, [("p1", "Hats", [0]), ("p2", "Shoes", [0]), ("p3", "Shoes", [0])], content="shared")
    write_labelled(places, [("p4", "Hats", [0]), ("p5", "Bags", [0])], content="too", version=1)
    write_labelled(places, [("p6", "Bags", [0]), ("p7", "bags", [0])], content="no conflict", version=2)
    write_labelled(places, [("p8", "Hats", [0]), ("p9", "Shoes", [0])], content="again", version=3)
    images = labelled_images(places)
    assert len(images) == 9, "every product keeps its label"
    assert caplog.messages[-1] == (
        "labels: 3 pictures are labelled with different categories: 'hats' (product 'p1') and 'shoes' (product 'p2'), "
        "'bags' (product 'p5') and 'hats' (product 'p4'); each product keeps its label, so networks learn that both "
        "may be right and are less sure: correct the wrong ones in the catalog"
    )
    caplog.clear()
    labelled_images(places, leave_out=["hats"])
    assert "pictures" not in "".join(caplog.messages)


TEXTS = st.lists(st.text("aAbBé>/., -", min_size=1, max_size=8), min_size=2, max_size=5, unique=True)


@settings(deadline=None)
@given(TEXTS)
def test_no_category_of_a_training_is_a_leaf_and_a_parent(texts: list[str]) -> None:
    ids = text_labels(texts).ids
    images = [
        LabelledImage(f"{text}-{number}", 0, "", ids[text], Path())
        for text in texts
        for number in range(10)
        if ids[text]
    ]
    if not images:
        return
    labels = {image.category_id for image in images}
    try:
        categories, _ = taxonomy_of(images, file=None, name="")
    except UsageError:
        assert above_others(labels) or len(labels) < 2
    else:
        assert not above_others(category.category_id for category in categories)


def test_the_fingerprint_of_labelled_images_does_not_depend_on_paths() -> None:
    image = LabelledImage("p1", 0, "c", "hats", Path())
    assert data_sha256([image]) == data_sha256([LabelledImage("p1", 0, "c", "hats", Path(), "", "Hats")])

"""A record becomes one row for each of its images."""

from __future__ import annotations

import pytest

from jobs.catalog.description import Description
from jobs.catalog.layout import PRESETS, Layout
from jobs.catalog.rows import IMAGES_A_RECORD, RowMaker, split_links


def images(layout: Layout, **values: object) -> list[tuple[object, ...]]:
    maker = RowMaker(list(values), layout, "c")
    return [row[:3] for row in maker.rows(list(values.values()), 2, 0)]


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("https://h/a.jpg,https://h/b.jpg", ["https://h/a.jpg", "https://h/b.jpg"]),
        ("https://h/w_1,h_2/a.jpg, https://h/w_1,h_2/b.jpg", ["https://h/w_1,h_2/a.jpg", "https://h/w_1,h_2/b.jpg"]),
        ("//h/a.jpg,www.h.example/b.jpg,HTTP://h/c.jpg", ["//h/a.jpg", "www.h.example/b.jpg", "HTTP://h/c.jpg"]),
        ("a.jpg,b.jpg", ["a.jpg", "b.jpg"]),
        ("/m/a.jpg,/m/b.jpg", ["/m/a.jpg", "/m/b.jpg"]),
        ("", [""]),
    ],
)
def test_a_value_is_split_into_links_and_not_inside_of_one(text: str, links: list[str]) -> None:
    assert split_links(text, ",") == links


def test_images_of_a_record_are_numbered_in_their_order_and_each_once() -> None:
    layout = Layout("csv", columns={"image_uri": ("main", "more*")}, image_separator="|")
    assert images(layout, product_id="p", more10="e|a", more2="c| b |", main="a") == [
        ("p", "0", "a"),
        ("p", "1", "c"),
        ("p", "2", "b"),
        ("p", "3", "e"),
    ]


def test_the_first_column_with_a_value_counts() -> None:
    layout = Layout("csv", columns={"product_id": ("sku", "id"), "image_uri": ("link",)})
    assert images(layout, sku=" ", id="7", link="a.jpg") == [("7", "0", "a.jpg")]
    assert images(layout, sku="s", id="7", link="a.jpg") == [("s", "0", "a.jpg")]


def test_a_record_without_any_value_is_none_and_one_without_a_link_is_a_row() -> None:
    assert images(Layout("csv"), product_id=" ", image_uri="", title=None) == []
    assert images(Layout("csv"), product_id="p", image_uri=" ") == [("p", "0", "")]


def test_a_variation_without_a_picture_of_its_own_is_no_product() -> None:
    preset = PRESETS["woocommerce"]
    layout = Layout("csv", columns=preset.columns, passed_over=preset.passed_over)
    assert images(layout, Type="variation, virtual", SKU="s", Images="") == []
    assert images(layout, Type="Variation", SKU="s", Images="") == []
    assert images(layout, Type="variation", SKU="s", Images="a.jpg") == [("s", "0", "a.jpg")]
    assert images(layout, Type="simple", SKU="s", Images="") == [("s", "0", "")]


def test_images_of_a_record_keep_their_order_and_stay_before_the_next_record_however_many_they_are() -> None:
    most_read = next(limit.le for limit in Description.model_fields["max_images"].metadata if hasattr(limit, "le"))
    assert most_read < IMAGES_A_RECORD
    maker = RowMaker(["product_id", "image_uri"], Layout("csv", image_separator="|"), "c")
    rows = list(maker.rows(["p", "|".join(f"{n}.jpg" for n in range(1500))], 2, 7))
    assert [row[1] for row in rows] == [str(n) for n in range(1500)]
    positions = [int(row[-1] or 0) for row in rows]
    assert positions[:most_read] == sorted(set(positions[:most_read]))
    assert max(positions) < 8 * IMAGES_A_RECORD

"""What people's decisions teach: which pictures, before which label of the catalog, and what they never measure."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.dataset.catalog_labels import CatalogSpan
from jobs.dataset.decided_labels import BOTH, Decided, Decision, ImagesToLearn, images_to_learn
from jobs.dataset.labels import CATALOG, PEOPLE, labelled_images
from jobs.errors import UsageError
from jobs.storage.places import Places
from tests.labelled import BLUE, DAY, GREEN, RED, write_labelled

PRODUCTS = [
    ("p1", RED, [0, 0]),
    ("p2", GREEN, [1]),
    ("p3", None, [2]),
    ("p4", BLUE, [2, 2]),
]
PATHS = {"warm": "Warm", RED: "Warm > Red", "cold": "Cold", GREEN: "Cold > Green", BLUE: "Cold > Blue"}


@pytest.fixture
def places(tmp_path: Path) -> Places:
    write_labelled(Places(tmp_path), PRODUCTS)
    return Places(tmp_path)


def decided(decisions: Mapping[str, str | None], **contents: frozenset[str] | None) -> Decided:
    """Return decisions by product; by default each was made on the product's two first pictures."""
    made = {
        name: Decision(category_id, contents.get(name, frozenset({f"{name}-0-0", f"{name}-1-0"})))
        for name, category_id in decisions.items()
    }
    return Decided(made, PATHS, len(made))


def found(places: Places, decisions: Decided, labels_from: str = BOTH, **span: object) -> ImagesToLearn:
    return images_to_learn(places, CatalogSpan(**span), decisions, labels_from=labels_from)  # type: ignore[arg-type]


def taught(places: Places, decisions: Decided, labels_from: str = BOTH) -> dict[str, list[tuple[int, str, str]]]:
    """Return the taught images of each product: number, label and who gave it."""
    by_product: dict[str, list[tuple[int, str, str]]] = {}
    for image in found(places, decisions, labels_from).taught:
        by_product.setdefault(image.product_id, []).append((image.image_no, image.category_id, image.source))
    return by_product


def test_without_a_decision_the_catalog_teaches_and_measures(places: Places) -> None:
    same = found(places, Decided({}, PATHS))
    assert same.taught is same.measured
    assert same.taught == labelled_images(places)
    assert found(places, decided({"p1": BLUE}), CATALOG).taught == labelled_images(places)


def test_a_decision_counts_before_the_catalog_s_category_and_where_there_is_none(places: Places) -> None:
    decisions = decided({"p1": BLUE, "p3": GREEN})
    assert taught(places, decisions) == {
        "p1": [(0, BLUE, PEOPLE), (1, BLUE, PEOPLE)],
        "p2": [(0, GREEN, CATALOG)],
        "p3": [(0, GREEN, PEOPLE)],
        "p4": [(0, BLUE, CATALOG), (1, BLUE, CATALOG)],
    }
    assert taught(places, decisions, PEOPLE).keys() == {"p1", "p3"}
    assert found(places, decisions).measured == labelled_images(places), "the catalog measures, as if nobody decided"


def test_a_decision_teaches_the_contents_that_it_was_made_on(places: Places) -> None:
    """Of other pictures the catalog's label is kept if the person said the same; else one of the two is wrong."""
    on_one = {name: frozenset({f"{name}-0-0", "a picture of long ago"}) for name in ("p1", "p4")}
    labels = taught(places, decided({"p1": BLUE, "p4": BLUE}, **on_one))
    assert labels["p1"] == [(0, BLUE, PEOPLE)]
    assert labels["p4"] == [(0, BLUE, PEOPLE), (1, BLUE, CATALOG)]
    assert taught(places, decided({"p4": BLUE}, **on_one), PEOPLE)["p4"] == [(0, BLUE, PEOPLE)]


def test_a_decision_of_an_earlier_version_teaches_every_picture(places: Places) -> None:
    assert taught(places, decided({"p1": BLUE}, p1=None))["p1"] == [(0, BLUE, PEOPLE), (1, BLUE, PEOPLE)]


def test_none_of_the_categories_teaches_nothing_and_takes_the_label_away(
    places: Places, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert "p2" not in taught(places, decided({"p2": None}))
    assert "decisions of people on 1 products say that they are none of the categories" in caplog.text


@pytest.mark.parametrize("category_id", ["warm", "cold"])
def test_a_decision_for_an_inner_node_teaches_nothing_and_is_counted(
    category_id: str, places: Places, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    labels = taught(places, decided({"p2": category_id, "p3": category_id, "p4": BLUE}))
    assert labels.keys() == {"p1", "p4"}
    assert "decisions of people on 2 products are for inner nodes of the taxonomy and teach nothing" in caplog.text
    assert "decisions of people on 1 products teach" in caplog.text


@pytest.mark.parametrize("where", ["catalog", "decisions", "file"])
def test_a_node_is_inner_if_any_category_is_below_it(where: str, tmp_path: Path) -> None:
    """The database's taxonomy may be older than the catalog's categories, or than the taxonomy's file."""
    places = Places(tmp_path)
    write_labelled(places, [("p1", "hat.cap" if where == "catalog" else RED, [0]), ("p2", RED, [0]), ("p3", None, [1])])
    others: dict[str, str | None] = {"p3": "hat.cap"} if where == "decisions" else {}
    decisions = Decided({**decided({"p2": "hat", **others}).decisions}, {"hat": "Hat"}, 2)
    images = found(places, decisions, category_ids=["hat.cap", RED] if where == "file" else ()).taught
    assert "hat" not in {image.category_id for image in images}
    assert images


def test_a_category_that_no_release_knew_has_its_path_from_the_database(places: Places) -> None:
    new = Decided({"p3": Decision("cold.ice")}, {**PATHS, "cold.ice": "Cold > Ice", GREEN: "Other name"}, 1)
    images = found(places, new).taught
    assert {image.category_id: image.category_path for image in images}["cold.ice"] == "Cold > Ice"
    again = found(places, Decided({"p3": Decision(GREEN)}, {GREEN: "Other name"}, 1)).taught
    assert {image.category_path for image in again if image.category_id == GREEN} == {""}, "the catalog's own counts"


def test_categories_are_left_out_of_both(places: Places) -> None:
    decisions = decided({"p3": "cold.ice", "p1": GREEN})
    some = images_to_learn(places, CatalogSpan(), decisions, leave_out=["cold.ice", RED])
    assert {image.product_id for image in some.taught} == {"p1", "p2", "p4"}
    assert {image.product_id for image in some.measured} == {"p2", "p4"}
    with pytest.raises(UsageError, match=r"no product is labelled 'cold.snow' or below it; --leave-out takes one of "):
        images_to_learn(places, CatalogSpan(), decisions, leave_out=["cold.snow"])


def test_decisions_on_products_that_are_not_here_teach_nothing(places: Places) -> None:
    assert taught(places, decided({"elsewhere": RED})) == taught(places, Decided())
    with pytest.raises(UsageError, match=r"no decision of a person gives one of 6 ingested images a label; decide "):
        taught(places, decided({"elsewhere": RED}), PEOPLE)


def test_only_people_need_have_given_labels(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), [(name, None, [0]) for name, *_ in PRODUCTS])
    both = found(Places(tmp_path), decided(dict.fromkeys(("p1", "p2"), RED)))
    assert (len(both.taught), both.measured) == (2, [])
    with pytest.raises(UsageError, match="none of 4 ingested images has a category"):
        found(Places(tmp_path), Decided())


def test_a_picture_that_changed_after_the_decision_has_no_label(places: Places) -> None:
    write_labelled(places, [("p2", RED, [0])], day=DAY + timedelta(days=1), version=1)
    decisions = decided({"p2": GREEN})
    assert "p2" not in taught(places, decisions)
    assert [image.category_id for image in found(places, decisions).measured if image.product_id == "p2"] == [RED]

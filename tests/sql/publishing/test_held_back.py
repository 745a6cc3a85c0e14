"""Answers that are held back: by their image, by their run, or by a picture that many different products have."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import sqlalchemy as sa

from jobs.releases.records import decider
from models.answers.decision import Answer, Policy, held_back
from models.answers.products import ImageVote, answer_of_images
from models.answers.reasons import IMAGE_REASONS, RUN_REASONS
from models.answers.reasons import REVIEW_REASONS as MODELS_REASONS
from sql.errors import UnknownNameError
from sql.named_queries import run_query
from sql.overrides import Override, clear_override, set_overrides
from sql.pictures import allow_picture
from sql.publishing.answers import effective_answer
from sql.publishing.shared_pictures import SHOWN, article_of, group_count
from sql.records import REVIEW_REASONS, ReleaseRecord, SharedPictures, StoredImage
from sql.retract import retract_run
from sql.run_history import find_run
from sql.store import ProductDatabase
from tests.sql.runs import (
    BOOT,
    SHIRT,
    answer,
    combine,
    combine_by,
    dump,
    picture_of,
    prediction,
    publish,
)
from tests.sql.same_pictures import NO_IMAGE, SHARED, shared_of, shop, status_of


def rows_of(database: ProductDatabase, name: str) -> list[dict[str, Any]]:
    result = run_query(database, name)
    return [dict(zip(result.columns, row, strict=True)) for row in result.rows]


def held(database: ProductDatabase) -> dict[str, str | None]:
    """Return why the run of each prediction holds it back."""
    with database.engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(sa.text("SELECT product_id, held_by FROM current_images"))}


def test_the_database_has_the_reasons_of_the_models_in_their_order() -> None:
    assert tuple(REVIEW_REASONS) == MODELS_REASONS


@pytest.mark.parametrize("floor", [0.0, 0.55, 0.6, 1.0])
def test_sql_and_python_agree_on_the_answer_of_one_image(database: ProductDatabase, floor: float) -> None:
    """For every status, reason of the image and reason of the run; also where the confidence is below the floor."""
    policy = Policy({}, floor=floor)
    columns = effective_answer("image.{}", floor)
    statement = sa.text(
        f"SELECT {', '.join(columns[name] for name in ('category_id', 'confidence', 'status', 'review_reason'))} "
        "FROM (SELECT CAST(:category_id AS TEXT) AS category_id, CAST(:confidence AS DOUBLE PRECISION) AS confidence, "
        "CAST(:status AS TEXT) AS status, CAST(:review_reason AS TEXT) AS review_reason, "
        "CAST(:held_by AS TEXT) AS held_by) AS image"
    )
    own = [Answer(SHIRT, 0.55, "auto"), Answer(SHIRT, 0.9, "auto")]
    own += [Answer(SHIRT, 0.55, "review", reason) for reason in REVIEW_REASONS]
    own += [Answer(None, None, "unknown", reason) for reason in REVIEW_REASONS]
    with database.engine.connect() as connection:
        for given, held_by in itertools.product(own, (None, *RUN_REASONS)):
            expected = given if held_by is None else held_back(given, held_by, policy)
            found = connection.execute(statement, {**vars(given), "held_by": held_by}).one()
            assert Answer(*found) == expected


def test_below_the_floor_a_held_answer_is_unknown_with_one_image_and_with_several(database: ProductDatabase) -> None:
    """A threshold may lie below the floor; one image is decided in SQL, several by the models' own function."""
    release = ReleaseRecord("release-1", "taxonomy-1", {"thresholds": {SHIRT: 0.5}, "floor": 0.6})
    night = [prediction("one", confidence=0.55, held_by="foreign_group"), prediction("sure", held_by="foreign_group")]
    night += [
        prediction("two", confidence=0.55, content=content, image_no=number, held_by="foreign_group")
        for number, content in enumerate("AB")
    ]
    # One of two pictures has left since, so that one of several staged rows decides alone.
    night += [prediction("left", confidence=0.55, content="B", held_by="foreign_group", ingest_no=2)]
    night += [prediction("left", confidence=0.55, content="A", held_by="foreign_group")]
    publish(database, night, release=release, combine=decider(release.manifest))
    for name in ("one", "two", "left"):
        found = answer(database, name)
        assert (found["category_id"], found["confidence"], found["image_count"] > 1) == (None, None, name == "two")
        assert status_of(database, name) == ("unknown", "foreign_group")
    assert (answer(database, "sure")["category_id"], *status_of(database, "sure")) == (SHIRT, "review", "foreign_group")
    set_overrides(database, [Override("one", BOOT)], decided_by="maria")
    clear_override(database, "one", decided_by="maria", combine_by=decider)
    assert (answer(database, "one")["category_id"], *status_of(database, "one")) == (None, "unknown", "foreign_group")


def test_what_an_image_and_its_run_say_is_kept_apart_and_counts_together(database: ProductDatabase) -> None:
    publish(
        database,
        [
            prediction("auto"),
            prediction("held", held_by="foreign_group", foreign_score=0.4),
            prediction("foreign", status="review", reason="foreign_image", held_by="foreign_night", foreign_score=1.5),
            prediction("closed", status="review", reason="gate_closed", held_by="foreign_night"),
            prediction("unsure", confidence=0.5, status="review", held_by="shared_picture"),
            prediction("unknown", None, 0.0, status="unknown", held_by="foreign_group"),
        ],
    )
    assert {name: status_of(database, name) for name in ("auto", "held", "foreign", "closed", "unsure", "unknown")} == {
        "auto": ("auto", None),
        "held": ("review", "foreign_group"),
        "foreign": ("review", "foreign_night"),
        "closed": ("review", "gate_closed"),
        "unsure": ("review", "shared_picture"),
        "unknown": ("unknown", "foreign_group"),
    }
    images = {row["product_id"]: row for row in rows_of(database, "current_images")}
    assert (images["held"]["status"], images["held"]["review_reason"]) == ("auto", None)
    assert (images["foreign"]["review_reason"], images["foreign"]["foreign_score"]) == ("foreign_image", 1.5)
    assert {
        (row["status"], row["review_reason"]): row["product_count"] for row in rows_of(database, "review_reasons")
    } == {
        ("auto", None): 1,
        ("review", "foreign_group"): 1,
        ("review", "foreign_night"): 1,
        ("review", "gate_closed"): 1,
        ("review", "shared_picture"): 1,
        ("unknown", "foreign_group"): 1,
    }
    assert {row["product_id"]: row["review_reason"] for row in rows_of(database, "review_queue")}[
        "held"
    ] == "foreign_group"
    run = find_run(database, "nightly-2026-11-01")
    assert run is not None
    assert run["summary"]["review_reasons"] == {
        "foreign_group": 2,
        "foreign_night": 1,
        "gate_closed": 1,
        "shared_picture": 1,
    }


def test_the_same_answer_for_another_reason_is_a_change(database: ProductDatabase) -> None:
    publish(database, [prediction("p", status="review", reason="taxonomy")])
    counts = publish(database, [prediction("p", status="review", reason="below_threshold")])
    assert (counts.images_changed, counts.products_changed) == (1, 1)
    assert status_of(database, "p") == ("review", "below_threshold")
    assert publish(database, [prediction("p", held_by="foreign_night")]).products_changed == 1
    assert publish(database, [prediction("p", held_by="foreign_group")]).products_changed == 1
    assert publish(database, [prediction("p", held_by="foreign_night")]).products_changed == 1
    assert publish(database, [prediction("p", held_by="foreign_night", foreign_score=0.2)]).images_changed == 1
    assert not publish(database, [prediction("p", held_by="foreign_night", foreign_score=0.2)]).changed


def test_images_that_the_release_does_not_know_have_no_say(database: ProductDatabase) -> None:
    foreign = prediction("p", BOOT, 0.99, content="B", image_no=1, status="review", reason="foreign_image")
    publish(database, [prediction("p", SHIRT, 0.9), foreign])
    assert (answer(database, "p")["category_id"], *status_of(database, "p")) == (SHIRT, "auto", None)


def test_the_played_decision_of_several_images_is_that_of_the_models() -> None:
    """For every reason of both images and of their runs: what these tests show of the database holds for both."""
    reasons = itertools.product((None, *IMAGE_REASONS), (None, *RUN_REASONS), repeat=2)
    for (one, by_one, other, by_other), top in itertools.product(reasons, ([(SHIRT, 0.9)], [(BOOT, 0.9)])):
        images = [StoredImage([(SHIRT, 0.9)], one, by_one), StoredImage(top, other, by_other)]
        expected = answer_of_images([ImageVote(*image) for image in images], Policy())
        assert vars(combine(images)) == vars(expected), images


def test_an_image_that_cannot_be_judged_has_a_say_and_holds_its_product_back(database: ProductDatabase) -> None:
    """The new picture came when the gate was closed. It says something else than the one that was published."""
    publish(database, [prediction("p", SHIRT, 0.9), prediction("q", SHIRT, 0.9)])
    closed: dict[str, Any] = {"image_no": 1, "content": "B", "status": "review", "reason": "gate_closed", "night": 1}
    publish(database, [prediction("p", BOOT, 0.9, **closed), prediction("q", SHIRT, 0.9, **closed)], night=1)
    expected = {"p": (BOOT, 0.5), "q": (SHIRT, 0.9)}
    for name, (category_id, confidence) in expected.items():
        assert status_of(database, name) == ("review", "gate_closed")
        assert answer(database, name)["category_id"] == category_id
        assert answer(database, name)["confidence"] == pytest.approx(confidence)
        set_overrides(database, [Override(name, BOOT)], decided_by="maria")
        clear_override(database, name, decided_by="maria", combine_by=combine_by)
        assert status_of(database, name) == ("review", "gate_closed"), "a cleared decision publishes nothing either"


def test_a_foreign_night_publishes_no_answer_that_it_writes_and_changes_no_other(database: ProductDatabase) -> None:
    """p gets a size chart in a foreign night: its shirt of the night before decides, and a person looks."""
    night = [prediction("p", SHIRT, 0.9), prediction("q", SHIRT, 0.9)]
    publish(database, night)
    before = answer(database, "q")
    foreign: dict[str, Any] = {"image_no": 1, "content": "B", "status": "review", "reason": "foreign_image", "night": 1}
    publish(database, [prediction("p", BOOT, 0.9, held_by="foreign_night", **foreign)], night=1)
    assert (answer(database, "p")["category_id"], *status_of(database, "p")) == (SHIRT, "review", "foreign_night")
    assert answer(database, "p")["run_id"] == "nightly-2026-11-02"
    assert answer(database, "q") == before
    set_overrides(database, [Override("p", BOOT)], decided_by="maria")
    clear_override(database, "p", decided_by="maria", combine_by=combine_by)
    assert status_of(database, "p") == ("review", "foreign_night")
    publish(database, [prediction("p", BOOT, 0.9, held_by="foreign_group", **foreign)], night=1)
    assert status_of(database, "p") == ("auto", None), "a group holds back its own answers, and the chart has no say"


def test_a_decision_has_no_reason_and_clearing_it_brings_the_reason_back(database: ProductDatabase) -> None:
    publish(database, [prediction("p", held_by="foreign_group")])
    set_overrides(database, [Override("p", BOOT)], decided_by="maria")
    assert status_of(database, "p") == ("manual", None)
    clear_override(database, "p", decided_by="maria", combine_by=combine_by)
    assert status_of(database, "p") == ("review", "foreign_group")


def test_a_picture_of_different_products_holds_their_answers_back(database: ProductDatabase) -> None:
    night = shop(3)
    night["predictions"] += [prediction("own"), prediction("p9", content="shared", held_by="foreign_night")]
    publish(database, **night, pictures=NO_IMAGE)
    assert held(database) == {**{f"p{n}": "shared_picture" for n in range(3)}, "own": None, "p9": "foreign_night"}
    assert status_of(database, "p0") == ("review", "shared_picture")
    shown = {"image_sha256": SHARED, "products": 4, "categories": 3, "example": "p0"}
    assert shared_of(database) == {"contents": [SHARED], "shown": [shown]}
    before = dump(database)
    assert not publish(database, **night, pictures=NO_IMAGE).changed
    assert dump(database) == before


@pytest.mark.parametrize(
    ("products", "more", "expected"),
    [
        (2, {}, False),
        (3, {}, True),
        (3, {"category": "one kind"}, False),
        (3, {"category": None}, True),
        (3, {"group_id": "one article"}, False),
    ],
    ids=["too few", "enough", "one category", "no categories", "variants"],
)
def test_a_picture_is_shared_by_enough_articles_of_several_categories(
    database: ProductDatabase, products: int, more: dict[str, Any], expected: bool
) -> None:
    publish(database, **shop(products, **more), pictures=NO_IMAGE)
    assert (status_of(database, "p0") == ("review", "shared_picture")) is expected


def test_colours_and_sizes_of_one_title_are_one_article(database: ProductDatabase) -> None:
    night = shop(3)
    titles = ["Wool coat blue M", "wool  coat red L", "WOOL COAT green S"]
    night["products"] = [(*row[:3], title, *row[4:]) for row, title in zip(night["products"], titles, strict=True)]
    publish(database, **night, pictures=NO_IMAGE)
    assert status_of(database, "p0") == ("auto", None)


def test_groups_and_titles_join_products() -> None:
    assert group_count([]) == 0
    assert group_count([(None, None), (None, ""), ("", None)]) == 3
    assert group_count([("g", "a"), ("g", "b"), ("h", "b"), (None, "c")]) == 2
    assert group_count([("x", None), (None, "x")]) == 2, "a title is no group_id"
    titles = ("Coat", "Coat Blue", "Wool Coat Blue", "Wool Coat Blue M", "Long Wool Coat Blue M", " ", None)
    assert [article_of(title) for title in titles] == [
        "coat",
        "coat",
        "wool coat",
        "wool coat",
        "long wool coat",
        "",
        "",
    ]
    assert group_count([(None, "Shirt blue XL"), (None, "Shirt blue L"), (None, "shirt red L")]) == 2
    assert group_count([(None, "Basic Tee Blue XL"), (None, "Basic Tee Blue")]) == 1
    assert group_count([(None, "Shirt"), (None, "Coat"), (None, "shirt 4")]) == 2


def test_variants_of_a_short_title_are_one_article(database: ProductDatabase) -> None:
    night = shop(20)
    night["products"] = [(*row[:3], f"Shirt blue {size}", None, *row[5:]) for size, row in enumerate(night["products"])]
    publish(database, **night, pictures=NO_IMAGE)
    assert status_of(database, "p0") == ("auto", None)


def test_products_of_earlier_nights_count_and_those_that_left_do_not(database: ProductDatabase) -> None:
    earlier, three = shop(3), SharedPictures(groups=3, categories=1)
    publish(database, earlier["predictions"][:2], products=earlier["products"][:2], pictures=three)
    publish(database, [prediction("p2", content="shared", night=1)], night=1, pictures=three)
    assert held(database) == {"p0": None, "p1": None, "p2": "shared_picture"}, "rows of other runs stay"
    left = [("p0", 0, "shop", "left", None, prediction("p", night=2)[4], 1)]
    publish(database, [prediction("p3", content="shared", night=2)], night=2, image_changes=left, pictures=three)
    assert held(database)["p3"] == "shared_picture"
    left = [("p1", 0, "shop", "left", None, prediction("p", night=3)[4], 1)]
    left += [("p3", 0, "shop", "left", None, prediction("p", night=3)[4], 1)]
    twice = [prediction("p4", content="shared", night=3, image_no=number) for number in range(2)]
    publish(database, twice, night=3, image_changes=left, pictures=three)
    assert held(database)["p4"] is None


def test_a_small_night_finds_a_picture_in_a_large_catalog(database: ProductDatabase) -> None:
    """It looks its own pictures up, where a large one counts all pictures of the catalog."""
    publish(database, [*shop(20)["predictions"], *(prediction(f"own{n}") for n in range(20))], pictures=NO_IMAGE)
    assert set(held(database).values()) == {"shared_picture", None}
    new = [prediction("new", content="shared", night=1), prediction("own", night=1)]
    publish(database, new, night=1, pictures=SharedPictures(groups=21))
    assert (held(database)["new"], held(database)["own"]) == ("shared_picture", None)
    assert shared_of(database, "nightly-2026-11-02")["shown"][0]["products"] == 21


def test_zero_groups_look_for_no_picture(database: ProductDatabase) -> None:
    publish(database, **shop(4), pictures=SharedPictures(groups=0))
    assert status_of(database, "p0") == ("auto", None)
    run = find_run(database, "nightly-2026-11-01")
    assert run is not None
    assert "gates" not in run["summary"]


def test_what_was_noted_is_used_instead_of_looking(database: ProductDatabase) -> None:
    """So a run that is published again changes nothing although more products have the picture since."""
    night = shop(2)
    publish(database, **night, pictures=NO_IMAGE)
    assert shared_of(database) == {"contents": [], "shown": []}
    more = [prediction(f"q{number}", content="shared", night=1) for number in range(3)]
    publish(database, more, night=1, pictures=NO_IMAGE)
    again = SharedPictures(3, 2, noted=shared_of(database)["contents"])
    assert not publish(database, **night, pictures=again).changed
    later = shared_of(database, "nightly-2026-11-02")
    assert later["contents"] == [SHARED]
    assert not publish(database, more, night=1, pictures=SharedPictures(100, noted=later["contents"])).changed
    publish(database, [*more, prediction("r", night=1)], night=1, pictures=SharedPictures(100, noted=[SHARED]))
    assert shared_of(database, "nightly-2026-11-02") == later, "what was noted stays"


def test_a_summary_shows_the_pictures_of_the_most_products_and_keeps_all(database: ProductDatabase) -> None:
    pictures = range(SHOWN + 1)
    rows = [
        prediction(f"p{picture}-{number}", content=f"shared {picture}")
        for picture in pictures
        for number in range(4 if picture == 50 else 3)
    ]
    publish(database, rows, pictures=NO_IMAGE)
    noted = shared_of(database)
    assert noted["contents"] == sorted(picture_of("", f"shared {picture}") for picture in pictures)
    assert len(noted["shown"]) == SHOWN
    assert noted["shown"][0] == {
        "image_sha256": picture_of("", "shared 50"),
        "products": 4,
        "categories": 0,
        "example": "p50-0",
    }


def test_an_allowed_picture_holds_nothing_back(database: ProductDatabase) -> None:
    night = shop(3)
    night["predictions"][2] = prediction("p2", content="shared", confidence=0.5, status="review")
    publish(database, **night, pictures=NO_IMAGE)
    set_overrides(database, [Override("p1", BOOT)], decided_by="maria")
    (picture,) = rows_of(database, "shared_pictures")
    assert picture == {
        "image_sha256": SHARED,
        "product_count": 2,
        "example_product_id": "p0",
        "example_image_uri": "file:///shop/p0-0.jpg",
    }
    assert allow_picture(database, f" {SHARED.upper()}", by="maria", why="a gift box", combine_by=combine_by) == 2
    assert [status_of(database, name) for name in ("p0", "p1", "p2")] == [
        ("auto", None),
        ("manual", None),
        ("review", "below_threshold"),
    ]
    assert rows_of(database, "shared_pictures") == []
    (row,) = dump(database)["allowed_pictures"]
    assert row[:3] == (SHARED, "maria", "a gift box")
    before = dump(database)
    noted = SharedPictures(3, 2, noted=[SHARED])
    assert not publish(database, **night, pictures=noted).changed
    assert not publish(database, **night, pictures=NO_IMAGE).changed
    assert dump(database) == before


def test_a_retracted_run_does_not_bring_the_hold_of_an_allowed_picture_back(database: ProductDatabase) -> None:
    publish(database, **shop(3), pictures=NO_IMAGE)
    publish(database, shop(3)["predictions"], run_id="backfill", pictures=SharedPictures(groups=0))
    assert status_of(database, "p0") == ("auto", None)
    allow_picture(database, SHARED, by="maria", combine_by=combine_by)
    retract_run(database, "backfill", by="maria", combine_by=combine_by)
    assert status_of(database, "p0") == ("auto", None)


@pytest.mark.parametrize(
    ("picture", "by", "error", "message"),
    [
        ("0" * 64, "maria", UnknownNameError, "No product has a picture .*query `shared_pictures`"),
        (SHARED, " ", ValueError, "Nobody allows the picture: expected the name of a person"),
        (picture_of("", "shared too"), "maria", ValueError, "is allowed already, by ada at 2.* UTC"),
    ],
    ids=["unknown", "nobody", "again"],
)
def test_a_picture_that_cannot_be_allowed_is_one_sentence(
    database: ProductDatabase, picture: str, by: str, error: type[Exception], message: str
) -> None:
    publish(database, [prediction("p", content="shared"), prediction("q", content="shared too")])
    allow_picture(database, picture_of("", "shared too"), by="ada", combine_by=combine_by)
    before = dump(database)
    with pytest.raises(error, match=message):
        allow_picture(database, picture, by=by, combine_by=combine_by)
    assert dump(database) == before


def test_the_queues_by_reason_and_by_picture_are_read_by_their_indexes(database: ProductDatabase) -> None:
    """The queue in order of confidence needs no sort, and held pictures need no scan of the predictions."""
    if database.engine.dialect.name != "sqlite":
        return
    publish(database, **shop(3), pictures=NO_IMAGE)
    plans = {
        "SELECT product_id FROM review_queue WHERE review_reason = 'taxonomy' ORDER BY confidence, product_id": (
            "ix_product_categories_waiting"
        ),
        "SELECT product_id FROM review_queue ORDER BY confidence, product_id": "ix_product_categories_waiting",
        "SELECT image_sha256 FROM current_images WHERE held_by = 'shared_picture'": "ix_category_predictions_shared",
    }
    for statement, index in plans.items():
        with database.engine.connect() as connection:
            plan = "\n".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}"))
        assert index in plan, plan
        assert "TEMP B-TREE" not in plan or "shared" in statement, plan

"""The table of what people should label first: who is in it, who is left out of the query, and when it is replaced."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from sql.label_candidates import PicturedAnswer, keep_candidates, pictured_answers, runs_of_release
from sql.named_queries import run_query
from sql.overrides import Override, clear_override, set_overrides
from sql.schema.tables import metadata
from sql.store import ProductDatabase
from tests.sql.runs import (
    BOOT,
    NEWER_RELEASE,
    SHIRT,
    combine_by,
    dump,
    image_change,
    picture_of,
    prediction,
    publish,
)

MOMENT = datetime(2026, 11, 1, 4, tzinfo=UTC)
RUN = "nightly-2026-11-01"


def doubted(product_id: str, confidence: float = 0.5, **more: Any) -> tuple[Any, ...]:
    """Return the prediction of a product that waits."""
    return prediction(product_id, SHIRT, confidence, **{"status": "review", **more})


def keep(database: ProductDatabase, *product_ids: str, at_utc: datetime = MOMENT) -> None:
    keep_candidates(database, product_ids, run_id=RUN, release_id="release-1", at_utc=at_utc)


def decide_none(database: ProductDatabase, product_id: str) -> None:
    """Store what a person's decision leaves who found that the product is none of the categories."""
    answers = metadata.tables["product_categories"]
    with database.engine.begin() as connection:
        decided = {"decided": True, "status": "unknown", "category_id": None, "confidence": None}
        connection.execute(sa.update(answers).where(answers.c.product_id == product_id).values(decided))


def asked(database: ProductDatabase) -> list[tuple[int, str]]:
    """Return place and product_id of the query's rows."""
    result = run_query(database, "label_candidates")
    rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    return [(row["place"], row["product_id"]) for row in rows]


def test_the_query_gives_the_most_useful_first_with_an_image(database: ProductDatabase) -> None:
    publish(database, [doubted("p"), doubted("q", 0.2, status="unknown"), doubted("r")])
    keep(database, "r", "q", "p")
    assert asked(database) == [(1, "r"), (2, "q"), (3, "p")]
    result = run_query(database, "label_candidates", limit=1)
    (row,) = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    assert row == {
        "place": 1,
        "product_id": "r",
        "suggested_category_id": SHIRT,
        "suggested_category_path": "Apparel > Tops > Shirt",
        "confidence": 0.5,
        "status": "review",
        "review_reason": "below_threshold",
        "image_uri": "file:///shop/r-0.jpg",
        "release_id": "release-1",
        "run_id": RUN,
        "chosen_at_utc": MOMENT,
    }


def test_what_is_decided_published_or_has_left_is_not_asked(database: ProductDatabase) -> None:
    publish(database, [doubted(name) for name in ("decided", "none", "left", "sure", "stays")])
    keep(database, "decided", "none", "left", "sure", "gone", "stays")
    set_overrides(database, [Override("decided", BOOT)], decided_by="maria")
    decide_none(database, "none")
    publish(
        database,
        [prediction("sure", BOOT, 0.99, content="B", night=1)],
        night=1,
        image_changes=[image_change("left", "left", night=1)],
    )
    assert asked(database) == [(6, "stays")]
    clear_override(database, "decided", combine_by=combine_by, decided_by="maria")
    assert asked(database) == [(1, "decided"), (6, "stays")]


def test_new_candidates_replace_the_old_ones(database: ProductDatabase) -> None:
    publish(database, [doubted("p"), doubted("q")])
    keep(database, "p", "q")
    keep(database, "q")
    assert asked(database) == [(1, "q")]
    keep(database)
    assert dump(database)["label_candidates"] == []


def test_the_same_candidates_of_the_same_run_change_no_row(database: ProductDatabase) -> None:
    publish(database, [doubted("p"), doubted("q")])
    keep(database, "p", "q")
    before = dump(database)
    keep(database, "p", "q", at_utc=MOMENT.replace(hour=5))
    assert dump(database) == before
    keep(database, "q", "p", at_utc=MOMENT.replace(hour=5))
    assert dump(database)["label_candidates"] != before["label_candidates"]


def test_pictures_of_products_that_wait_or_have_a_label(database: ProductDatabase) -> None:
    publish(
        database,
        [
            *(doubted(name) for name in ("p", "q", "none", "left", "other")),
            doubted("q", 0.4, image_no=1, content="B"),
            prediction("sure"),
        ],
    )
    publish(
        database,
        [doubted("other", content="B", night=1)],
        night=1,
        release=NEWER_RELEASE,
        image_changes=[image_change("left", "left", night=1)],
    )
    set_overrides(database, [Override("p", BOOT)], decided_by="maria")
    decide_none(database, "none")
    names = ["p", "q", "none", "left", "other", "sure", "gone"]
    assert pictured_answers(database, names, "release-1") == [
        PicturedAnswer("p", picture_of("p", "A"), True, (0.5, 0.25)),
        PicturedAnswer("q", picture_of("q", "A"), False, (0.5, 0.25)),
        PicturedAnswer("q", picture_of("q", "B"), False, (0.4, 0.3)),
    ]
    assert pictured_answers(database, [], "release-1") == []


def test_the_latest_runs_of_a_release(database: ProductDatabase) -> None:
    for night in range(3):
        publish(database, [doubted("p", night=night)], night=night)
    publish(database, [doubted("q", night=3)], night=3, release=NEWER_RELEASE)
    assert runs_of_release(database, "release-1", limit=2) == ["nightly-2026-11-03", "nightly-2026-11-02"]
    runs = metadata.tables["runs"]
    with database.engine.begin() as connection:
        taken_back = runs.c.run_id == "nightly-2026-11-02"
        connection.execute(sa.update(runs).where(taken_back).values(retracted_at_utc=MOMENT))
    assert runs_of_release(database, "release-1", limit=5) == ["nightly-2026-11-03", "nightly-2026-11-01"]

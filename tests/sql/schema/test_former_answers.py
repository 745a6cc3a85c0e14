"""Answers of a database from before there were reasons: each gets the reason that it had, and the counts agree."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from sql.engine import make_parent_directory
from sql.schema import migrate
from sql.schema.tables import metadata
from sql.store import ProductDatabase, open_database
from tests.sql.runs import NIGHT, dump, prediction, publish, sha

BEFORE_REASONS = "bfd6dadd11db"
MOMENT = datetime(2026, 11, 1, 2, tzinfo=UTC)
ANSWERS: dict[str, tuple[str | None, float | None, str]] = {
    "published": ("apparel.tops", 0.9, "auto"),
    "inner": ("apparel", 0.8, "review"),
    "unsure": ("apparel.tops", 0.5, "review"),
    "alike": ("apparel.top", 0.5, "review"),
    "unknown": (None, None, "unknown"),
    "decided": ("apparel.tops", None, "manual"),
    "left": ("apparel", 0.7, "review"),
}
REASONS = {
    "published": None,
    "inner": "taxonomy",
    "unsure": "below_threshold",
    "alike": "below_threshold",
    "unknown": "below_threshold",
    "decided": None,
    "left": "taxonomy",
}


@pytest.fixture
def former(empty_url: str) -> ProductDatabase:
    """A database of the version before the reasons, with one prediction and one answer of each kind."""
    database = open_database(empty_url)
    make_parent_directory(database.engine.url)
    with database.engine.begin() as connection:
        command.upgrade(migrate._config(connection), BEFORE_REASONS)

        def add(table: str, **values: Any) -> None:
            connection.execute(sa.insert(metadata.tables[table]).values(values))

        for name in ("apparel", "apparel.tops", "apparel.top"):
            add("categories", category_id=name, category_path=name, taxonomy_version="taxonomy-1")
        add("releases", release_id="release-1", taxonomy_version="taxonomy-1", manifest={}, registered_at_utc=MOMENT)
        add(
            "runs", run_id="nightly-1", kind="nightly", run_date=NIGHT, state="published", counts={}, seconds={},
            summary={}, started_at_utc=MOMENT, finished_at_utc=MOMENT,
        )  # fmt: skip
        for place, (product_id, (category_id, confidence, status)) in enumerate(ANSWERS.items()):
            answer: dict[str, Any] = {
                "product_id": product_id,
                "category_id": category_id,
                "confidence": confidence,
                "status": status,
            }
            of_run: dict[str, Any] = {"ingest_date": NIGHT, "ingest_no": 1, "run_id": "nightly-1"}
            add(
                "product_categories", **answer, **of_run, release_id="release-1", image_count=1,
                updated_at_utc=MOMENT, left_at=NIGHT if product_id == "left" else None,
            )  # fmt: skip
            if status != "manual":
                image: dict[str, Any] = {
                    "release_id": "release-1",
                    "image_sha256": sha(f"{product_id}/A"),
                    "image_no": 0,
                }
                image |= {"image_uri": "p.jpg", "predicted_at_utc": MOMENT, "top_k": None, "by_network": None}
                add("category_predictions", **answer, **of_run, **image)
                add("replaced_predictions", **answer, **of_run, **image, replaced_run_id="nightly-0")
                add(
                    "run_highlights", run_id="nightly-1", kind="least_certain", place=place, ingest_date=NIGHT, **answer
                )
        add(
            "overrides", override_id=1, product_id="decided", action="set", category_id="apparel.tops",
            decided_by="maria", decided_at_utc=MOMENT,
        )  # fmt: skip
        connection.exec_driver_sql("INSERT INTO category_totals VALUES ('apparel', 'review', 77, 77, 77)")
    return database


@pytest.mark.parametrize(
    "table", ["category_predictions", "replaced_predictions", "product_categories", "run_highlights"]
)
def test_answers_that_were_not_published_get_the_reason_that_they_had(former: ProductDatabase, table: str) -> None:
    """A parent of others was suggested because of the taxonomy; everything else was only unsure."""
    former.upgrade()
    columns = metadata.tables[table].c
    with former.engine.connect() as connection:
        rows = connection.execute(sa.select(columns.product_id, columns.review_reason)).all()
    found = {row.product_id: row.review_reason for row in rows}
    assert found == {product_id: REASONS[product_id] for product_id in found}
    assert len(found) >= len(REASONS) - 1


def test_products_are_counted_anew_with_the_reason(former: ProductDatabase) -> None:
    former.upgrade()
    assert [tuple(row) for row in dump(former)["category_totals"]] == [
        ("", "unknown", "below_threshold", 1, 0, 0),
        ("apparel", "review", "taxonomy", 1, 1, 800_000_000),
        ("apparel.top", "review", "below_threshold", 1, 1, 500_000_000),
        ("apparel.tops", "auto", "", 1, 1, 900_000_000),
        ("apparel.tops", "manual", "", 1, 0, 0),
        ("apparel.tops", "review", "below_threshold", 1, 1, 500_000_000),
    ]


def test_everything_else_of_the_answers_stays_and_a_night_is_published(former: ProductDatabase) -> None:
    former.upgrade()
    former.check()
    rows = dump(former)
    stored = {row[0]: row for row in rows["product_categories"]}
    assert {name: (row[1], row[2], row[3]) for name, row in stored.items()} == ANSWERS
    former.upgrade()
    assert dump(former) == rows
    publish(former, [prediction("new", held_by="foreign_group")])
    assert {row[0]: row[4] for row in dump(former)["product_categories"]}["new"] == "foreign_group"


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("category_predictions", "review_reason"),
        ("category_predictions", "held_by"),
        ("product_categories", "review_reason"),
    ],
)
def test_a_reason_is_one_of_the_list(former: ProductDatabase, table: str, column: str) -> None:
    database = former
    database.upgrade()
    publish(database, [prediction("p")])
    for value in ("changed_picture", "below_threshold"):
        with database.engine.begin() as connection:
            connection.execute(sa.text(f"UPDATE {table} SET {column} = '{value}'"))
    with (
        pytest.raises(sa.exc.IntegrityError, match=f"ck_{table}_{column}_listed"),
        database.engine.begin() as connection,
    ):
        connection.execute(sa.text(f"UPDATE {table} SET {column} = 'unheard_of'"))

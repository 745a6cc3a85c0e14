"""A database as an earlier version of the program made it keeps its rows, and takes what this version publishes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from sql.engine import make_parent_directory
from sql.errors import DatabaseError
from sql.records import PREDICTION_COLUMNS
from sql.schema import migrate
from sql.schema.tables import metadata
from sql.schema.views import view_definitions
from sql.store import ProductDatabase, open_database
from tests.sql.runs import NIGHT, dump, prediction, product, publish, rejection, sha

BEFORE_GROUPS = "ab9d5ce486b6"
MOMENT = datetime(2026, 11, 1, 2, tzinfo=UTC)
RELEASE_ROW = {"release_id": "release-1", "taxonomy_version": "taxonomy-1", "manifest": {}, "registered_at_utc": MOMENT}


@pytest.fixture
def former(empty_url: str) -> ProductDatabase:
    """A database of the version before the groups of variants, with a run, a product and a rejection."""
    database = open_database(empty_url)
    make_parent_directory(database.engine.url)
    with database.engine.begin() as connection:
        command.upgrade(migrate._config(connection), BEFORE_GROUPS)
        for name in view_definitions():  # with other columns than now
            connection.exec_driver_sql(f"CREATE VIEW {name} AS SELECT product_id FROM category_predictions")
        run: dict[str, Any] = {"run_id": "nightly-1", "kind": "nightly", "run_date": NIGHT, "state": "published"}
        run |= {"counts": {}, "seconds": {}, "summary": {}, "started_at_utc": MOMENT}
        connection.execute(sa.insert(metadata.tables["runs"]).values(run))
        connection.execute(
            sa.text("INSERT INTO products VALUES ('p', 0, 'p.jpg', 'a title', 'hats', NULL, '2026-11-01', 1)")
        )
        rejected = {"run_id": "nightly-1", "product_id": "q", "image_no": 0, "image_uri": "q.jpg", "reason": "empty"}
        rejected |= {"ingest_date": NIGHT, "detail": "no bytes", "seen_at_utc": MOMENT}
        connection.execute(sa.insert(metadata.tables["rejected_images"]).values(rejected))
        connection.execute(sa.insert(metadata.tables["releases"]).values(RELEASE_ROW))
        for content, night, image_no in (("A", 0, 0), ("B", 1, 0), ("A", 0, 1)):
            values: dict[str, Any] = dict(zip(PREDICTION_COLUMNS, _prediction(content, night, image_no), strict=True))
            for name in ("catalog_name", "review_reason", "held_by", "foreign_score", "picture_at"):
                del values[name]
            values |= {"release_id": "release-1", "run_id": "nightly-1", "predicted_at_utc": MOMENT}
            connection.execute(sa.insert(metadata.tables["category_predictions"]).values(values))
    return database


def _prediction(content: str, night: int, image_no: int) -> tuple[Any, ...]:
    """Return the row of a prediction of product p, without a category, which would need a taxonomy."""
    row = prediction("p", content=f"{content}{image_no}", night=night, image_no=image_no, status="unknown")
    return (*row[:6], None, None, "unknown", [["shoes.boot", 0.1]], {}, *row[11:])


def test_the_positions_of_an_older_database_are_those_of_its_newest_predictions(former: ProductDatabase) -> None:
    former.upgrade()
    rows = dump(former)["product_images"]
    day = NIGHT + timedelta(days=1)
    assert rows == [
        ("p", 0, sha("p/B0"), day, 1, None, None, None, "", None),
        ("p", 1, sha("p/A1"), NIGHT, 1, None, None, None, "", None),
        ("q", 0, None, None, None, "empty", NIGHT, 1, "", None),
    ]


def test_an_older_database_keeps_its_rows(former: ProductDatabase) -> None:
    with pytest.raises(DatabaseError, match="is not migrated: run `shelfwise db upgrade`"):
        former.check()
    former.upgrade()
    former.check()
    rows = dump(former)
    assert rows["products"] == [("p", 0, "p.jpg", "a title", "hats", None, None, NIGHT, 1, None)]
    assert rows["rejected_images"] == [
        ("nightly-1", "q", 0, "q.jpg", None, NIGHT, "empty", "no bytes", MOMENT),
    ]
    assert [row[0] for row in rows["runs"]] == ["nightly-1"]
    former.upgrade()
    assert dump(former) == rows


def test_an_older_database_takes_groups_and_bad_links(former: ProductDatabase) -> None:
    former.upgrade()
    rejections = [rejection("r", "bad_link")]
    publish(former, [prediction("p")], rejections=rejections, products=[product("p", group_id="g", ingest_no=2)])
    rows = dump(former)
    assert [row[:7] for row in rows["products"]] == [("p", 0, "file:///shop/p-0.jpg", "a title", None, None, "g")]
    assert [row[6] for row in rows["rejected_images"]] == ["empty", "bad_link"]


@pytest.mark.parametrize("change", ["reason = 'unheard_of'", "run_id = 'no-such-run'", "image_uri = NULL"])
def test_the_rejections_of_an_older_database_are_checked_as_before(former: ProductDatabase, change: str) -> None:
    """SQLite cannot change a check constraint, so their table is made anew."""
    former.upgrade()
    with former.engine.begin() as connection:
        connection.execute(sa.text("UPDATE rejected_images SET reason = 'bad_link'"))
    with pytest.raises(sa.exc.IntegrityError), former.engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE rejected_images SET {change}"))
    with pytest.raises(sa.exc.IntegrityError), former.engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO rejected_images SELECT * FROM rejected_images"))

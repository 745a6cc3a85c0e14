"""How a run is staged, and what PostgreSQL's planner is told of the tables that it is merged into."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from sql.engine import tune
from sql.publishing.staging import STAGED, stage
from sql.store import ProductDatabase
from tests.sql.runs import SHIRT, prediction, publish

NAMES = ["p-2", "P-3", "é", "p-10", "p-1"]


def staged(database: ProductDatabase, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The predictions as they lie in the temporary table, in batches of two rows."""
    with database.engine.connect() as connection:
        stage(connection, "staged_predictions", (rows[first : first + 2] for first in range(0, len(rows), 2)))
        return [tuple(row) for row in connection.execute(sa.text("SELECT * FROM staged_predictions"))]


def test_predictions_are_staged_whole(database: ProductDatabase) -> None:
    rows = [prediction(name, SHIRT, content=content) for name in NAMES for content in ("B", "A")]
    found = staged(database, [*rows, rows[0]])
    assert sorted((row[0], row[1]) for row in found) == sorted((row[0], row[1]) for row in [*rows, rows[0]])
    assert {len(row) for row in found} == {len(STAGED["staged_predictions"])}


def test_postgresql_stages_predictions_by_product_and_picture(database: ProductDatabase, engine_name: str) -> None:
    rows = [prediction(name, SHIRT, content=content) for name in NAMES for content in ("B", "A")]
    found = [(row[0], row[1]) for row in staged(database, rows)]
    if engine_name == "sqlite":  # it fills its tables in the order of their keys by itself
        assert sorted(found) == sorted((row[0], row[1]) for row in rows)
        return
    assert found == sorted(((row[0], row[1]) for row in rows), key=lambda key: (key[0].encode(), key[1].encode()))


def test_no_second_copy_of_the_predictions_stays(database: ProductDatabase, engine_name: str) -> None:
    with database.engine.connect() as connection:
        for _ in range(2):
            stage(connection, "staged_predictions", [[prediction("p", SHIRT)]])
        if engine_name == "sqlite":  # it makes none
            tables = sa.text("SELECT name FROM sqlite_temp_master WHERE type = 'table'")
            assert connection.execute(tables).scalars().all() == ["staged_predictions"]
            return
        tables = sa.text("SELECT relname FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'")
        assert connection.execute(tables).scalars().all() == ["staged_predictions"]


GROWN = ("product_images", "category_predictions", "product_categories")


def test_a_first_night_leaves_statistics_of_the_tables_that_it_fills(
    database: ProductDatabase, engine_name: str
) -> None:
    """Without them the next night reads whole tables in the place of its products, until the server makes its own."""
    publish(database, [prediction(f"p{number}", SHIRT) for number in range(1500)])
    if engine_name == "sqlite":  # it has no such statistics
        return
    with database.engine.connect() as connection:
        rows = sa.text("SELECT relname, reltuples FROM pg_class WHERE relname = ANY(:names)")
        found = {row.relname: row.reltuples for row in connection.execute(rows, {"names": list(GROWN)})}
        targets = sa.text(
            "SELECT count(*) FROM pg_stats WHERE tablename = ANY(:names) AND array_length(histogram_bounds, 1) > 50"
        )
        fine = connection.execute(targets, {"names": list(GROWN)}).scalar_one()
    assert found == dict.fromkeys(GROWN, 1500)
    assert fine >= 3, "the samples are those of the server, not the small ones of temporary tables"


def test_a_small_night_looks_its_products_up(database: ProductDatabase, engine_name: str) -> None:
    """In a night of a few images the planner is to reckon with tables that are in memory or on a fast disk."""
    if engine_name == "sqlite":
        return
    with database.engine.connect() as connection:
        tune(connection)
        assert connection.execute(sa.text("SHOW random_page_cost")).scalar_one() == "1.1"
        connection.rollback()
        assert connection.execute(sa.text("SHOW random_page_cost")).scalar_one() == "4"


def test_a_publish_does_not_wait_for_who_maintains_its_tables(database: ProductDatabase, engine_name: str) -> None:
    """It would hold all writers up until a VACUUM ends, and end as the victim of a deadlock with REINDEX."""
    if engine_name == "sqlite":  # nobody holds single tables of it
        return
    with database.engine.connect() as maintenance:
        maintenance.execute(sa.text("LOCK TABLE category_predictions IN SHARE UPDATE EXCLUSIVE MODE"))
        counts = publish(database, [prediction(f"p{number}", SHIRT) for number in range(1500)])
        assert counts.images_changed == 1500
    with database.engine.connect() as connection:
        rows = sa.text("SELECT relname, reltuples FROM pg_class WHERE relname = ANY(:names)")
        found = {row.relname: row.reltuples for row in connection.execute(rows, {"names": list(GROWN)})}
    assert found["product_categories"] == 1500, "the statistics of the other tables are made all the same"
    assert found["category_predictions"] < 1500

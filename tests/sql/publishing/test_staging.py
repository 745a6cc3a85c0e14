"""The rows of a run are staged in the order in which the database's keys are filled."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from sql.publishing.staging import STAGED, stage
from sql.store import ProductDatabase
from tests.sql.runs import SHIRT, prediction

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

"""The page about the database says what the database is."""

from __future__ import annotations

from sql import docs
from sql.schema.tables import metadata


def test_the_page_is_up_to_date() -> None:
    assert docs.PAGE.read_text(encoding="utf-8") == docs.render(), "run `python -m sql.docs`"


def test_every_table_and_column_has_a_comment() -> None:
    for table in metadata.tables.values():
        assert table.comment, table.name
        for column in table.columns:
            assert column.comment, f"{table.name}.{column.name}"

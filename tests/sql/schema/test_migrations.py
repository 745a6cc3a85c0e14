"""Migrations: from nothing and over data; and the sentence for a database that is not there or of another version."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from sql.errors import DatabaseError
from sql.schema.tables import metadata
from sql.schema.views import view_definitions
from sql.store import ProductDatabase, open_database
from tests.sql.runs import dump, of_another_version, prediction, publish, rejection

VIEWS = {
    "category_changes",
    "category_counts",
    "current_categories",
    "current_images",
    "left_products",
    "network_disagreements",
    "product_answers",
    "review_queue",
}


# SQLAlchemy cannot read an index of an expression from SQLite; PostgreSQL's is compared.
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
def test_the_migrations_build_exactly_the_tables_of_the_code(database: ProductDatabase) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": "shelfwise_version", "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []


def test_checks_and_keys_bear_the_names_of_the_code(database: ProductDatabase) -> None:
    with database.engine.connect() as connection:
        inspector = sa.inspect(connection)
        for table in metadata.sorted_tables:
            declared = {str(check.name) for check in table.constraints if isinstance(check, sa.CheckConstraint)}
            assert {str(check["name"]) for check in inspector.get_check_constraints(table.name)} == {
                f"ck_{table.name}_{name}" if not name.startswith("ck_") else name for name in declared
            }
            assert inspector.get_pk_constraint(table.name)["name"] == f"pk_{table.name}"


def test_upgrade_makes_the_views_and_can_be_repeated_over_data(database: ProductDatabase) -> None:
    publish(database, [prediction("p")], rejections=[rejection("q")])
    before = dump(database)
    database.upgrade()
    database.check()
    assert dump(database) == before
    with database.engine.connect() as connection:
        assert set(sa.inspect(connection).get_view_names()) == VIEWS == set(view_definitions())


def test_the_error_for_an_empty_database_names_the_command(empty_url: str) -> None:
    database = open_database(empty_url)
    with pytest.raises(DatabaseError, match="`shelfwise db upgrade`"):
        database.check()
    database.upgrade()
    database.check()


@pytest.mark.parametrize("revision", ["0005", "9999", "0123456789ab"])
def test_a_database_of_another_version_is_left_alone(database: ProductDatabase, revision: str) -> None:
    publish(database, [prediction("p")])
    of_another_version(database, revision)
    before = dump(database)
    remedy = {"sqlite": "`shelfwise db upgrade --set-aside`", "postgresql": "create a new, empty database"}
    sentence = rf"{revision}.*upgrade shelfwise; .*cannot be migrated.*{remedy[database.engine.dialect.name]}"
    attempts: list[Callable[[], object]] = [
        database.check,
        database.upgrade,
        lambda: publish(database, [prediction("q")]),
    ]
    if database.engine.dialect.name == "postgresql":
        attempts.append(database.replace)
    for attempt in attempts:
        with pytest.raises(DatabaseError, match=sentence):
            attempt()
    assert dump(database) == before


def test_an_upgrade_that_fails_leaves_no_trace(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = open_database(empty_url)
    monkeypatch.setattr("sql.schema.migrate.view_definitions", lambda: {"broken": "SELECT FROM WHERE"})
    with pytest.raises(DatabaseError):
        database.upgrade()
    with database.engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() == []


def test_postgresql_shows_the_comments_of_the_schema(database: ProductDatabase) -> None:
    if database.engine.dialect.name != "postgresql":
        return
    with database.engine.connect() as connection:
        inspector = sa.inspect(connection)
        for table in metadata.sorted_tables:
            assert inspector.get_table_comment(table.name)["text"] == table.comment
            for column in inspector.get_columns(table.name):
                assert column["comment"] == table.c[column["name"]].comment
        described = connection.execute(sa.text("SELECT obj_description('review_queue'::regclass)")).scalar_one()
        assert described.startswith("answers that wait for a person")

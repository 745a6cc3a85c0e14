"""A database that cannot be written says why in one sentence, and what it had is what it has."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa

from sql.errors import DatabaseError
from sql.overrides import Override, set_overrides
from sql.store import ProductDatabase, open_database
from tests.sql.runs import BOOT, SHIRT, dump, prediction, product, publish
from tests.sql.servers import SERVER_VARIABLE, Server

SECRET = "hunter2-secret"


def read_only_url(url: str) -> str:
    """The same database, as one who must not write opens it."""
    if url.startswith("sqlite"):
        return f"sqlite:///file:{url.removeprefix('sqlite:///')}?mode=ro&uri=true"
    parsed = sa.make_url(url)
    return parsed.update_query_dict({"options": "-c default_transaction_read_only=on"}).render_as_string(False)


def test_a_read_only_database(database: ProductDatabase, url: str) -> None:
    publish(database, [prediction("p", SHIRT)])
    before = dump(database)
    other = open_database(read_only_url(url))
    other.check()
    with pytest.raises(DatabaseError, match="is read-only: ") as caught:
        publish(other, [prediction("p", BOOT, content="B", night=1)], night=1)
    assert "\n" not in str(caught.value)
    with pytest.raises(DatabaseError, match="is read-only: "):
        set_overrides(other, [Override("p", BOOT)], decided_by="maria")
    assert dump(database) == before


def fill_the_disk(database: ProductDatabase) -> None:
    """Leave no room: a page limit for SQLite, a server that reports a full disk for PostgreSQL."""
    if database.engine.dialect.name == "sqlite":

        @sa.event.listens_for(database.engine, "connect")
        def limit(connection: object, _record: object) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]  # type: ignore[attr-defined]
            connection.execute(f"PRAGMA max_page_count = {pages}")  # type: ignore[attr-defined]

        return
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER full_disk AFTER INSERT ON product_categories EXECUTE FUNCTION full_disk()"
        )


def test_a_full_disk(database: ProductDatabase, url: str) -> None:
    publish(database, [prediction("p", SHIRT)])
    before = dump(database)
    fill_the_disk(database)
    with pytest.raises(DatabaseError, match="has no space left: free some, then run the same command again"):
        publish(database, [prediction(f"q{n}", BOOT) for n in range(5000)], night=1)
    assert dump(open_database(url)) == before


@pytest.fixture
def user_without_rights(server: Server) -> Iterator[str]:
    """A user who may log in and nothing else."""
    name = f"{server.create()}_user"
    server.drop(name.removesuffix("_user"))
    server.execute("CREATE ROLE {} LOGIN PASSWORD 'hunter2-secret'", name)
    yield name
    server.execute("DROP ROLE {}", name)


@pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)
def test_a_user_without_rights(url: str, user_without_rights: str) -> None:
    other = open_database(
        sa.make_url(url).set(username=user_without_rights, password=SECRET).render_as_string(hide_password=False)
    )
    with pytest.raises(DatabaseError, match=r"refuses this user .*grant it the right") as caught:
        publish(other, [prediction("p")])
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)
def test_a_wrong_password(url: str, server: Server, user_without_rights: str) -> None:
    if server.data_directory is not None:
        rules = server.data_directory / "pg_hba.conf"
        rules.write_text(f"local all {user_without_rights} scram-sha-256\n" + rules.read_text())
        server.execute("SELECT pg_reload_conf()")
    wrong = sa.make_url(url).set(username=user_without_rights, password=f"not-{SECRET}")
    if server.data_directory is None and server.accepts(wrong):
        pytest.skip(f"the server of {SERVER_VARIABLE} accepts any password")
    with pytest.raises(DatabaseError, match="does not accept this user or password") as caught:
        open_database(wrong.render_as_string(hide_password=False)).check()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)
def test_a_database_that_does_not_exist(url: str) -> None:
    missing = sa.make_url(url).set(database="no_such_database")
    with pytest.raises(DatabaseError, match=r"cannot be reached .*no_such_database"):
        open_database(missing.render_as_string(hide_password=False)).check()


def test_text_that_cannot_be_stored_is_named(database: ProductDatabase) -> None:
    before = dump(database)
    with pytest.raises(DatabaseError, match=r"row of product 'p'.*text that a database cannot store"):
        publish(database, [prediction("p")], products=[product("p", "a title \udcff")])
    if database.engine.dialect.name == "postgresql":
        with pytest.raises(DatabaseError, match="NUL"):
            publish(database, [prediction("p")], products=[product("p", "a title \x00")])
    assert dump(database) == before


def test_the_errors_of_the_driver_stay_attached_for_whoever_debugs(database: ProductDatabase) -> None:
    with pytest.raises(DatabaseError) as caught:
        publish(database, [prediction("p", confidence=2.0)])
    assert isinstance(caught.value.__cause__, sa.exc.DBAPIError | psycopg.Error)

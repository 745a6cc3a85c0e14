"""Two databases for every test: an SQLite file and a PostgreSQL 18 of its own, both real and both migrated."""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from sql.store import ProductDatabase, open_database
from tests.sql.servers import FORGETFUL, NoServerError, Server, started_server

ENGINES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One server for the whole session; without any the tests fail and say so."""
    try:
        with started_server(FORGETFUL) as server:
            yield server
    except NoServerError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def migrated_postgresql(server: Server) -> Iterator[str]:
    """Name of a migrated database that tests copy."""
    name = server.create()
    open_database(server.database_url(name)).upgrade()
    yield name
    server.drop(name)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file that tests copy."""
    path = tmp_path_factory.mktemp("migrated") / "shelfwise.db"
    open_database(f"sqlite:///{path}").upgrade()
    return path


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    """Every test that takes a database runs once on each engine."""
    return str(request.param)


@pytest.fixture
def empty_url(engine_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without any table."""
    if engine_name == "sqlite":
        yield f"sqlite:///{tmp_path}/new/shelfwise.db"
        return
    server: Server = request.getfixturevalue("server")
    name = server.create()
    yield server.database_url(name)
    server.drop(name)


@pytest.fixture
def new_url(engine_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Makes URLs of migrated databases without any row."""
    names: list[str] = []

    def make() -> str:
        if engine_name == "sqlite":
            path = tmp_path / f"shelfwise-{uuid.uuid4().hex[:8]}.db"
            shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
            return f"sqlite:///{path}"
        server: Server = request.getfixturevalue("server")
        names.append(server.create(request.getfixturevalue("migrated_postgresql")))
        return server.database_url(names[-1])

    yield make
    for name in names:
        request.getfixturevalue("server").drop(name)


@pytest.fixture
def copy_url(engine_name: str, request: pytest.FixtureRequest) -> Iterator[Callable[[str], str]]:
    """Copies a database that nobody is connected to, and returns the copy's URL."""
    names: list[str] = []

    def copy(url: str) -> str:
        if engine_name == "sqlite":
            path = url.removeprefix("sqlite:///")
            with sqlite3.connect(path) as source, sqlite3.connect(f"{path}-copy") as target:
                source.backup(target)
            return f"{url}-copy"
        server: Server = request.getfixturevalue("server")
        names.append(server.create(str(sa.make_url(url).database)))
        return server.database_url(names[-1])

    yield copy
    for name in names:
        request.getfixturevalue("server").drop(name)


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    """URL of a migrated database without any row."""
    return new_url()


@pytest.fixture
def database(url: str) -> ProductDatabase:
    """A migrated database without any row."""
    return open_database(url)

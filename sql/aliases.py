"""Set, clear and roll back the aliases champion and challenger; each change is kept as history."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.engine import reading, writing
from sql.errors import UnknownNameError
from sql.publishing.releases import promote_release, register_release
from sql.records import ReleaseRecord
from sql.schema.releases import ALIASES, release_aliases, releases
from sql.store import ProductDatabase


def aliases(database: ProductDatabase) -> dict[str, str]:
    """Query which release has each of the aliases champion and challenger, as release_id by alias."""
    database.check()
    with reading(database.engine) as connection:
        current = {alias: _current(connection, alias) for alias in ALIASES}
    return {alias: release_id for alias, release_id in current.items() if release_id is not None}


def set_alias(
    database: ProductDatabase, alias: str, release: ReleaseRecord, *, changed_by: str, at_utc: datetime
) -> bool:
    """Record in the database that an alias points to a release.

    A new champion's answers win against those of every release promoted earlier. A challenger that becomes champion is
    no longer challenger.

    Args:
        database: Migrated.
        alias: `champion` or `challenger`.
        release: The release; it is registered if it is not yet.
        changed_by: Person who changes it, for the history.
        at_utc: Time of the change, with a time zone.

    Returns:
        Whether the alias changed.
    """
    _check_alias(alias)
    database.check()
    with writing(database.engine) as connection:
        register_release(connection, release, at_utc)
        if alias == "champion" and _former_champions(connection)[-1:] == [release.release_id]:
            _write(connection, alias, None, changed_by, at_utc)  # without this row, the history would show a rollback
        return _set(connection, alias, release.release_id, changed_by, at_utc)


def clear_challenger(database: ProductDatabase, *, changed_by: str, at_utc: datetime) -> str | None:
    """Record in the database that no release has the alias challenger any more.

    Returns:
        The release_id of the former challenger; None if there was none, and then nothing is written.
    """
    database.check()
    with writing(database.engine) as connection:
        former = _current(connection, "challenger")
        if former is not None:
            _write(connection, "challenger", None, changed_by, at_utc)
    return former


def former_champion(database: ProductDatabase) -> str | None:
    """Return the release_id that `roll_back` would make champion, or None."""
    database.check()
    with reading(database.engine) as connection:
        former = _former_champions(connection)
    return former[-1] if former else None


def roll_back(database: ProductDatabase, *, changed_by: str, at_utc: datetime) -> str:
    """Record that the champion before the present one is champion again; a second call goes one more step back.

    Returns:
        The release_id of the champion from now on.

    Raises:
        UnknownNameError: There is no previous champion.
    """
    database.check()
    with writing(database.engine) as connection:
        former = _former_champions(connection)
        if not former:
            raise UnknownNameError("There is no champion before the present one: promote a release by its name.")
        _set(connection, "champion", former[-1], changed_by, at_utc)
        return former[-1]


def _set(connection: Connection, alias: str, release_id: str, changed_by: str, at_utc: datetime) -> bool:
    if _current(connection, alias) == release_id:
        return False
    _write(connection, alias, release_id, changed_by, at_utc)
    if alias == "champion":
        promote_release(connection, release_id, at_utc)
        if _current(connection, "challenger") == release_id:
            _write(connection, "challenger", None, changed_by, at_utc)
    return True


def _write(connection: Connection, alias: str, release_id: str | None, changed_by: str, at_utc: datetime) -> None:
    values = {"alias": alias, "release_id": release_id, "changed_at_utc": at_utc, "changed_by": changed_by}
    connection.execute(release_aliases.insert().values(**values))


def _current(connection: Connection, alias: str) -> str | None:
    table = release_aliases
    statement = sa.select(table.c.release_id).where(table.c.alias == alias).order_by(table.c.change_id.desc()).limit(1)
    release_id: str | None = connection.execute(statement).scalar()
    return release_id


def _former_champions(connection: Connection) -> list[str]:
    """Return the previous champions, the latest last; a rollback removes the champion that it replaced.

    A change to the previous champion is a rollback, unless an empty row stands between: then it is a promotion.
    """
    table = release_aliases
    statement = sa.select(table.c.release_id).where(table.c.alias == "champion").order_by(table.c.change_id)
    line: list[str] = []
    before: str | None = None
    for (release_id,) in connection.execute(statement):
        if before is not None and line[-2:-1] == [release_id]:
            line.pop()
        elif release_id is not None:
            line.append(release_id)
        before = release_id
    return line[:-1]


def _check_alias(alias: str) -> None:
    if alias not in ALIASES:
        raise UnknownNameError(f"There is no alias {alias!r}: expected {' or '.join(ALIASES)}.")


def registered(database: ProductDatabase) -> dict[str, tuple[datetime, datetime | None]]:
    """Query, for a list of releases, when each was registered and when it last became champion."""
    database.check()
    with reading(database.engine) as connection:
        rows = connection.execute(sa.select(releases))
        return {row.release_id: (row.registered_at_utc, row.promoted_at_utc) for row in rows}

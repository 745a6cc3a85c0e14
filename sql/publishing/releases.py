"""Register and promote releases in the database, and rank them: which release's answers win over which."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.errors import DatabaseError
from sql.records import ReleaseRecord
from sql.schema.releases import releases
from sql.schema.runs import runs


def register_release(connection: Connection, release: ReleaseRecord, moment: datetime) -> None:
    """Add a release to the table of releases, if it is not registered; a registered one does not change.

    Raises:
        DatabaseError: If another release with that name is registered. Fields that only one of the two manifests has
            are not compared: another version of this project may have written it.
    """
    known = connection.execute(
        sa.select(releases.c.manifest).where(releases.c.release_id == release.release_id)
    ).first()
    given = json.loads(json.dumps(dict(release.manifest)))
    if known is not None:
        both = known.manifest.keys() & given.keys()
        differs = sorted(name for name in both if _contradict(known.manifest[name], given[name]))
        if differs:
            raise DatabaseError(
                f"Another release is known as {release.release_id!r}, of other {', '.join(differs)}; a release is "
                "never changed, so give this one another name."
            )
    else:
        connection.execute(
            releases.insert().values(
                release_id=release.release_id,
                taxonomy_version=release.taxonomy_version,
                manifest=dict(release.manifest),
                registered_at_utc=moment,
            )
        )


def _contradict(one: Any, other: Any) -> bool:
    """Return whether two values of a manifest differ in a field that both have."""
    if isinstance(one, dict) and isinstance(other, dict):
        return any(_contradict(one[name], other[name]) for name in one.keys() & other.keys())
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return any(map(_contradict, one, other))
    return bool(one != other)


def promote_release(connection: Connection, release_id: str, moment: datetime) -> None:
    """Give a release the highest rank: its answers win against those of every release promoted earlier or never."""
    connection.execute(releases.update().where(releases.c.release_id == release_id).values(promoted_at_utc=moment))


def newer_releases(connection: Connection, release_id: str) -> list[str]:
    """Return the releases whose answers this one may not replace: promoted later, or registered later if none was.

    Releases that have only answered as challenger are not among them.
    """
    ranked, hidden = ranked_releases(connection), shadow_releases(connection)
    return [other for other in ranked[ranked.index(release_id) + 1 :] if other not in hidden]


def older_releases(connection: Connection, release_id: str) -> list[str]:
    """Return the releases whose answers this one may replace; an empty list if it is not registered."""
    ranked = ranked_releases(connection)
    return ranked[: ranked.index(release_id)] if release_id in ranked else []


def ranked_releases(connection: Connection) -> list[str]:
    """Return the releases in order of rank; the last one's answers win."""
    table = releases.c
    order = (sa.nulls_first(table.promoted_at_utc), table.registered_at_utc, table.release_id)
    return list(connection.execute(sa.select(table.release_id).order_by(*order)).scalars())


def shadow_releases(connection: Connection) -> set[str]:
    """Return the releases that were never promoted and have no run of their own: they only answered as challenger.

    A retracted run does not count.
    """
    same = runs.c.release_id == releases.c.release_id
    own_run = sa.select(runs.c.run_id).where(same, runs.c.retracted_at_utc.is_(None)).exists()
    unheard = sa.select(releases.c.release_id).where(releases.c.promoted_at_utc.is_(None), ~own_run)
    return set(connection.execute(unheard).scalars())

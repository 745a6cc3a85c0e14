"""Lease on a run: only the driver that holds its current token may publish the run.

When an Airflow worker dies, its driver may go on running while the retry starts a second driver. The second driver
takes the lease, which replaces the token, so the first driver can no longer write. A driver that publishes locks the
row of its lease, so a second driver waits. If the first driver dies, its connection breaks and the database releases
the lock at once; there is no timeout to wait for.
"""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.errors import SupersededError
from sql.schema.columns import UtcDateTime
from sql.schema.runs import run_leases

_NEW = sa.text("""
INSERT INTO run_leases (run_id, token, holder, taken_at_utc)
VALUES (:run_id, :token, :holder, :taken_at_utc)
ON CONFLICT (run_id) DO NOTHING
""").bindparams(sa.bindparam("taken_at_utc", type_=UtcDateTime()))


@dataclass(frozen=True)
class Taken:
    """A lease on a run that this driver has taken.

    Attributes:
        token: Secret that `hold` and publishing need.
        earlier: Driver that had the run and since when, for the run's summary; None if no driver had it.
    """

    token: str
    earlier: dict[str, str] | None = None


def take(connection: Connection, run_id: str) -> Taken:
    """Take the lease of a run, also from another driver that holds it."""
    token = secrets.token_hex(16)
    values = {"token": token, "holder": _own_name(), "taken_at_utc": datetime.now(UTC)}
    same = run_leases.c.run_id == run_id
    while True:
        # If two drivers take a new lease at the same time, the second waits here until the first commits.
        if connection.execute(_NEW, {"run_id": run_id, **values}).rowcount:
            return Taken(token)
        # If another driver is publishing, this waits for its commit, which deletes the lease.
        row = connection.execute(sa.select(run_leases).where(same).with_for_update()).first()
        if row is not None:
            connection.execute(run_leases.update().where(same).values(**values))
            return Taken(token, {"from": row.holder, "since_utc": row.taken_at_utc.isoformat()})


def hold(connection: Connection, run_id: str, token: str | None) -> None:
    """Lock a run's lease until the end of the transaction.

    Args:
        connection: In a transaction.
        run_id: The run.
        token: Token from `take`; None takes the lease now.

    Raises:
        SupersededError: Another driver has taken the run, or has published it since.
    """
    if token is None:
        take(connection, run_id)
        return
    if not held_by(connection, run_id, token):
        raise SupersededError(
            f"Another driver has taken over run {run_id!r}: this attempt wrote nothing and its results are that one's; "
            "look at the run's row, and run it again only if it is not published."
        )


def held_by(connection: Connection, run_id: str, token: str) -> bool:
    """Return whether this token holds the run's lease, and lock the lease until the end of the transaction."""
    lease = sa.select(run_leases.c.token).where(run_leases.c.run_id == run_id).with_for_update()
    return bool(connection.execute(lease).scalar() == token)


def give_back(connection: Connection, run_id: str) -> None:
    """Delete the lease on a run that this transaction holds."""
    connection.execute(run_leases.delete().where(run_leases.c.run_id == run_id))


def _own_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"

"""Who may publish a run: a lease whose token changes with every driver that takes it.

A worker that dies leaves its driver running, and the retry starts a second one. The retry takes the lease; the first
one's token is void from then on, whatever it still tries. While a driver publishes it locks its lease's row, so a
second one waits; when the first dies its connection breaks, the lock is gone at once and nothing waits for a clock.
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
    """A lease in the hands of this driver.

    Attributes:
        token: To publish with.
        earlier: Who had the run and since when, as its summary tells it; None if nobody had.
    """

    token: str
    earlier: dict[str, str] | None = None


def take(connection: Connection, run_id: str) -> Taken:
    """Take a run's lease, from whoever has it."""
    token = secrets.token_hex(16)
    values = {"token": token, "holder": _own_name(), "taken_at_utc": datetime.now(UTC)}
    same = run_leases.c.run_id == run_id
    while True:
        # Of two first claims at once the second waits here for the commit of the first, and then takes the run from it.
        if connection.execute(_NEW, {"run_id": run_id, **values}).rowcount:
            return Taken(token)
        # Taken from another driver that publishes just now, this waits for its commit, which ends the lease.
        row = connection.execute(sa.select(run_leases).where(same).with_for_update()).first()
        if row is not None:
            connection.execute(run_leases.update().where(same).values(**values))
            return Taken(token, {"from": row.holder, "since_utc": row.taken_at_utc.isoformat()})


def hold(connection: Connection, run_id: str, token: str | None) -> None:
    """Lock the lease until the end of the transaction.

    Args:
        connection: In a transaction.
        run_id: The run.
        token: Of `take`; None takes the lease now.

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
    """Say whether this token is the run's, and lock the lease until the end of the transaction."""
    lease = sa.select(run_leases.c.token).where(run_leases.c.run_id == run_id).with_for_update()
    return bool(connection.execute(lease).scalar() == token)


def give_back(connection: Connection, run_id: str) -> None:
    """End the lease that this transaction holds."""
    connection.execute(run_leases.delete().where(run_leases.c.run_id == run_id))


def _own_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"

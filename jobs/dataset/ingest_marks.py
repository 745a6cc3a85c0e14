"""Marks of running ingests in the home, so that housekeeping deletes nothing under them.

An ingest needs no database, so it has no lease there. Its mark is the file `ingests/ingesting-ID.json` of the home,
which names its process, works in an object store too, and is deleted at its end. The mark of a process that was killed
does not count on the same machine; of a process on another machine it counts for `COUNTS_FOR`.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from jobs.storage.faults import StoreError
from jobs.storage.places import Place, Places
from jobs.storage.stores import children, delete, modified_at, read_bytes, write_bytes

log = logging.getLogger(__name__)

COUNTS_FOR = timedelta(days=1)
"""An ingest that began earlier is taken for one whose process was killed."""

_PATTERN = "ingesting-*.json"


@dataclass(frozen=True)
class RunningIngest:
    """An ingest that is writing to the home.

    Attributes:
        holder: Its machine and process id, `host:4711`.
        began_at_utc: When it began.
        mark: Its file.
    """

    holder: str
    began_at_utc: datetime
    mark: Place


@contextmanager
def ingest_marked(places: Places) -> Iterator[None]:
    """Mark in the home, for the length of a block, that this process is writing to the dataset."""
    mark = places.ingests / _PATTERN.replace("*", uuid.uuid4().hex)
    process = {"host": socket.gethostname(), "pid": os.getpid(), "began_at_utc": datetime.now(UTC).isoformat()}
    write_bytes(mark, json.dumps(process).encode())
    try:
        yield
    finally:
        try:
            delete(mark)
        except (OSError, StoreError) as error:  # what the block did is done, and another error must not be hidden
            log.warning(
                "%s cannot be deleted (%s); until %s has passed, `shelfwise db prune` waits", mark, error, COUNTS_FOR
            )


def running_ingests(places: Places) -> list[RunningIngest]:
    """Return the ingests that are running; the mark of one that was killed is passed over with a warning."""
    found = [_read(mark) for mark in children(places.ingests, _PATTERN)]
    running = []
    for ingest in filter(None, found):
        host, _, pid = ingest.holder.rpartition(":")
        if ingest.began_at_utc < datetime.now(UTC) - COUNTS_FOR or (
            host == socket.gethostname() and not _lives(int(pid))
        ):
            log.warning("%s is of an ingest in %s that was killed; delete that file", ingest.mark, ingest.holder)
        else:
            running.append(ingest)
    return running


def _read(mark: Place) -> RunningIngest | None:
    """Read a mark; None if its ingest has ended meanwhile."""
    try:
        process = json.loads(read_bytes(mark))
        return RunningIngest(
            f"{process['host']}:{int(process['pid'])}", datetime.fromisoformat(process["began_at_utc"]), mark
        )
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError):  # nobody else writes such files; its age still tells
        return RunningIngest("an unknown process:0", datetime.fromtimestamp(modified_at(mark), UTC), mark)


def _lives(pid: int) -> bool:
    """Return whether a process of this machine exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is of another user
        return True
    return True

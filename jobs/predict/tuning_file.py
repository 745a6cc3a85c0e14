"""What accelerators were found to take, remembered from run to run in `SHELFWISE_HOME/tuning.json`.

Tasks report it and the driver writes it down, so that no executor needs to write there. Whoever changes a machine may
delete the file; it is found again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jobs.predict.reports import ShardReport
from jobs.storage.faults import StoreError
from jobs.storage.places import Place, Places
from jobs.storage.stores import put, read_bytes, uri
from jobs.storage.temporary import own_directory
from models.whole_files import write_whole

log = logging.getLogger(__name__)


_NAME = "tuning.json"


def known(places: Places, release_id: str) -> dict[str, tuple[int, str]]:
    """Return batch size and precision of a release by device; empty where nothing is known."""
    try:
        found = _read(places).get(release_id, {})
    except (OSError, StoreError):
        return {}
    return {device: (int(batch_size), str(precision)) for device, (batch_size, precision) in found.items()}


def remember(places: Places, release_id: str, reports: Iterable[ShardReport]) -> None:
    """Keep what a run's shards were predicted with, where that was found by trying.

    Runs of one machine, and of all that share a disk, add to it one after the other. A store has no locks: of two
    machines that write there at the same moment one is forgotten, and tries again in its next run.
    """
    found: dict[str, list[Any]] = {
        report.device: [report.batch_size, report.precision] for report in reports if report.tried and report.batch_size
    }
    if not found:
        return
    try:
        with _locked(places.home / _NAME):
            before = _read(places)
            after = {**before, release_id: {**before.get(release_id, {}), **found}}
            if after != before:
                _write(places.home / _NAME, json.dumps(after, indent=2) + "\n")
    except (OSError, StoreError) as error:
        log.warning("tuning.json cannot be written (%s); the next run looks for batch sizes again", error)


def _read(places: Places) -> Mapping[str, Mapping[str, list[Any]]]:
    """Return what is kept; nothing where there is no such file, or another one than `remember` writes."""
    try:
        found = json.loads(read_bytes(places.home / _NAME))
    except (FileNotFoundError, ValueError):
        return {}
    return found if _is_of_this_form(found) else {}


def _is_of_this_form(found: object) -> bool:
    """Say whether this is what `remember` writes; anything else is measured anew and written over."""
    devices = found.values() if isinstance(found, dict) else [None]
    answers = [answer for each in devices for answer in (each.values() if isinstance(each, dict) else [None])]
    return all(
        isinstance(answer, list) and len(answer) == 2 and isinstance(answer[0], int) and isinstance(answer[1], str)
        for answer in answers
    )


@contextmanager
def _locked(target: Place) -> Iterator[None]:
    """Keep other processes out for the length of a block; the lock goes with its process, however that ends."""
    if isinstance(target, Path):
        path = target.with_name(f".{target.name}.lock")
        path.parent.mkdir(parents=True, exist_ok=True)
    else:
        digest = hashlib.sha256(uri(target).encode()).hexdigest()[:16]
        path = Path(tempfile.gettempdir(), f".shelfwise-{os.getuid()}-{digest}.lock")
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        with suppress(OSError):  # of a file system that has no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(target: Place, text: str) -> None:
    if isinstance(target, Path):
        write_whole(target, text)
        return
    with own_directory() as directory:
        written = directory / target.name
        write_whole(written, text)
        put(written, target)

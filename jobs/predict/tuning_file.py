"""Batch size and precision by release and accelerator, kept between runs in `SHELFWISE_HOME/tuning.json`.

Tasks report the values and the driver writes the file, so that executors need no write access. The file may be deleted,
for example after a change of the hardware: the next run measures the values again.
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
from jobs.storage.temporary import temporary_directory
from models.whole_files import write_whole

log = logging.getLogger(__name__)

_NAME = "tuning.json"


def known(places: Places, release_id: str) -> dict[str, tuple[int, str]]:
    """Read (batch size, precision) by device name for a release from tuning.json; empty if it cannot be read."""
    try:
        by_device = _read(places).get(release_id, {})
    except (OSError, StoreError):
        return {}
    return {device: (int(batch_size), str(precision)) for device, (batch_size, precision) in by_device.items()}


def remember(places: Places, release_id: str, reports: Iterable[ShardReport]) -> None:
    """Save the batch size and precision that a run measured to tuning.json.

    A file lock orders the writes of runs on one machine or on a shared disk. An object store has no locks: if two
    machines write at the same moment, one result is lost, and that machine measures again in its next run.

    Args:
        places: Directories and stores of the home.
        release_id: Release that the shards were predicted with.
        reports: Reports of the run's shards; only those with `tried` are saved.
    """
    measured: dict[str, list[Any]] = {
        report.device: [report.batch_size, report.precision] for report in reports if report.tried and report.batch_size
    }
    if not measured:
        return
    try:
        with _locked(places.home / _NAME):
            before = _read(places)
            after = {**before, release_id: {**before.get(release_id, {}), **measured}}
            if after != before:
                _write(places.home / _NAME, json.dumps(after, indent=2) + "\n")
    except (OSError, StoreError) as error:
        log.warning("tuning.json cannot be written (%s); the next run looks for batch sizes again", error)


def _read(places: Places) -> Mapping[str, Mapping[str, list[Any]]]:
    """Return the file's content; empty if the file is missing or does not have the form that `remember` writes."""
    try:
        content = json.loads(read_bytes(places.home / _NAME))
    except (FileNotFoundError, ValueError):
        return {}
    return content if _is_valid(content) else {}


def _is_valid(content: object) -> bool:
    """Return whether the content has the form that `remember` writes; other content is measured again and replaced."""
    releases = content.values() if isinstance(content, dict) else [None]
    tunings = [tuning for each in releases for tuning in (each.values() if isinstance(each, dict) else [None])]
    return all(
        isinstance(tuning, list) and len(tuning) == 2 and isinstance(tuning[0], int) and isinstance(tuning[1], str)
        for tuning in tunings
    )


@contextmanager
def _locked(target: Place) -> Iterator[None]:
    """Hold an exclusive lock on the file for the length of a block; the system frees it when the process ends."""
    if isinstance(target, Path):
        path = target.with_name(f".{target.name}.lock")
        path.parent.mkdir(parents=True, exist_ok=True)
    else:
        digest = hashlib.sha256(uri(target).encode()).hexdigest()[:16]
        path = Path(tempfile.gettempdir(), f".shelfwise-{os.getuid()}-{digest}.lock")
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        with suppress(OSError):  # some file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(target: Place, text: str) -> None:
    if isinstance(target, Path):
        write_whole(target, text)
        return
    with temporary_directory() as directory:
        written = directory / target.name
        write_whole(written, text)
        put(written, target)

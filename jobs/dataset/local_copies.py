"""Local copies of shards that are in an object store: reading them there took longer, above all more than once."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from itertools import repeat
from pathlib import Path
from threading import Lock

from upath import UPath

from jobs.storage.places import Place, Places
from jobs.storage.stores import fetch
from models.temporary import temporary_directory

_ROUNDS = 2
_SHARDS_A_TASK = 8
_KEPT, _COPYING = ExitStack(), Lock()
atexit.register(_KEPT.close)


def on_disk_in_turn(shards: Sequence[Place]) -> Generator[tuple[Place, Path, float], None, None]:
    """Yield shards one after the other as local files; one in a store is copied, and the next meanwhile.

    The next shard is copied while the caller processes the current one, and a copy is deleted after its turn. So a
    process has never more than two copies on disk.

    Args:
        shards: Shards, local or in a store; local ones are not copied.

    Yields:
        The shard, its local path, which is valid until the next shard is requested, and the seconds spent waiting for
        the copy.
    """
    local = [shard for shard in shards if isinstance(shard, Path)]
    if len(local) == len(shards):
        yield from zip(local, local, repeat(0.0))
        return
    with temporary_directory() as directory, ThreadPoolExecutor(1, "copy") as copier:
        copies = [copier.submit(_copied, shard, directory) for shard in shards[:1]]
        for number, shard in enumerate(shards):
            started = time.perf_counter()
            path = copies.pop().result()
            waited_seconds = time.perf_counter() - started
            copies = [copier.submit(_copied, following, directory) for following in shards[number + 1 : number + 2]]
            yield shard, path, waited_seconds
            if isinstance(shard, UPath):
                path.unlink(missing_ok=True)


def tasks_for(shards: Sequence[Place], at_once: int) -> int:
    """Return the number of Spark tasks for some shards: one per local shard, fewer for shards that must be copied here.

    A task with several shards of a store copies the next one while it predicts the current one.

    Args:
        shards: Shards to predict.
        at_once: Number of tasks that run at the same time.
    """
    if all(isinstance(shard, Path) for shard in shards):
        return len(shards)
    # With a few rounds of tasks, a slow machine takes fewer of them and does not delay the end of the job.
    return min(len(shards), max(at_once * _ROUNDS, -(-len(shards) // _SHARDS_A_TASK)))


def kept_copy(shard: Place, places: Places) -> Path:
    """Return a local file of a shard, for jobs that read it more than once, such as a training in every epoch.

    A local shard is not copied. Copies are in a directory of this process below `places.scratch`, which must have room
    for all shards that the process reads. They are deleted when the process ends; if it is killed, the next process
    that copies to that directory deletes them.
    """
    if isinstance(shard, Path):
        return shard
    with _COPYING:
        target = _kept(places.scratch) / shard.parent.name / shard.name
        if not target.is_file():  # an existing copy is current: a shard's name is derived from its content
            target.parent.mkdir(parents=True, exist_ok=True)
            half = target.with_suffix(".half")
            fetch(shard, half)
            os.replace(half, target)
    return target


@cache
def _kept(parent: Path) -> Path:
    return _KEPT.enter_context(temporary_directory(parent))


def _copied(shard: Place, directory: Path) -> Path:
    if isinstance(shard, Path):
        return shard
    target = directory / f"{shard.parent.name}--{shard.name}"
    fetch(shard, target)
    return target

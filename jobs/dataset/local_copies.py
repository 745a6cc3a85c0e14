"""Shards of a store on this machine's disk: Petastorm reads local files only."""

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
from jobs.storage.temporary import own_directory

_ROUNDS = 2
_SHARDS_A_TASK = 8
_KEPT, _COPYING = ExitStack(), Lock()
atexit.register(_KEPT.close)


def on_disk_in_turn(shards: Sequence[Place]) -> Generator[tuple[Place, Path, float], None, None]:
    """Give shards one after the other as files of this machine.

    The next one is copied while the caller is busy with this one, and a copy is removed when its turn is over: never
    more than two are on the disk of a process.

    Args:
        shards: Local ones are given as they are.

    Yields:
        The shard, where it can be read until the next one is asked for, and the seconds that its copy was waited for.
    """
    local = [shard for shard in shards if isinstance(shard, Path)]
    if len(local) == len(shards):
        yield from zip(local, local, repeat(0.0))
        return
    with own_directory() as directory, ThreadPoolExecutor(1, "copy") as copier:
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
    """Return how many tasks shards are spread over: one each, or fewer where copying ahead pays.

    Args:
        shards: To be predicted.
        at_once: Tasks that run at the same time.
    """
    if all(isinstance(shard, Path) for shard in shards):
        return len(shards)
    # A few rounds of tasks, so that a slow machine does not keep a long tail to itself.
    return min(len(shards), max(at_once * _ROUNDS, -(-len(shards) // _SHARDS_A_TASK)))


def kept_copy(shard: Place, places: Places) -> Path:
    """Return a shard as a file of this machine, for what reads it more than once, as trainings do in every epoch.

    A local one is given as it is. Copies lie in a directory of this process below `places.scratch`, where all that it
    reads must have room, and are removed when it ends; if it is killed, by the next one that copies there.
    """
    if isinstance(shard, Path):
        return shard
    with _COPYING:
        target = _kept(places.scratch) / shard.parent.name / shard.name
        if not target.is_file():  # a shard never changes: its name is made from its content
            target.parent.mkdir(parents=True, exist_ok=True)
            half = target.with_suffix(".half")
            fetch(shard, half)
            os.replace(half, target)
    return target


@cache
def _kept(parent: Path) -> Path:
    return _KEPT.enter_context(own_directory(parent))


def _copied(shard: Place, directory: Path) -> Path:
    if isinstance(shard, Path):
        return shard
    target = directory / f"{shard.parent.name}--{shard.name}"
    fetch(shard, target)
    return target

"""Releases of a store on this machine's disk, each fetched once and verified whenever it is used.

A copy is kept under the SHA-256 of its release.json, which names the SHA-256 of each network's weights; so a copy is
never of another content than its name says, and one that was altered is fetched again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.errors import RunFailed, UsageError
from jobs.storage.places import Place, Places
from jobs.storage.stores import children, fetch, is_file, put, read_bytes
from jobs.storage.temporary import own_directory
from models.release import MANIFEST, Release, ReleaseError, ReleaseExists, load_release


@contextmanager
def release_written(release_id: str, kept: str = "") -> Iterator[None]:
    """Turn what the disk says while a release is written into one sentence.

    Args:
        release_id: Of the release.
        kept: What is not lost by it.

    Raises:
        UsageError: If another process made a release of that name meanwhile.
        RunFailed: Instead of another OSError; no release is there then.
    """
    try:
        yield
    except ReleaseExists as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise RunFailed(
            f"release {release_id} could not be written ({error.strerror or error}); free some space and run the same "
            f"command{kept and f': {kept}'}"
        ) from error


def local_release(where: Place, places: Places) -> Path:
    """Return a release's directory on this machine.

    Args:
        where: Its place; one of this machine is returned as it is.
        places: Where copies are kept.

    Raises:
        ReleaseError: If nothing or no sound release is there.
    """
    if isinstance(where, Path):
        return where
    try:
        manifest = read_bytes(where / MANIFEST)
    except FileNotFoundError as error:
        raise ReleaseError(f"no release at {where}: expected {MANIFEST} there; copy the whole directory") from error
    target = copies(places) / hashlib.sha256(manifest).hexdigest()[:32] / where.name
    try:
        load_release(target)
    except ReleaseError:
        _fetch_whole(where, manifest, target)
    return target


def copies(places: Places) -> Path:
    """Return where this machine keeps its copies."""
    return places.local_home / "release-copies"


def check_new(target: Path, places: Places) -> None:
    """Refuse the name of a release that is there, before anything is done for a new one.

    Args:
        target: Of the release to be made, on this machine.
        places: Whose store, if the home is in one, must not have one of that name either.

    Raises:
        UsageError: If it is taken.
    """
    shared = places.releases / target.name
    said = "is there already and a release is never changed; choose another --release-id"
    if not isinstance(shared, Path) and is_file(shared / MANIFEST):
        raise UsageError(f"{shared} {said}")
    if target.exists():
        way = f", or take it to {shared} with `shelfwise release promote {target.name} --alias challenger`"
        raise UsageError(f"{target} {said}{'' if isinstance(shared, Path) else way}")


def check_same(where: Place, there: Release, release: Release) -> None:
    """Refuse to put a release where another one of its name is.

    Raises:
        UsageError: If it is another one.
    """
    if there != release:
        raise UsageError(f"{where} is another release of that name; a release is never changed, so rename one of them")


def share(directory: Path, places: Places) -> None:
    """Put a release where all machines find it, if that is a store; release.json comes last and makes it a release.

    Raises:
        UsageError: If another release of that name is there.
    """
    target = places.releases / directory.name
    if isinstance(target, Path):
        return
    if is_file(target / MANIFEST):
        check_same(target, load_release(local_release(target, places)), load_release(directory))
        return
    files = sorted(directory.iterdir(), key=lambda path: (path.name == MANIFEST, path.name))
    for path in files:
        put(path, target / path.name)


def stored_releases(places: Places) -> list[Place]:
    """List the releases in the home's store; none where the home is on this machine."""
    if isinstance(places.releases, Path):
        return []
    return [place for place in children(places.releases, "[!.]*") if is_file(place / MANIFEST)]


def _fetch_whole(where: Place, manifest: bytes, target: Path) -> None:
    with own_directory(target.parents[1]) as scratch:
        half = scratch / target.name
        half.mkdir()
        for path in children(where, "*"):
            if not isinstance(path, Path) and path.name != MANIFEST and is_file(path):
                fetch(path, half / path.name)
        (half / MANIFEST).write_bytes(manifest)
        load_release(half)
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(exist_ok=True)
        try:
            os.replace(half, target)
        except OSError:
            load_release(target)  # another process was quicker, and its copy is as good

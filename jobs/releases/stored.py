"""Local cache of releases from an object store; each release is fetched once and verified at every use.

The directory name of a copy is the SHA-256 of its release.json, which contains the SHA-256 of each network's weights.
So the name identifies the content, and a copy that was altered is detected and fetched again.
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
from jobs.storage.temporary import temporary_directory
from models.release import MANIFEST, Release, ReleaseError, ReleaseExists, load_release


@contextmanager
def release_written(release_id: str, kept: str = "") -> Iterator[None]:
    """Replace the errors of a block that writes a release by one clear message.

    Args:
        release_id: Identifier of the release.
        kept: Sentence on what is not lost, added to the message; empty adds nothing.

    Raises:
        UsageError: If another process made a release of that name meanwhile.
        RunFailed: In place of another OSError; then no release exists. Free some space and run the command again.
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
    """Return the local directory of a release; fetch the release first if it is in a store and not in the cache.

    Args:
        where: Path or store location of the release; a local path is returned unchanged.
        places: Directories of the home, which contain the cache.

    Raises:
        ReleaseError: If the store has no release at this location, or a damaged one.
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
    """Return the directory of the local cache."""
    return places.local_home / "release-copies"


def check_new(target: Path, places: Places) -> None:
    """Refuse the name of an existing release, before any work for a new release is done.

    Args:
        target: Local directory of the new release.
        places: Directories and stores of the home; its store must not contain a release of that name either.

    Raises:
        UsageError: If the name is taken; choose another `--release-id`.
    """
    shared = places.releases / target.name
    message = "is there already and a release is never changed; choose another --release-id"
    if not isinstance(shared, Path) and is_file(shared / MANIFEST):
        raise UsageError(f"{shared} {message}")
    if target.exists():
        remedy = f", or take it to {shared} with `shelfwise release promote {target.name} --alias challenger`"
        raise UsageError(f"{target} {message}{'' if isinstance(shared, Path) else remedy}")


def check_same(where: Place, existing: Release, release: Release) -> None:
    """Refuse to replace an existing release by a different one of the same name.

    Args:
        where: Location of the existing release, for the message.
        existing: Existing release.
        release: Release to write.

    Raises:
        UsageError: If the two differ; rename one of them.
    """
    if existing != release:
        raise UsageError(f"{where} is another release of that name; a release is never changed, so rename one of them")


def share(directory: Path, places: Places) -> None:
    """Upload a release to the home's store, where all machines find it; do nothing if the home is a local directory.

    release.json is uploaded last: a directory without it is not a release, so no machine sees an incomplete one.

    Raises:
        UsageError: If the store contains a different release of that name; rename one of them.
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
    """List the releases in the home's store; empty if the home is a local directory."""
    if isinstance(places.releases, Path):
        return []
    return [place for place in children(places.releases, "[!.]*") if is_file(place / MANIFEST)]


def _fetch_whole(where: Place, manifest: bytes, target: Path) -> None:
    with temporary_directory(target.parents[1]) as scratch:
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
            load_release(target)  # another process has written the same copy meanwhile

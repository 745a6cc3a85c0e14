"""Releases in an object store: a local cache, in which each is verified at every use, upload, and listing.

The directory name of a copy is the SHA-256 of its release.json, which contains the SHA-256 of each network's weights.
So the name identifies the content, and a copy that was altered is detected and fetched again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from jobs.releases.new_releases import check_same
from jobs.storage.places import Place, Places
from jobs.storage.stores import children, fetch, is_file, put, read_bytes, size_bytes
from models.release import MANIFEST, ReleaseError, load_release
from models.release_checks import MAX_BYTES
from models.temporary import temporary_directory


def local_release(where: Place, places: Places) -> Path:
    """Return the local directory of a release; one in a store is fetched into the cache first.

    Args:
        where: Path or store location of the release; a local path is returned unchanged.
        places: Directories of the home, which contain the cache.

    Raises:
        ReleaseError: If the store has no release at this location, or a damaged one.
    """
    if isinstance(where, Path):
        return where
    try:
        manifest = manifest_bytes(where / MANIFEST)
    except FileNotFoundError as error:
        raise ReleaseError(f"no release at {where}: expected {MANIFEST} there; copy the whole directory") from error
    target = copies(places) / hashlib.sha256(manifest).hexdigest()[:32] / where.name
    try:
        load_release(target)
    except ReleaseError:
        _fetch_whole(where, manifest, target)
    return target


def manifest_bytes(manifest: Place) -> bytes:
    """Read a release.json of this machine or of a store; one that is too large to be one is not read.

    Raises:
        ReleaseError: If it is too large; copy the release again.
        OSError: If it is missing or cannot be read.
    """
    if size_bytes(manifest) > MAX_BYTES:
        raise ReleaseError(f"{manifest} is not a release manifest (it is too large); copy the release again")
    return read_bytes(manifest)


def copies(places: Places) -> Path:
    """Return the directory of the local cache of stored releases."""
    return places.local_home / "release-copies"


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

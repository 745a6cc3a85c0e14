"""Search for the release that a command uses: by directory, release_id or alias, or the default from the settings."""

from __future__ import annotations

import os
from pathlib import Path

from jobs.errors import UsageError
from jobs.releases.new_releases import ALIASES
from jobs.releases.stored import copies, local_release, stored_releases
from jobs.settings import Settings
from jobs.storage.places import Place
from jobs.storage.stores import is_file, is_remote, place, scheme_of, uri
from models.release import FORMER_NAMES, MANIFEST, SHIPPED


def roots(settings: Settings) -> tuple[Path, Path]:
    """Return the directories in which releases are searched: releases/ of the home, and that of the shipped release."""
    return settings.places.local_home / "releases", SHIPPED.parent


def release_directory(settings: Settings, name: str | None) -> Path:
    """Find the directory of the release that a command uses: by name, alias or the default.

    Args:
        settings: Settings with the home and the default release.
        name: Directory, release_id or alias of a release. None means the release of `SHELFWISE_RELEASE_DIR` if it is
            set, otherwise the champion, otherwise the shipped release.

    Raises:
        UsageError: If there is no such release, or no release has the alias.
    """
    if name not in (None, *ALIASES) or (name is None and "release_dir" in settings.model_fields_set):
        return find_release(settings, name)
    release_id = current_aliases(settings).get(name or "champion")
    if release_id is None and name is not None:
        raise UsageError(f"no release is {name}; promote one with `shelfwise release promote RELEASE --alias {name}`")
    return release_named(settings, release_id) if release_id else find_release(settings, None)


def find_release(settings: Settings, name: str | None) -> Path:
    """Find the directory of a release by path, URI or release_id; aliases are not followed.

    Args:
        settings: Settings with the home and the default release.
        name: Path or release_id of a release. None means the release of `SHELFWISE_RELEASE_DIR`, by default the shipped
            one. A name without a slash is taken as a directory of the working directory only if that contains a
            release: a folder of photographs may have the same name as a release.

    Returns:
        The directory; `models.release.load_release` checks whether it contains a valid release.

    Raises:
        UsageError: If there is no such release; the message lists the existing ones.
    """
    places = settings.places
    if name is None:
        default = settings.release_dir
        return _renamed(default) if isinstance(default, Path) else local_release(default, places)
    if scheme_of(name):
        return local_release(place(name), places)
    given = Path(name)
    if given.is_dir() and (os.sep in name or name.startswith(".") or (given / MANIFEST).is_file()):
        return given
    if os.sep in name and _renamed(given) != given:
        return _renamed(given)
    return release_named(settings, name)


def _renamed(directory: Path) -> Path:
    """Return the directory of a release; that in its place if it is gone and the release is shipped by another name."""
    later = directory.with_name(FORMER_NAMES.get(directory.name, directory.name))
    return later if not directory.is_dir() and later.is_dir() else directory


def release_named(settings: Settings, release_id: str) -> Path:
    """Find the directory of a release by release_id: one under releases/ of the home, or the shipped one.

    The working directory does not matter. A release that is no longer there and was shipped by a former name is found
    by it, because aliases and the command lines of older runs have that name.

    Raises:
        UsageError: If there is no such release; the message lists the existing ones.
    """
    places = settings.places
    roots = (places.local_home / "releases", SHIPPED.parent)
    for name in filter(None, (release_id, FORMER_NAMES.get(release_id))):
        for root in roots:
            if (root / name).is_dir():
                return root / name
        stored = {release.name: release for release in stored_releases(places)}
        if name in stored:
            return local_release(stored[name], places)
    names = sorted({path.parent.name for root in roots for path in root.glob(f"*/{MANIFEST}")} | stored.keys())
    existing = ", ".join(names) or "none is there"
    raise UsageError(f"no release {release_id!r}; give a directory or one of: {existing}")


def manifests(settings: Settings) -> list[Place]:
    """Return the path of release.json of each release that a command may use: of the home, its store, and the clone.

    The release of `SHELFWISE_RELEASE_DIR` and the copies of stored releases are among them. An alias is one of these.
    """
    places = settings.places
    local = [*roots(settings), copies(places)]
    found: list[Place] = [path for root in local for path in sorted(root.glob(f"*/{MANIFEST}"))]
    default = place(settings.release_dir) / MANIFEST
    return [
        *found,
        *(release / MANIFEST for release in stored_releases(places)),
        *([default] if is_file(default) else []),
    ]


def lasting_name(settings: Settings, name: str | None, directory: Path) -> str:
    """Return the name, path or URI by which a release is found again later, also without this machine's local copy.

    Args:
        settings: Settings with the home and the default release.
        name: Name of the release as the user gave it; None if no release was given.
        directory: Directory of the release on this machine.
    """
    places = settings.places
    if directory.parent == SHIPPED.parent:  # run from a wheel, this directory exists only as long as the process
        return directory.name
    if directory.is_relative_to(copies(places)):
        if name and scheme_of(name):
            return name
        if name is None and "release_dir" in settings.model_fields_set and is_remote(settings.release_dir):
            return uri(settings.release_dir)
        return uri(places.releases / directory.name)
    shared = places.releases / directory.name
    if is_remote(shared) and directory.parent == places.local_home / "releases" and is_file(shared / MANIFEST):
        return uri(shared)
    return str(directory.absolute())


def current_aliases(settings: Settings) -> dict[str, str]:
    """Look up which release has each alias; empty if the database does not exist yet or was never fully created."""
    from sql.aliases import aliases
    from sql.store import open_database

    database = open_database(settings.url)
    return {} if not settings.database_url and database.is_new() else aliases(database)


def present_aliases(settings: Settings) -> dict[str, str]:
    """Look up which release is used for each alias: for one that is shipped by another name now, that other one."""
    return {alias: present_name(settings, name) for alias, name in current_aliases(settings).items()}


def present_name(settings: Settings, release_id: str) -> str:
    """Return the name of the release in the place of one; its own name if it is there, or if nothing is."""
    if release_id not in FORMER_NAMES:
        return release_id
    try:
        return release_named(settings, release_id).name
    except UsageError:
        return release_id

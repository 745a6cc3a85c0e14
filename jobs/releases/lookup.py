"""Finding the release that a command uses: by directory, by release_id, by alias, or the one that is set."""

from __future__ import annotations

import os
from pathlib import Path

from jobs.errors import UsageError, check_name
from jobs.releases.stored import copies, local_release, stored_releases
from jobs.settings import Settings
from jobs.storage.stores import is_file, is_remote, place, scheme_of, uri
from models.release import MANIFEST, SHIPPED

ALIASES = ("champion", "challenger")
"""What a release may be beside its name, so no name of a release."""


def check_release_id(name: str) -> None:
    """Refuse a new release's name that could leave its directory, or that means whichever release has an alias."""
    check_name("--release-id", name)
    if name in ALIASES:
        raise UsageError(f"--release-id {name} is an alias, which stands for the release that has it; choose a name")


def roots(settings: Settings) -> tuple[Path, Path]:
    """Return where releases are looked for."""
    return settings.places.local_home / "releases", SHIPPED.parent


def in_use(settings: Settings, name: str | None) -> Path:
    """Return the directory of the release that a command shall use.

    Args:
        settings: Where releases are, and what is set.
        name: A directory, a release_id, or an alias; None is what `SHELFWISE_RELEASE_DIR` names, else the champion,
            else the shipped release.

    Raises:
        UsageError: If there is no such release, or the alias stands for none.
    """
    if name not in (None, *ALIASES) or (name is None and "release_dir" in settings.model_fields_set):
        return find_release(settings, name)
    found = current_aliases(settings).get(name or "champion")
    if found is None and name is not None:
        raise UsageError(f"no release is {name}; promote one with `shelfwise release promote RELEASE --alias {name}`")
    return release_named(settings, found) if found else find_release(settings, None)


def find_release(settings: Settings, name: str | None) -> Path:
    """Return a release's directory.

    Args:
        settings: Where releases are, and what is set.
        name: A path, or a release_id; None is the one that `SHELFWISE_RELEASE_DIR` names, by default the shipped
            one. A bare name is a directory of the working directory only if a release is in it: a folder of
            photographs may be called as a release is.

    Returns:
        The directory; whether it holds a sound release is for `models.release.load_release` to say.

    Raises:
        UsageError: If there is no such release; lists those that are there.
    """
    places = settings.places
    if name is None:
        return local_release(settings.release_dir, places)
    if scheme_of(name):
        return local_release(place(name), places)
    given = Path(name)
    if given.is_dir() and (os.sep in name or name.startswith(".") or (given / MANIFEST).is_file()):
        return given
    return release_named(settings, name)


def release_named(settings: Settings, release_id: str) -> Path:
    """Return the directory of the shipped release or of one under `releases/` in `home`, wherever this is called.

    Raises:
        UsageError: If there is no such release; lists those that are there.
    """
    places = settings.places
    roots = (places.local_home / "releases", SHIPPED.parent)
    for root in roots:
        if (root / release_id).is_dir():
            return root / release_id
    stored = {found.name: found for found in stored_releases(places)}
    if release_id in stored:
        return local_release(stored[release_id], places)
    known = sorted({path.parent.name for root in roots for path in root.glob(f"*/{MANIFEST}")} | stored.keys())
    there = ", ".join(known) or "none is there"
    raise UsageError(f"no release {release_id!r}; give a directory or one of: {there}")


def lasting_name(settings: Settings, name: str | None, directory: Path) -> str:
    """Return by what a later call finds a release again, also where this machine's own copy of it is gone.

    Args:
        settings: Where releases are, and what is set.
        name: As a command was given it.
        directory: Where it was found on this machine.
    """
    places = settings.places
    if directory.parent == SHIPPED.parent:  # with a wheel, a directory that is gone with this process
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
    """Return the release_id of each alias; none where no database is there yet, or one that was never made whole."""
    from sql.aliases import aliases
    from sql.store import open_database

    database = open_database(settings.url)
    return {} if not settings.database_url and database.is_new() else aliases(database)

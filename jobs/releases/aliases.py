"""Promote a release to champion or challenger, demote the challenger, and roll the champion back.

The alias `champion` in the database names the release that predicts. Commands without the option `--release` use the
champion, unless `SHELFWISE_RELEASE_DIR` is set.
"""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import UsageError
from jobs.releases.lookup import present_name, release_directory, release_named, roots
from jobs.releases.new_releases import check_same, release_written
from jobs.releases.records import release_record
from jobs.releases.stored import share
from jobs.settings import Settings
from models.release import MANIFEST, SHIPPED, Release, load_release, save_release

if TYPE_CHECKING:
    from sql.store import ProductDatabase


def promote(settings: Settings, database: ProductDatabase, name: str, alias: str) -> dict[str, Any]:
    """Promote a release: give it an alias, and copy it into releases/ of the home if it lies elsewhere.

    Args:
        settings: Settings with the home and its store.
        database: Product database, which contains the aliases.
        name: Directory, release_id or alias of the release.
        alias: `champion` or `challenger`.

    Returns:
        The alias, the release_id, and whether the alias has changed.

    Raises:
        UsageError: If the release is to be challenger and is the champion, or another release has its name.
    """
    from sql.aliases import aliases, set_alias

    directory = release_directory(settings, name)
    release = load_release(directory)
    champion = aliases(database).get("champion")
    if alias == "challenger" and champion and present_name(settings, champion) == release.release_id:
        raise UsageError(f"release {release.release_id} is the champion; promote another one as challenger")
    if directory.absolute().parent not in roots(settings) or directory.name != release.release_id:
        _install(settings, release, directory)
        directory = roots(settings)[0] / release.release_id
    if directory.parent != SHIPPED.parent:
        share(directory, settings.places)
    changed = set_alias(
        database, alias, release_record(release), changed_by=getpass.getuser(), at_utc=datetime.now(UTC)
    )
    return {"alias": alias, "release_id": release.release_id, "changed": changed}


def rollback(settings: Settings, database: ProductDatabase) -> dict[str, Any]:
    """Roll back the alias `champion` to the release that had it before, if the files of that release still exist."""
    from sql.aliases import former_champion, roll_back

    former = former_champion(database)
    if former is not None:
        load_release(release_named(settings, former))  # raises an error before anything is changed
    release_id = roll_back(database, changed_by=getpass.getuser(), at_utc=datetime.now(UTC))
    return {"alias": "champion", "release_id": release_id, "changed": True}


def demote(database: ProductDatabase) -> dict[str, Any]:
    """Demote the challenger: remove the alias that `promote` gave; return the release that had it, or None."""
    from sql.aliases import clear_challenger

    release_id = clear_challenger(database, changed_by=getpass.getuser(), at_utc=datetime.now(UTC))
    return {"alias": "challenger", "release_id": release_id, "changed": release_id is not None}


def _install(settings: Settings, release: Release, directory: Path) -> None:
    target = roots(settings)[0] / release.release_id
    if target.exists():
        check_same(target, load_release(target), release)
        return
    weights = {network.architecture: directory / network.weights_file for network in release.networks}
    written = {MANIFEST, *(network.weights_file for network in release.networks)}
    others = [path for path in directory.iterdir() if path.is_file() and path.name not in written]
    documents: dict[str, str | bytes] = {path.name: path.read_bytes() for path in others}
    with release_written(release.release_id):
        save_release(release, target, weights=weights, documents=documents)

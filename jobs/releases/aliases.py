"""Commands for releases: list, show, verify, promote, demote and roll back.

A release is a directory under releases/ in `SHELFWISE_HOME`, or the shipped one. The alias `champion` in the database
names the release that predicts. Commands without the option `--release` use the champion, unless
`SHELFWISE_RELEASE_DIR` is set.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import UsageError
from jobs.releases.lookup import current_aliases, in_use, lasting_name, release_named, roots
from jobs.releases.records import manifest_of, release_record
from jobs.releases.stored import check_same, local_release, release_written, share, stored_releases
from jobs.settings import Settings
from models.release import MANIFEST, SHIPPED, Release, ReleaseError, load_release, save_release

if TYPE_CHECKING:
    from sql.store import ProductDatabase


def listed(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield one row per existing release; for a damaged release, `state` contains the error."""
    names = {release_id: alias for alias, release_id in current_aliases(settings).items()}
    here = [path.parent for root in roots(settings) for path in sorted(root.glob(f"[!.]*/{MANIFEST}"))]
    stored = stored_releases(settings.places)
    for place in [*here, *(each for each in stored if each.name not in {path.name for path in here})]:
        row = {"release_id": place.name, "alias": names.get(place.name, "")}
        try:
            release = load_release(local_release(place, settings.places))
        except ReleaseError as error:
            yield {**row, "networks": "", "taxonomy_version": "", "test_accuracy": None, "state": str(error)}
            continue
        yield {
            **row,
            "networks": ", ".join(network.architecture for network in release.networks),
            "taxonomy_version": release.taxonomy_version,
            "test_accuracy": release.metrics.get("ensemble_test_accuracy"),
            "state": "sound",
        }


def verify(directory: Path) -> dict[str, Any]:
    """Verify a release: release.json is valid, the weights have its hashes, and the networks give finite predictions.

    Raises:
        ReleaseError: If one of these checks fails; the message contains the reason and the remedy.
    """
    from models.serving.environment import prepare_environment, quiet_start

    prepare_environment()
    release = load_release(directory)
    with quiet_start():
        import numpy as np

        from models.foreign import generated_samples
        from models.serving.predictor import EnsemblePredictor

        try:
            answers = EnsemblePredictor(release, directory).predict(generated_samples(release.decode_px)).confidences
        except (ValueError, OSError) as error:  # h5py raises these for a file that is not HDF5
            raise ReleaseError(
                f"the weights of {directory} do not fit its networks ({error}); copy it again"
            ) from error
    if not np.isfinite(answers).all():
        raise ReleaseError(f"the networks of {directory} answer with numbers that are none; train them again")
    files = [network.weights_file for network in release.networks]
    return {"release_id": release.release_id, "state": "sound", "files": files, "categories": len(release.categories)}


def promote(settings: Settings, database: ProductDatabase, name: str, alias: str) -> dict[str, Any]:
    """Assign an alias to a release; a release outside the release directories is copied into releases/ of the home.

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

    directory = in_use(settings, name)
    release = load_release(directory)
    if alias == "challenger" and aliases(database).get("champion") == release.release_id:
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
    """Make the previous champion the champion again, if its files still exist."""
    from sql.aliases import former_champion, roll_back

    former = former_champion(database)
    if former is not None:
        load_release(release_named(settings, former))  # raises an error before anything is changed
    release_id = roll_back(database, changed_by=getpass.getuser(), at_utc=datetime.now(UTC))
    return {"alias": "champion", "release_id": release_id, "changed": True}


def demote(database: ProductDatabase) -> dict[str, Any]:
    """Remove the alias `challenger`; return the release that had it, or None."""
    from sql.aliases import clear_challenger

    release_id = clear_challenger(database, changed_by=getpass.getuser(), at_utc=datetime.now(UTC))
    return {"alias": "challenger", "release_id": release_id, "changed": release_id is not None}


def shown(settings: Settings, name: str | None) -> Mapping[str, Any]:
    """Return the details of a release; `release` is the name or path that finds it on other machines too."""
    directory = in_use(settings, name)
    release = load_release(directory)
    names = [alias for alias, release_id in current_aliases(settings).items() if release_id == release.release_id]
    return {
        "release_id": release.release_id,
        "release_dir": str(directory),
        "release": lasting_name(settings, name, directory),
        "aliases": ", ".join(names),
        "taxonomy_version": release.taxonomy_version,
        "categories": len(release.categories),
        **manifest_of(release),
        "networks": {
            network.architecture: f"{network.input_px} px, {network.ensemble_weight:.3f}"
            for network in release.networks
        },
    }


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

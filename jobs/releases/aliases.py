"""What is done with releases: found, shown, verified, imported, promoted, demoted and rolled back.

A release is a directory under releases/ in `SHELFWISE_HOME`, or the shipped one. Which one answers is said by the
database's alias champion; commands that are told no release take it, unless `SHELFWISE_RELEASE_DIR` is set.
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
    """Yield every release that is there, broken ones with the reason in place of their figures."""
    names = {release_id: alias for alias, release_id in current_aliases(settings).items()}
    here = [path.parent for root in roots(settings) for path in sorted(root.glob(f"[!.]*/{MANIFEST}"))]
    stored = stored_releases(settings.places)
    for place in [*here, *(one for one in stored if one.name not in {path.name for path in here})]:
        row = {"release_id": place.name, "alias": names.get(place.name, "")}
        try:
            release = load_release(local_release(place, settings.places))
        except ReleaseError as error:
            yield {**row, "networks": "", "taxonomy_version": "", "test_accuracy": None, "state": str(error)}
            continue
        yield {
            **row,
            "networks": ", ".join(one.architecture for one in release.networks),
            "taxonomy_version": release.taxonomy_version,
            "test_accuracy": release.metrics.get("ensemble_test_accuracy"),
            "state": "sound",
        }


def verify(directory: Path) -> dict[str, Any]:
    """See that release.json is sound, that the weights are those it names, and that the networks answer.

    Raises:
        ReleaseError: If not; says what and what to do.
    """
    from models.serving.environment import prepare_environment, quiet_start

    prepare_environment()
    release = load_release(directory)
    with quiet_start():
        import numpy as np

        from models.foreign import made_up_samples
        from models.serving.predictor import EnsemblePredictor

        try:
            answers = EnsemblePredictor(release, directory).predict(made_up_samples(release.decode_px)).confidences
        except (ValueError, OSError) as error:  # what h5py says of a file that is none of its kind
            raise ReleaseError(
                f"the weights of {directory} do not fit its networks ({error}); copy it again"
            ) from error
    if not np.isfinite(answers).all():
        raise ReleaseError(f"the networks of {directory} answer with numbers that are none; train them again")
    files = [network.weights_file for network in release.networks]
    return {"release_id": release.release_id, "state": "sound", "files": files, "categories": len(release.categories)}


def promote(settings: Settings, database: ProductDatabase, name: str, alias: str) -> dict[str, Any]:
    """Let an alias stand for a release; one from elsewhere is copied to where releases are looked for."""
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
    """Make the champion before the present one champion again, if its files are still there."""
    from sql.aliases import former_champion, roll_back

    former = former_champion(database)
    if former is not None:
        load_release(release_named(settings, former))  # refused before anything is changed
    release_id = roll_back(database, changed_by=getpass.getuser(), at_utc=datetime.now(UTC))
    return {"alias": "champion", "release_id": release_id, "changed": True}


def demote(database: ProductDatabase) -> dict[str, Any]:
    """Let no release be challenger; says which one was."""
    from sql.aliases import clear_challenger

    release_id = clear_challenger(database, changed_by=getpass.getuser(), at_utc=datetime.now(UTC))
    return {"alias": "challenger", "release_id": release_id, "changed": release_id is not None}


def shown(settings: Settings, name: str | None) -> Mapping[str, Any]:
    """Return what a release says of itself, and in `release` what finds it on other machines too."""
    directory = in_use(settings, name)
    release = load_release(directory)
    held = [alias for alias, release_id in current_aliases(settings).items() if release_id == release.release_id]
    return {
        "release_id": release.release_id,
        "release_dir": str(directory),
        "release": lasting_name(settings, name, directory),
        "aliases": ", ".join(held),
        "taxonomy_version": release.taxonomy_version,
        "categories": len(release.categories),
        **manifest_of(release),
        "networks": {one.architecture: f"{one.input_px} px, {one.ensemble_weight:.3f}" for one in release.networks},
    }


def _install(settings: Settings, release: Release, directory: Path) -> None:
    target = roots(settings)[0] / release.release_id
    if target.exists():
        check_same(target, load_release(target), release)
        return
    weights = {one.architecture: directory / one.weights_file for one in release.networks}
    kept = {MANIFEST, *(one.weights_file for one in release.networks)}
    others = [path for path in directory.iterdir() if path.is_file() and path.name not in kept]
    documents: dict[str, str | bytes] = {path.name: path.read_bytes() for path in others}
    with release_written(release.release_id):
        save_release(release, target, weights=weights, documents=documents)

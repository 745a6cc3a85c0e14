"""What is done with releases: found, shown, verified, imported, promoted, demoted and rolled back.

A release is a directory under releases/ in `SHELFWISE_HOME`, or the shipped one. Which one answers is said by the
database's alias champion; commands that are told no release take it, unless `SHELFWISE_RELEASE_DIR` is set.
"""

from __future__ import annotations

import csv
import getpass
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.config import ALIASES, UsageError
from jobs.publish import manifest_of, release_record
from jobs.release_copies import check_new, check_same, local_release, release_written, share, stored_releases
from jobs.settings import Settings
from models.answers.decision import above_others
from models.card import NAME, model_card
from models.networks.origin import origin_of
from models.networks.weights import save_weights
from models.program import program_version
from models.release import MANIFEST, SHIPPED, Release, ReleaseError, load_release, save_release, sha256_of
from models.spec import Category

if TYPE_CHECKING:
    from sql.store import ProductDatabase


@dataclass(frozen=True)
class Import:
    """What is told of a foreign network.

    Attributes:
        path: The `.keras` file.
        release_id: Of the release to be made.
        input_px: Side of its square input, in pixels.
        categories: A file with its class names, one a line in the order of its outputs: category_id, or
            category_id,category_path.
        preprocessing: What range it was fed with; one of `models.spec.PREPROCESSING`.
        ends_in: `logits` or `softmax`.
        taxonomy_version: Of these categories.
        samples: A directory of images to compare on; None makes some up.
    """

    path: Path
    release_id: str
    input_px: int
    categories: Path
    preprocessing: str
    ends_in: str
    taxonomy_version: str
    samples: Path | None = None


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
        return settings.find_release(name)
    found = current_aliases(settings).get(name or "champion")
    if found is None and name is not None:
        raise UsageError(f"no release is {name}; promote one with `shelfwise release promote RELEASE --alias {name}`")
    return settings.release_named(found) if found else settings.find_release(None)


def current_aliases(settings: Settings) -> dict[str, str]:
    """Return the release_id of each alias; none where no database is there yet, or one that was never made whole."""
    from sql.aliases import aliases
    from sql.store import open_database

    database = open_database(settings.url)
    return {} if not settings.database_url and database.is_new() else aliases(database)


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


def import_(settings: Settings, told: Import) -> dict[str, Any]:
    """Make a release of a network that somebody else trained; nothing of it is published before it is calibrated.

    Raises:
        UsageError: If a name is taken or a file cannot be read.
        RunFailed: If the release cannot be written.
        ReleaseError: If the network is refused or does not answer as the original; no release is made.
    """
    from models.serving.environment import prepare_environment, quiet_start

    target = roots(settings)[0] / told.release_id
    check_new(target, settings.places)
    categories = class_names(told.categories)
    prepare_environment()
    with quiet_start():
        from models.foreign import ForeignNetwork, refuse_code, take_in

        refuse_code(told.path)
        foreign = ForeignNetwork(told.path, told.input_px, len(categories), told.preprocessing, told.ends_in)
        network, model = take_in(foreign, _samples(told))
    with release_written(told.release_id), tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch, network.weights_file)
        save_weights(model, weights)
        network = replace(network, weights_sha256=sha256_of(weights))
        release = Release(
            told.release_id,
            told.taxonomy_version,
            categories,
            (network,),
            temperature=1.0,
            thresholds={category.category_id: None for category in categories},
            floor=0.0,  # what a confidence is worth is not known before it is calibrated
            training={"imported_from": told.path.name, "imported_sha256": sha256_of(told.path), **origin_of(told.path)},
            code_version=program_version(),
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        save_release(release, target, weights={network.architecture: weights}, documents={NAME: model_card(release)})
    share(target, settings.places)
    return {"release_id": told.release_id, "architecture": network.architecture, "release_dir": str(target)}


def class_names(path: Path) -> tuple[Category, ...]:
    """Read class names in the order of a network's outputs."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row and row[0].strip()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"the class names cannot be read from {path} ({error}); give one a line") from error
    ids = [row[0] for row in rows]
    if len(set(ids)) < len(ids) or len(ids) < 2:
        raise UsageError(f"{path} names {len(ids)} classes of which {len(set(ids))} differ; give at least 2, each once")
    if above := above_others(ids):
        below = min(name for name in ids if name.startswith(f"{above[0]}."))
        raise UsageError(
            f"{path} names {above[0]!r} and {below!r} below it, and a network's outputs must be leaves; "
            f"call the first one something below it too, such as {above[0] + '.other'!r}"
        )
    return tuple(Category(row[0], row[1] if len(row) > 1 else row[0].replace(".", " > ")) for row in rows)


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
        load_release(settings.release_named(former))  # refused before anything is changed
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
        "release": settings.lasting_name(name, directory),
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


def _samples(told: Import) -> Any:
    if told.samples is None:
        return None
    import numpy as np

    from jobs.images import Rejected, normalise
    from models.networks.inputs import decode_square

    squares = []
    try:
        paths = sorted(told.samples.iterdir())[:64]
    except OSError as error:
        raise UsageError(
            f"--samples {told.samples} cannot be read ({error.strerror}); give a directory of images, or leave it out"
        ) from error
    for path in paths:
        try:
            squares.append(decode_square(normalise(path.read_bytes()).jpeg, told.input_px))
        except (OSError, Rejected):
            continue
    if not squares:
        raise UsageError(f"no image could be read in {told.samples}; give another directory, or leave --samples out")
    return np.stack(squares)

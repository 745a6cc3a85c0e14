"""Inspect releases: list them, show the details of one, and verify its files and networks.

A release is a directory under releases/ in `SHELFWISE_HOME`, or the shipped one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.releases.lookup import lasting_name, present_aliases, release_directory, roots
from jobs.releases.records import manifest_of
from jobs.releases.stored import local_release, stored_releases
from jobs.settings import Settings
from models.answers.promises import CURVE, PROMISES, curve_of, described, target_of
from models.card import known_images
from models.release import MANIFEST, ReleaseError, load_release


def listed(settings: Settings) -> Iterator[dict[str, Any]]:
    """Inspect all existing releases, and yield one row each; for a damaged release, `state` contains the error."""
    names = {release_id: alias for alias, release_id in present_aliases(settings).items()}
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


def details(settings: Settings, name: str | None) -> Mapping[str, Any]:
    """Return the details of one release; `release` is the name or path that finds it on other machines too.

    Each of `promises` has the fields of release.json, and its threshold, the number of its members and a text.
    """
    directory = release_directory(settings, name)
    release = load_release(directory)
    names = [alias for alias, release_id in present_aliases(settings).items() if release_id == release.release_id]
    return {
        "release_id": release.release_id,
        "release_dir": str(directory),
        "release": lasting_name(settings, name, directory),
        "aliases": ", ".join(names),
        "taxonomy_version": release.taxonomy_version,
        "categories": len(release.categories),
        **manifest_of(release),
        "known": None if release.known is None else asdict(release.known),
        "known_images": known_images(release),
        "networks": {
            network.architecture: f"{network.input_px} px, {network.ensemble_weight:.3f}"
            for network in release.networks
        },
        "promises": described(
            [category.category_id for category in release.categories],
            release.thresholds,
            release.promises,
            target=target_of(release.training),
        ),
    }


def in_lines(shown: Mapping[str, Any]) -> Mapping[str, Any]:
    """Shorten the details of a release for lines of text: one for each promise, and for each other target."""
    curve = {
        f"{row['target_precision']:g}": ", ".join(f"{row[by]:.4f} by --promise {by}" for by in PROMISES)
        for row in curve_of(shown["training"])
    }
    training = {**shown["training"], **({CURVE: curve} if curve else {})}
    promises = {name: promise["text"] for name, promise in shown["promises"].items()}
    lines = {**shown, "promises": promises, "training": training}
    del lines["known"]  # `known_images` says the same in words
    return lines


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

        from models.foreign.expected import generated_samples
        from models.serving.predictor import EnsemblePredictor

        try:
            answers = EnsemblePredictor(release, directory).predict(generated_samples(release.decode_px)).confidences
        except ReleaseError:
            raise
        except (ValueError, OSError) as error:  # h5py raises these for a file that is not HDF5
            raise ReleaseError(
                f"the weights of {directory} do not fit its networks ({error}); copy it again"
            ) from error
    if not np.isfinite(answers).all():
        raise ReleaseError(f"the networks of {directory} answer with numbers that are none; train them again")
    files = list(release.files)
    return {"release_id": release.release_id, "state": "sound", "files": files, "categories": len(release.categories)}

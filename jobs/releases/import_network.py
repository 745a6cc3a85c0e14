"""Making a release of a foreign `.keras` file."""

from __future__ import annotations

import csv
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.errors import UsageError
from jobs.releases.lookup import roots
from jobs.releases.stored import check_new, release_written, share
from jobs.settings import Settings
from models.answers.decision import above_others
from models.card import NAME, model_card
from models.networks.origin import origin_of
from models.networks.weights import save_weights
from models.program import program_version
from models.release import Release, save_release, sha256_of
from models.spec import Category


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
        from models.foreign import ForeignNetwork, rebuild, refuse_code

        refuse_code(told.path)
        foreign = ForeignNetwork(told.path, told.input_px, len(categories), told.preprocessing, told.ends_in)
        network, model = rebuild(foreign, _samples(told))
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


def _samples(told: Import) -> Any:
    if told.samples is None:
        return None
    import numpy as np

    from jobs.images.normalise import Rejected, normalise
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

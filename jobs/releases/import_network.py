"""Import of a network that was trained elsewhere: makes a release of its file and its class names."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.errors import UsageError
from jobs.releases.lookup import roots
from jobs.releases.new_releases import check_new, release_written
from jobs.releases.stored import share
from jobs.settings import Settings
from models.answers.taxonomy import above_others, fault_of_id
from models.card import NAME, model_card
from models.networks.origin import origin_of
from models.networks.weights import save_weights
from models.program import program_version
from models.release import Release, save_release, sha256_of
from models.spec import Category


@dataclass(frozen=True)
class Import:
    """Configuration of an import: the network's file, its class names and its input.

    Attributes:
        path: Path of the `.keras` file, or of the `.h5` file of Keras 2.
        release_id: Identifier of the new release.
        input_px: Side of the network's square input, in pixels.
        categories: CSV file with the class names, one per line in the order of the network's outputs: category_id, or
            category_id,category_path in all lines. A name with a comma is in quotes.
        preprocessing: Value range of the network's input; one of `models.spec.PREPROCESSING`.
        ends_in: Kind of the network's output: `logits` or `softmax`.
        taxonomy_version: Version of the taxonomy that the categories belong to.
        samples: Directory of images on which to compare the imported network with the original; None generates images.
        expected: `.npz` file of images and the original's answers to them, in the place of `samples`; needed for files
            of Keras 2. See `models.foreign.expected.read_expected`.
    """

    path: Path
    release_id: str
    input_px: int
    categories: Path
    preprocessing: str
    ends_in: str
    taxonomy_version: str
    samples: Path | None = None
    expected: Path | None = None


def import_(settings: Settings, config: Import) -> dict[str, Any]:
    """Import a network that was trained elsewhere: make a release, which publishes nothing until it is calibrated.

    Returns:
        The release_id, the architecture and the directory of the new release.

    Raises:
        UsageError: If the release_id is taken or a file cannot be read; the message names the remedy.
        RunFailed: If the release cannot be written.
        ReleaseError: If the network is not supported, or its predictions differ from those of the original; then no
            release is made.
    """
    from models.serving.environment import prepare_environment, quiet_start

    target = roots(settings)[0] / config.release_id
    check_new(target, settings.places)
    if config.samples is not None and config.expected is not None:
        raise UsageError("--samples and --expected both give images for the comparison; give one of them")
    categories = class_names(config.categories)
    prepare_environment()
    with quiet_start():
        from models.foreign.expected import read_expected
        from models.foreign.files import foreign_file, refuse_code
        from models.foreign.rebuild import ForeignNetwork, rebuild

        refuse_code(foreign_file(config.path))
        foreign = ForeignNetwork(config.path, config.input_px, len(categories), config.preprocessing, config.ends_in)
        expected = (
            read_expected(config.expected, input_px=config.input_px, categories=len(categories))
            if config.expected
            else None
        )
        network, model = rebuild(foreign, _samples(config), expected)
    with release_written(config.release_id), tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch, network.weights_file)
        save_weights(model, weights)
        network = replace(network, weights_sha256=sha256_of(weights))
        release = Release(
            config.release_id,
            config.taxonomy_version,
            categories,
            (network,),
            temperature=1.0,
            thresholds={category.category_id: None for category in categories},
            floor=0.0,  # confidences have no known meaning before calibration
            training={
                "imported_from": config.path.name,
                "imported_sha256": sha256_of(config.path),
                **origin_of(config.path),
            },
            code_version=program_version(),
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        save_release(release, target, weights={network.architecture: weights}, documents={NAME: model_card(release)})
    share(target, settings.places)
    return {"release_id": config.release_id, "architecture": network.architecture, "release_dir": str(target)}


def class_names(path: Path) -> tuple[Category, ...]:
    """Read the class names of a network to import, in the order of its outputs.

    Raises:
        UsageError: If the file cannot be read, its lines have other columns, or a name is duplicate, an inner node, or
            no category_id; the message names the remedy.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"the class names cannot be read from {path} ({error}); give one a line") from error
    _refuse_other_columns(path, rows)
    named = [row for _, row in rows]
    ids = [row[0] for row in named]
    if len(set(ids)) < len(ids) or len(ids) < 2:
        raise UsageError(f"{path} names {len(ids)} classes of which {len(set(ids))} differ; give at least 2, each once")
    for name in ids:
        if fault := fault_of_id(name):
            raise UsageError(f"{path} has the category_id {name[:80]!r}, which {fault}; correct it")
    if above := above_others(ids):
        below = min(name for name in ids if name.startswith(f"{above[0]}."))
        raise UsageError(
            f"{path} names {above[0]!r} and {below!r} below it, and a network's outputs must be leaves; "
            f"call the first one something below it too, such as {above[0] + '.other'!r}"
        )
    return tuple(Category(row[0], row[1] if len(row) > 1 else row[0].replace(".", " > ")) for row in named)


def _refuse_other_columns(path: Path, rows: Sequence[tuple[int, list[str]]]) -> None:
    """Refuse a line with other columns than the first: its comma may be part of a name, or divide an id from a path."""
    columns = len(rows[0][1]) if rows else 1
    for line, row in rows:
        if len(row) not in (1, 2) or len(row) != columns or not all(row):
            found = f"the columns {', '.join(repr(cell[:40]) for cell in row[:5])}"
            raise UsageError(
                f"line {line} of {path} has {found}, where {'a name' if columns == 1 else 'category_id,category_path'} "
                'was expected as in all lines; put a name with a comma in quotes, as in "Shirts, blue"'
            )


def _samples(config: Import) -> Any:
    if config.samples is None:
        return None
    import numpy as np

    from jobs.images.normalise import Rejected, normalise
    from models.networks.inputs import decode_square

    squares = []
    try:
        paths = sorted(config.samples.iterdir())[:64]
    except OSError as error:
        raise UsageError(
            f"--samples {config.samples} cannot be read ({error.strerror}); give a directory of images, or leave it out"
        ) from error
    for path in paths:
        try:
            squares.append(decode_square(normalise(path.read_bytes()).jpeg, config.input_px))
        except (OSError, Rejected):
            continue
    if not squares:
        raise UsageError(f"no image could be read in {config.samples}; give another directory, or leave --samples out")
    return np.stack(squares)

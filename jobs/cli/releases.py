"""The commands that list, verify, import, calibrate and promote releases."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from jobs.cli import output
from jobs.cli.options import (
    database_of,
    dataset_options,
    json_option,
    known_only_option,
    label_map_of,
    promise_options,
    typed_command,
)
from jobs.dataset.parts import PARTS
from jobs.errors import UsageError
from jobs.settings import Settings
from models.release_checks import MAX_INPUT_PX
from models.spec import PREPROCESSING

_alias_option = click.option(
    "--alias",
    type=click.Choice(("champion", "challenger")),
    default="champion",
    show_default=True,
    help="Alias that the release gets.",
)


@click.group()
def release() -> None:
    """List, verify, import, calibrate and promote releases.

    \b
    Example:
      shelfwise release list
      shelfwise release promote shop-2
    """


@release.command("list")
@json_option
def list_(as_json: bool) -> None:
    """Print all available releases, and which of them are champion and challenger.

    \b
    Example:
      shelfwise release list
    """
    from jobs.releases import inspection

    rows = list(inspection.listed(Settings()))
    if as_json:
        output.summary({"releases": rows}, as_json)
        return
    names = ("release_id", "alias", "networks", "taxonomy_version", "test_accuracy", "state")
    output.table(names, [[row[name] for name in names] for row in rows])


@release.command()
@click.argument("name", metavar="[RELEASE]", required=False)
@json_option
def show(name: str | None, as_json: bool) -> None:
    """Print the metadata of a RELEASE; without a name, of the release in use.

    \b
    Example:
      shelfwise release show champion
    """
    from jobs.releases import inspection

    shown = inspection.details(Settings(), name)
    output.summary(shown if as_json else inspection.in_lines(shown), as_json)


@release.command()
@click.argument("name", metavar="[RELEASE]", required=False)
@json_option
def verify(name: str | None, as_json: bool) -> None:
    """Check a RELEASE, or the one in use: release.json is valid, the weights fit its checksums, the networks predict.

    \b
    Example:
      shelfwise release verify shop-2
    """
    from jobs.releases import inspection, lookup

    output.summary(inspection.verify(lookup.release_directory(Settings(), name)), as_json)


@release.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--release-id", required=True, help="Name of the release to be made.")
@click.option(
    "--input-px",
    type=click.IntRange(32, MAX_INPUT_PX),
    required=True,
    help="Side of the network's square input, in pixels.",
)
@click.option(
    "--classes",
    "categories",
    type=click.Path(path_type=Path),
    required=True,
    help="CSV file with one class name per line in the order of the outputs, or category_id,category_path in all "
    "lines; a name with a comma is in quotes.",
)
@click.option("--taxonomy-version", required=True, help="Name of this list of classes.")
@click.option(
    "--preprocessing",
    type=click.Choice(PREPROCESSING),
    default="own",
    show_default=True,
    help="Pixel range that the network was trained on; own: the range that its architecture was made for.",
)
@click.option(
    "--ends-in",
    type=click.Choice(("logits", "softmax")),
    default="softmax",
    show_default=True,
    help="What the network's last layer returns.",
)
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    help="Images on which both networks are compared; by default generated ones.",
)
@click.option(
    "--expected",
    type=click.Path(path_type=Path),
    help=".npz file of images and the network's answers to them; needed for files of Keras 2.",
)
@json_option
def import_(as_json: bool, **options: Any) -> None:
    """Make the release --release-id of a .keras file: an EfficientNet B0 to B7 or an Xception of keras.applications.

    Its head may be global average or maximum pooling with Dense, BatchNormalization, Dropout and activations. The
    release's predictions are compared with those of the original file. Until the release is calibrated, all of its
    answers go to review.

    Files of Keras 2, .keras and .h5, are read too. Keras 3 cannot load them, so write down in Keras 2 what the network
    answers, with the preprocessing of its training around images.astype(...), and give it with --expected:

    \b
      import glob, numpy as np; from PIL import Image
      images = np.stack([Image.open(f).convert("RGB").resize((224, 224)) for f in glob.glob("photos/*.jpg")[:32]])
      np.savez("expected.npz", images=images, answers=model.predict(images.astype("float32")))

    \b
    Example:
      shelfwise release import b0.keras --release-id b0-1 --input-px 224 --classes names.txt --taxonomy-version shop-1
    """
    from jobs.releases import import_network
    from jobs.releases.new_releases import check_release_id

    check_release_id(options["release_id"])
    output.summary(import_network.import_(Settings(), import_network.Import(**options)), as_json)


@release.command()
@click.argument("name", metavar="RELEASE")
@click.option("--release-id", required=True, help="Name of the release to be made.")
@click.option(
    "--part",
    type=click.Choice(PARTS[:2]),
    default="validation",
    show_default=True,
    help="Part of the products to fit on.",
)
@known_only_option
@promise_options
@dataset_options
@json_option
@click.pass_context
def calibrate(context: click.Context, /, name: str, as_json: bool, **options: Any) -> None:
    """Fit the thresholds from which a RELEASE's answers are published automatically, as a new --release-id.

    Makes a new release of the same networks. The share of each network in the answer, the temperature and the
    thresholds are fitted on labelled products and measured on the part `test`. A release that was trained elsewhere, on
    other products, may use the larger part `train`. A release that was trained on these products, by finetune or from
    export-arrays, may not.

    A release of finetune --quick is calibrated as it was then: on the parts train and validation, each product answered
    by heads that did not learn from it. If the labelled products have changed, its heads learn from those of today.

    \b
    Example:
      shelfwise release calibrate b0-1 --release-id b0-2 --part train
      shelfwise release calibrate shop-1 --release-id shop-2 --target-precision 0.9
    """
    from jobs.releases import lookup
    from jobs.releases.new_releases import check_release_id
    from models.release import CROSS_FITTED, load_release

    check_release_id(options["release_id"])
    settings = Settings()
    source = lookup.release_directory(settings, name)
    if CROSS_FITTED not in load_release(source).training:
        output.summary(_calibrated(settings, source, **options), as_json)
        return
    if context.get_parameter_source("part") is ParameterSource.COMMANDLINE:
        raise UsageError(
            f"the heads of release {source.name} learned from the parts train and validation, and it is calibrated on "
            "both by heads that have not seen a product; leave --part out"
        )
    output.summary(_calibrated_quickly(settings, source, options), as_json)


def _calibrated(
    settings: Settings,
    source: Path,
    *,
    release_id: str,
    part: str,
    first: date | None,
    last: date | None,
    target_precision: float,
    promise: str,
    floor: float,
    labels: str | None,
    **reading: Any,
) -> dict[str, Any]:
    """Calibrate a release on one part of the products."""
    from jobs.evaluation.config import EvaluateConfig
    from jobs.releases import lookup
    from jobs.releases.calibrate import Calibration, Promise, recalibrate
    from jobs.releases.stored import share

    calibration = Calibration(
        source=source,
        target=lookup.roots(settings)[0] / release_id,
        part=part,
        reading=EvaluateConfig(
            settings.places,
            first=first or date.min,
            last=last or date.max,
            labels=label_map_of(settings, labels),
            **reading,
        ),
        promise=Promise(target_precision, floor, promise),
        command=typed_command(),
    )
    done = recalibrate(calibration)
    share(calibration.target, settings.places)
    return done


def _calibrated_quickly(settings: Settings, source: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Calibrate a release of `finetune --quick` by cross-fitting its heads again."""
    from jobs.cli.finetune_options import again_config_of
    from jobs.training import quick
    from jobs.training.progress import feature_progress

    config = again_config_of(settings, source, options, command=typed_command())
    with feature_progress() as watch:
        return quick.run(config, watch=watch)


@release.command()
@click.argument("name", metavar="RELEASE")
@_alias_option
@json_option
def promote(name: str, alias: str, as_json: bool) -> None:
    """Make a RELEASE the champion, whose answers are published, or the challenger, which is tried in shadow runs.

    \b
    Example:
      shelfwise release promote shop-2 --alias challenger
    """
    from jobs.releases import aliases

    settings = Settings()
    output.summary(aliases.promote(settings, database_of(settings), name, alias), as_json)


@release.command()
@json_option
def demote(as_json: bool) -> None:
    """Remove the challenger alias. The challenger's answers stay in the history.

    \b
    Example:
      shelfwise release demote
    """
    from jobs.releases import aliases

    output.summary(aliases.demote(database_of(Settings())), as_json)


@release.command()
@json_option
def rollback(as_json: bool) -> None:
    """Make the previous champion the champion again. Run twice, it goes back by two champions.

    \b
    Example:
      shelfwise release rollback
    """
    from jobs.releases import aliases

    settings = Settings()
    output.summary(aliases.rollback(settings, database_of(settings)), as_json)

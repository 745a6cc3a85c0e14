"""The commands that train and evaluate releases, and export labelled products as arrays."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from jobs.cli import output
from jobs.cli.labels_from import labels_from_option
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
from jobs.storage.modes import usual_files
from jobs.training.taxonomy import MIN_PRODUCTS
from jobs.wording import listed, printable
from models.options import recipe_options

EVALUATION_FORMATS = ("text", "json", "markdown")

_COMPARED = ["reason", "left_out", "accuracy", "automatic", "calibration_error", "only_first", "only_second", "p_value"]
_PER_NETWORK = "VALUE applies to all networks, NETWORK=VALUE to one. Repeatable."


def _training_set_options(command: Any) -> Any:
    file = click.option(
        "--taxonomy", type=click.Path(path_type=Path), help="CSV file with the columns category_id and category_path."
    )
    name = click.option(
        "--taxonomy-version", default="", help="Name of the taxonomy; by default made from the category_ids."
    )
    enough = click.option(
        "--min-products",
        type=click.IntRange(MIN_PRODUCTS),
        help="Leave out categories with fewer labelled products. By default such a category is an error.",
    )
    return file(name(enough(labels_from_option(command))))


@click.command()
@click.option(
    "--release", metavar="RELEASE", help="Release to evaluate: its directory, id or alias; by default the one in use."
)
@click.option(
    "--compare", nargs=2, metavar="A B", help="Compare two releases on the products whose category both know."
)
@click.option(
    "--part",
    type=click.Choice((*PARTS, "all")),
    help="Part of the products. By default test for a release of finetune or calibrate, all for any other.",
)
@click.option(
    "--output",
    "directory",
    type=click.Path(path_type=Path),
    help="Directory of the two files; by default in SHELFWISE_HOME/evaluations.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(EVALUATION_FORMATS),
    help="Format of the result; by default lines of text. Markdown has the main figures.",
)
@known_only_option
@dataset_options
@json_option
def evaluate(
    release: str | None,
    compare: tuple[str, str] | None,
    part: str | None,
    directory: Path | None,
    form: str | None,
    as_json: bool,
    first: date | None,
    last: date | None,
    labels: str | None,
    **options: Any,
) -> None:
    """Measure a release, or --compare two releases, on labelled products.

    Writes evaluation.json and evaluation.html. Labelled products are the ingested products that have a category in the
    catalog. A tenth of them, by a hash of product_id, is the part test. Finetune and calibrate never train or fit on
    the part test, nor on other products with the same pictures.

    \b
    Example:
      shelfwise evaluate --release shop-2
      shelfwise evaluate --part all --leave-out apparel.other
      shelfwise evaluate --compare shop-1 shop-2 --format markdown
    """
    from jobs.evaluation import evaluate as evaluation
    from jobs.evaluation.config import EvaluateConfig
    from jobs.evaluation.evaluate import load_predictor
    from jobs.evaluation.markdown import markdown
    from jobs.evaluation.page import write
    from jobs.releases.lookup import release_directory
    from models.release import load_release

    if as_json and form not in (None, "json"):
        raise UsageError(f"--json asks for another format than --format {form}; leave one of them out")
    if release and compare:
        raise UsageError("--compare names both releases itself; leave --release out")
    settings = Settings()
    directories = [release_directory(settings, name).absolute() for name in compare or (release,)]
    releases = [load_release(release_dir) for release_dir in directories]
    part, why = (part, "") if part else evaluation.usual_part(releases)
    config = EvaluateConfig(
        settings.places,
        first=first or date.min,
        last=last or date.max,
        part=None if part == "all" else part,
        part_reason=why,
        labels=label_map_of(settings, labels),
        category_ids=tuple(each.category_id for release in releases for each in release.categories),
        **options,
    )
    document, measured, loaded = evaluation.run(directories, config, load_predictor)
    name = f"{loaded.release_id}-{part}"
    if compare:
        name = "{first}-against-{second}-".format_map(document["comparison"]) + part
    target = directory or settings.places.local_home / "evaluations" / name
    with usual_files() if directory else nullcontext():
        written, page = write(target, document, measured, loaded, settings.places)
    if form == "markdown":
        click.echo(printable(markdown(document)), nl=False)
    elif as_json or form == "json":
        output.summary(document, as_json=True)
    else:
        output.summary(_short(document), as_json=False)
        for path in (written, page):
            output.line(str(path))


@click.command()
@click.option("--release-id", required=True, help="Name of the release to be made.")
@click.option(
    "--quick",
    is_flag=True,
    help="Train the last layer alone, on features that are computed once and kept, and calibrate it on all products "
    "outside the part test.",
)
@click.option(
    "--promote",
    is_flag=True,
    help="With --quick: make the release the champion, unless the part test contradicts its promise, or nobody knows "
    "whether its start weights have seen these products.",
)
@click.option(
    "--start-unseen",
    is_flag=True,
    help="With --quick: the weights of --start-from, such as those of an imported release, have learned from none of "
    "these products. ImageNet's weights need it only if their file has a name of its own.",
)
@click.option(
    "--network",
    "networks",
    multiple=True,
    default=("efficientnetb0", "xception"),
    show_default=True,
    help="Network to train. Repeatable. With --quick and --start-from RELEASE by default the networks of that release.",
)
@click.option(
    "--start-from",
    multiple=True,
    help="Initial weights: imagenet (the default), nothing (random weights), a .weights.h5 file, a release or an "
    f"alias. {_PER_NETWORK}",
)
@click.option(
    "--input-px",
    multiple=True,
    help="Input side in pixels; by default the architecture's own, or with --quick that of the release from which it "
    f"starts. {_PER_NETWORK}",
)
@click.option("--unfreeze-from", multiple=True, help=f"First block that is trained, such as block6a. {_PER_NETWORK}")
@recipe_options
@click.option("--seed", type=int, default=7, show_default=True, help="Seed of all random numbers.")
@_training_set_options
@promise_options
@dataset_options
@json_option
@click.pass_context
def finetune(context: click.Context, /, as_json: bool, quick: bool, promote: bool, **options: Any) -> None:
    """Train a new release --release-id on labelled products.

    Trains on the ingested products that have a category in the catalog or on which a person decided, and makes a
    calibrated release. If the command is stopped at any time, the same command resumes after the last finished epoch,
    with the same data. The dots in a category_id form the hierarchy: `apparel.tops.shirt` is below `apparel.tops`.

    \b
    Example:
      shelfwise finetune --release-id shop-1 --start-from imagenet
      shelfwise finetune --release-id shop-2 --network xception --start-from xception.weights.h5 --unfreeze-from block13
    """
    from jobs.cli.finetune_options import config_of
    from jobs.training import finetune as job
    from jobs.training.progress import training_progress

    if quick:
        output.summary(_quick(context, options, promote), as_json)
        return
    if promote:
        raise UsageError("--promote belongs to --quick; use `shelfwise release promote` when the training has ended")
    if options["start_unseen"]:
        raise UsageError("--start-unseen belongs to --quick, which calibrates on what it learns from; leave it out")
    config = config_of(Settings(), options, command=typed_command())
    with training_progress() as watch:
        done = job.run(config, watch=watch)
    output.summary(done, as_json)


def _quick(context: click.Context, options: dict[str, Any], promote: bool) -> dict[str, Any]:
    """Make a release with `--quick`, and make it the champion if that is asked for and nothing contradicts it."""
    from jobs.cli.finetune_options import quick_config_of
    from jobs.releases import aliases
    from jobs.training import quick as job
    from jobs.training.progress import feature_progress

    typed = ParameterSource.COMMANDLINE
    given = {name for name in options if context.get_parameter_source(name) is typed}
    settings = Settings()
    config = quick_config_of(settings, options, command=typed_command(), given=given)
    database = database_of(settings) if promote else None
    with feature_progress() as watch:
        done = job.run(config, watch=watch)
    if database is None:
        return done
    if not done["below_promise"]:
        aliases.promote(settings, database, config.release_id, "champion")
    return {**done, "promoted": not done["below_promise"]}


@click.command("export-arrays")
@click.option("--output", "target", type=click.Path(path_type=Path), required=True, help="The .npz file to write.")
@click.option(
    "--side-px",
    type=click.IntRange(16, 1024),
    required=True,
    help="Side of the square images in pixels: the network's input.",
)
@_training_set_options
@dataset_options
@json_option
def export_arrays(target: Path, side_px: int, as_json: bool, **options: Any) -> None:
    """Write labelled products to --output as arrays to train elsewhere.

    People's decisions are labels to learn too; the held-out images have the catalog's labels alone.

    `python -P -m models.train_arrays` trains from the file on any Keras backend, without Spark.

    \b
    Example:
      shelfwise export-arrays --output shop.npz --side-px 299
    """
    from jobs.cli.finetune_options import selection_of
    from jobs.training import export

    reading = {name: options[name] for name in ("batch_size", "decode_workers")}
    config = export.ArraysConfig(selection_of(Settings(), options), target, side_px, **reading)
    with usual_files():
        done = export.run(config)
    output.summary(done, as_json)


def _short(document: dict[str, Any]) -> dict[str, Any]:
    """Return the figures that fit a terminal."""
    leaf = document["levels"][0]
    auto = document["decisions"]["auto"]
    shown = {
        "release_id": document["release_id"],
        "part": f"{document['part']} ({document['part_reason']})" if document["part_reason"] else document["part"],
        **({"leave_out": listed(document["leave_out"])} if document["leave_out"] else {}),
        **{name: document[name] for name in ("first", "last") if document[name]},
        **({"left_out": document["left_out"]} if (document["left_out"] or {}).get("products") else {}),
        "products": document["products"],
        **{name: leaf[name] for name in ("top1", "top3", "macro_f1", "networks", "agreement")},
        "calibration_error": leaf["calibration"]["after"],
        "calibration_error_before": leaf["calibration"]["before"],
        "automatic": {"share": auto["share"], "precision": auto["precision"]},
    }
    if "comparison" in document:
        comparison = document["comparison"]
        shown["comparison"] = {name: value for name, value in comparison.items() if name in _COMPARED}
    return shown

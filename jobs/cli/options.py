"""Options that several commands share, and the settings, run, release and database that they are turned into."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.catalog.description import (
    DEFAULT_MAX_IMAGES,
    FORMATS,
    PRODUCT_IDS_OF,
    Description,
    described,
    parse_columns,
)
from jobs.errors import UsageError
from jobs.ingest.catalog_names import check_catalog_name
from jobs.ingest.config import FEWEST_LEFT
from jobs.runs.config import RunConfig
from jobs.runs.run_ids import nightly_run_id
from jobs.settings import Settings
from models.answers.promises import CATEGORY, PROMISES
from models.options import NumberRange
from models.release import load_release

if TYPE_CHECKING:
    from jobs.dataset.label_map import LabelMap
    from jobs.runs.config import RunContext
    from sql.store import ProductDatabase

log = logging.getLogger(__name__)

Command = Callable[..., Any]


class Date(click.ParamType[date]):
    """Type of an option: a calendar date, YYYY-MM-DD, not after tomorrow.

    A mistyped year would count as newer than every later night, so dates in the future are refused.
    """

    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Parse and check a date."""
        try:
            day = value if isinstance(value, date) else datetime.strptime(value, "%Y-%m-%d").date()
        except ValueError:
            self.fail(f"{value!r} is not a date; write it as 2026-11-01", param, ctx)
        if day > datetime.now(UTC).date() + timedelta(days=1):
            self.fail(f"{day} is in the future; give the date of a night that has begun", param, ctx)
        return day


def json_option(command: Command) -> Command:
    """Add the option `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document on stdout.")(
        command
    )


def release_option(command: Command) -> Command:
    """Add the option `--release`."""
    text = (
        "Release to use: its directory, id or alias. "
        "By default the first of: SHELFWISE_RELEASE_DIR, the champion, the release that is shipped with shelfwise."
    )
    return click.option("--release", metavar="RELEASE", help=text)(command)


def run_options(command: Command) -> Command:
    """Add the options of every run: `--json`, `--master`, `--release`, `--batch-size` and `--run-id`."""
    return run_id_option(batch_option(release_option(master_option(json_option(command)))))


def master_option(command: Command) -> Command:
    """Add the option `--master`."""
    text = "Spark master: local[4], spark://HOST:7077, yarn or k8s://...; by default SHELFWISE_MASTER."
    return click.option("--master", metavar="URL", help=text)(command)


def promise_options(command: Command) -> Command:
    """Add `--target-precision`, `--promise` and `--floor`, for which finetune and calibrate fit thresholds."""
    target = click.option(
        "--target-precision",
        type=NumberRange(0.5, 1, max_open=True),
        default=0.95,
        show_default=True,
        help="Share of automatically published answers that must be right.",
    )
    promise = click.option(
        "--promise",
        type=click.Choice(PROMISES),
        default=CATEGORY,
        show_default=True,
        help="Of what that share must be right: of each category, where those with few products share a threshold and "
        "are right on average, or of all that is published.",
    )
    floor = click.option(
        "--floor",
        type=NumberRange(0, 1),
        default=0.2,
        show_default=True,
        help="Lowest confidence of an answer; below it the product's category is unknown.",
    )
    return target(promise(floor(command)))


def _with_files(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Replace each @FILE by the lines of the file."""
    categories: list[str] = []
    for value in values:
        if not value.startswith("@"):
            categories.append(value)
            continue
        try:
            lines = Path(value[1:]).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise UsageError(
                f"--leave-out {value} cannot be read ({why}); name a text file of one category a line"
            ) from error
        categories += [line.strip() for line in lines if line.strip()]
    return tuple(categories)


def dataset_options(command: Command) -> Command:
    """Add the options that select the ingested products to train or evaluate on, and how they are read."""
    first = click.option("--from", "first", type=Date(), help="First ingest date; by default the first of the dataset.")
    last = click.option(
        "--to", "last", type=Date(), help="Last ingest date, included; by default the last of the dataset."
    )
    left_out = click.option(
        "--leave-out",
        metavar="CATEGORY|@FILE",
        multiple=True,
        callback=_with_files,
        help="Category to exclude, with everything below it, or @FILE with one category per line. Repeatable.",
    )
    batch = click.option(
        "--batch-size", type=click.IntRange(1, 4096), default=32, show_default=True, help="Images per batch."
    )
    workers = click.option(
        "--decode-workers",
        type=click.IntRange(1, 64),
        default=2,
        show_default=True,
        help="Threads that decode images.",
    )
    return first(last(left_out(labels_option(batch(workers(command))))))


def label_map_option(then: str) -> Callable[[Command], Command]:
    """Make the option `--labels`; its help ends with what the command does with the file."""
    text = (
        "CSV or TSV file that maps the catalog's category texts to categories, with the columns category, category_id "
    )
    return click.option("--labels", metavar="FILE", help=f"{text}and, optionally, category_path. {then}")


catalog_labels_option = label_map_option("What it lacks is listed. Kept in the home for finetune and evaluate.")
labels_option = label_map_option(
    "By default the one that ingest has kept in the home, or else a rule: `Apparel > Tops` and `Apparel/Tops` are "
    "apparel.tops."
)


def label_map_of(settings: Settings, name: str | None) -> LabelMap | None:
    """Return the label map that a command uses to read labels: the given one, the home's, or None for the rule."""
    from jobs.dataset.label_map import kept_label_map, read_label_map

    labels = kept_label_map(settings.places) if name is None else read_label_map(name)
    if labels and name is None:
        log.info("labels: by %s, which ingest has kept; --labels uses another one", labels.name)
    return labels


known_only_option = click.option(
    "--known-only",
    is_flag=True,
    help="Leave out products whose category is not in the release's taxonomy, and count them.",
)


def settings_of(options: dict[str, Any]) -> Settings:
    """Build the settings from a command's options; `--master` takes precedence over SHELFWISE_MASTER.

    Args:
        options: Parsed options of the command, by parameter name.

    Raises:
        UsageError: If `--master` is given although spark-submit has set the master already.
    """
    from jobs.spark.session import submitted

    master = options.get("master")
    if master and submitted():
        raise UsageError("spark-submit has a --master of its own, which holds; leave shelfwise's out")
    return Settings(master=master) if master else Settings()


catalog_option = click.option(
    "--catalog",
    required=True,
    help="Catalog to read: a directory with one folder for each category, a file that a shop system exports, "
    "or `products` for the database table.",
)


def description_options(command: Command) -> Command:
    """Add the options that say how a catalog is read; `description_of` collects them."""
    form = click.option(
        "--format",
        "form",
        type=click.Choice(FORMATS),
        help="Form of the catalog. By default recognised by name, first bytes and header.",
    )
    columns = click.option(
        "--columns",
        metavar="OURS=THEIRS,...",
        help="Columns of the file that hold the catalog's columns: product_id=sku,image_uri=image_link,title=name. "
        "Give image_uri several times for several images; `image*` stands for numbered columns. A name with a comma "
        'stands in quotation marks: image_uri="Image URLs (x,y,z...)".',
    )
    encoding = click.option("--encoding", metavar="NAME", help="Encoding of a text file; by default UTF-8 or UTF-16.")
    group_by = click.option(
        "--group-by",
        metavar="COLUMN",
        help="Column whose value is the product of several rows, such as item_group_id; their pictures are its images.",
    )
    product_id = click.option(
        "--product-id",
        type=click.Choice(PRODUCT_IDS_OF),
        help="What of a path is the product_id in a directory of pictures; by default stem, the name of the file.",
    )
    max_images = click.option(
        "--max-images",
        type=click.IntRange(1, 1000),
        help=f"Most images of a product to read where the rows do not number them; by default {DEFAULT_MAX_IMAGES}.",
    )
    return form(columns(encoding(group_by(product_id(max_images(command))))))


def _catalog_name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    return None if value is None else check_catalog_name(value)


def catalog_name_option(command: Command) -> Command:
    """Add the option `--catalog-name`."""
    text = (
        "Name under which products remember this catalog. By default its file's or folder's name without suffixes and "
        "dates. Give each catalog of a shop a name of its own, and the files of its changes the same one."
    )
    return click.option("--catalog-name", metavar="NAME", callback=_catalog_name, help=text)(command)


def leaving_options(command: Command) -> Command:
    """Add `--catalog-name`, `--partial` and `--max-left`; `leaving_of` collects them."""
    partial = click.option(
        "--partial", is_flag=True, help="The catalog names changes only: products that it does not name stay."
    )
    max_left = click.option(
        "--max-left",
        type=NumberRange(0.0, 1.0),
        default=0.2,
        show_default=True,
        help=f"Largest share of the catalog's products that may leave in one night; {FEWEST_LEFT} products always may. "
        "Above it nothing is read. 1 allows all.",
    )
    return catalog_name_option(partial(max_left(command)))


def leaving_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return the values of `leaving_options`, by the names of `IngestConfig`."""
    return {
        "catalog_name": options["catalog_name"] or "",
        "partial": options["partial"],
        "max_left": options["max_left"],
    }


def description_of(options: dict[str, Any]) -> Description:
    """Return what the options of a command say about its catalog."""
    columns = options["columns"]
    return described(
        format=options["form"],
        columns=None if columns is None else parse_columns(columns),
        **{name: options[name] for name in ("encoding", "group_by", "product_id", "max_images")},
    )


batch_option = click.option(
    "--batch-size",
    type=click.IntRange(1, 4096),
    help="Images per call of the networks. By default 32 on a CPU; on a GPU the fastest size is measured.",
)
run_id_option = click.option(
    "--run-id", help="Name of the run. By default made from its kind and date, so that running again resumes it."
)
date_option = click.option(
    "--run-date", type=Date(), required=True, help="Date of the night; it is also the ingest date."
)
rejected_option = click.option(
    "--max-rejected",
    type=NumberRange(0.0, 1.0),
    default=0.2,
    show_default=True,
    help="Largest share of a night's new images that may be rejected; above it the run fails.",
)
shift_option = click.option(
    "--allow-shift",
    is_flag=True,
    help="Publish although many images are unlike those that the release knows, or have no score; single ones wait.",
)


def step_options(command: Command) -> Command:
    """Add the options of the steps after a night's ingest: those of every run, and how far a night may be unusual."""
    return date_option(rejected_option(shift_option(run_options(command))))


def night_of(options: dict[str, Any], run_date: date, max_rejected: float) -> RunConfig:
    """Build the configuration of a night from a command's options; the ingest date is its only date.

    Args:
        options: Parsed options of the command, by parameter name.
        run_date: Date of the night.
        max_rejected: Largest share of the night's new images that may be rejected, 0 to 1.
    """
    run_id = options["run_id"] or nightly_run_id(run_date)
    return RunConfig(
        *(run_id, "nightly", run_date, (run_date,)), max_rejected=max_rejected, allow_shift=options["allow_shift"]
    )


def context_of(settings: Settings, options: dict[str, Any]) -> RunContext:
    """Build what every step of a run needs from a command's options; the release is loaded and verified."""
    from jobs.releases.lookup import lasting_name, release_directory
    from jobs.runs.config import RunContext
    from jobs.storage.stores import check_usable

    check_usable(settings.places.home)
    release_dir = release_directory(settings, options["release"])
    return RunContext(
        places=settings.places,
        spark=settings.spark,
        release=load_release(release_dir),
        release_dir=release_dir.absolute(),
        products=settings.products,
        batch_size=options["batch_size"],
        http=settings.http,
        max_megapixels=settings.max_megapixels,
        precision=settings.precision,
        engine=settings.engine,
        engines_dir=settings.engines_path,
        release_name=lasting_name(settings, options["release"], release_dir),
        shared_picture_groups=settings.shared_picture_groups,
    )


def database_of(settings: Settings, *, keep_connections: bool = False) -> ProductDatabase:
    """Open the product database for a command, and check its schema.

    The tables of the embedded default database are created if it has none. Any other database is changed only by
    `shelfwise db upgrade`. `keep_connections` is that of `open_database`.
    """
    from sql.store import open_database

    database = open_database(settings.url, keep_connections=keep_connections)
    if not settings.database_url:
        database.make()
    database.check()
    return database


def run_row(database: ProductDatabase, run_id: str) -> dict[str, Any]:
    """Return the database row of the run that a command's option or argument names, by column name.

    Raises:
        UsageError: If there is no such run; the message lists the latest runs.
    """
    from sql.run_history import find_run, list_runs

    row = find_run(database, run_id)
    if row is None:
        latest = ", ".join(str(run[0]) for run in list_runs(database, limit=5))
        raise UsageError(f"no run {run_id!r}; the latest are: {latest or 'there is none yet'}")
    return row


def typed_command() -> str:
    """Return the command line of this process, for the record in a release."""
    return shlex.join(["shelfwise", *sys.argv[1:]])

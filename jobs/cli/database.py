"""The commands that query the product database, migrate, check, copy and prune it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli import output
from jobs.cli.options import database_of, json_option
from jobs.cli.person_options import refused_values_explained
from jobs.cli.reading_database import reading_database_of
from jobs.errors import UsageError
from jobs.releases.lookup import manifests
from jobs.settings import Settings
from jobs.storage.modes import usual_files
from models.whole_files import in_place_of

if TYPE_CHECKING:
    from sql.named_queries import QueryResult


@click.command()
@click.argument("name", required=False)
@click.option(
    "--param", "-p", "params", multiple=True, metavar="NAME=VALUE", help="Value of a query parameter. Repeatable."
)
@click.option("--limit", type=click.IntRange(min=1), help="Most rows to return.")
@click.option("--format", "form", type=click.Choice(output.FORMATS), help="Format of the result; by default a table.")
@click.option(
    "--output", "target", type=click.Path(dir_okay=False, path_type=Path), help="File to write; by default stdout."
)
@click.option(
    "--safe",
    is_flag=True,
    help="With --format csv, for a spreadsheet: put an apostrophe before texts that begin like a formula, with one of "
    "= + - @, a tab or a newline. Numbers stay as they are. By default the texts are written as they are.",
)
@click.option(
    "--bom",
    is_flag=True,
    help="With --format csv: begin with a byte order mark, by which spreadsheets recognise UTF-8. Off by default.",
)
@click.option(
    "--include-left",
    is_flag=True,
    help="Also list products that no catalog names any more, with the night they left in the column left_at.",
)
@click.option("--explain", is_flag=True, help="Print the query's purpose, parameters and SQL, and do not run it.")
def query(
    name: str | None,
    params: tuple[str, ...],
    limit: int | None,
    form: str | None,
    target: Path | None,
    safe: bool,
    bom: bool,
    include_left: bool,
    explain: bool,
) -> None:
    """Run a named query on the product database. Without a NAME, list the queries.

    \b
    Example:
      shelfwise query category_counts --format json
      shelfwise query review_queue --format csv --safe --bom --output review.csv
      shelfwise query current_categories --limit 10
      shelfwise query current_of_products --param product_ids=sku-1001,sku-1002 --include-left
    """
    from sql import named_queries

    if name is None:
        output.query_list(named_queries.list_queries(), form)
        return
    with refused_values_explained():
        asked = named_queries.find_query(name, include_left=include_left)
    if explain:
        output.explain(asked)
        return
    if form == "parquet" and target is None:
        raise UsageError("Parquet goes to a file: add --output FILE.parquet")
    for_csv = "--safe" if safe else "--bom" if bom else None
    if for_csv and form != "csv":
        raise UsageError(f"{for_csv} is for CSV: add --format csv, or leave {for_csv} out")
    pairs = [param.partition("=") for param in params]
    if not all(separator for _, separator, _ in pairs):
        raise UsageError("a parameter is written NAME=VALUE, as in --param category_id=apparel.tops.shirt")
    values = {key: value for key, _, value in pairs}
    database = reading_database_of(Settings())
    with refused_values_explained():
        result = named_queries.run_query(database, name, values, limit, include_left=include_left)
    write_rows(result, form, target, safe=safe, bom=bom)


def write_rows(
    result: QueryResult, form: str | None, target: Path | None, *, safe: bool = False, bom: bool = False
) -> None:
    """Print the result of the query command, or write it to the file of --output.

    A regular file is replaced atomically. A pipe or device is written to directly.

    Args:
        result: Result to write.
        form: One of `output.FORMATS`; None prints a table.
        target: File to write; None writes to stdout.
        safe: Whether texts in CSV that a spreadsheet would take for a formula get an apostrophe in front.
        bom: Whether CSV begins with a byte order mark.

    Raises:
        UsageError: If the file cannot be written; give a file in a writable directory.
    """
    if target is None:
        output.rows(result, form, safe=safe, bom=bom)
        return
    with usual_files(), written_whole(target) as scratch:
        output.rows(result, form, scratch, safe=safe, bom=bom)


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Yield a file that becomes the target at the end of the block; raise UsageError if it cannot be written."""
    try:
        with in_place_of(target) as scratch:
            yield scratch
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(
            f"{target} cannot be written ({reason}); give a file in a directory that you may write to"
        ) from error


@click.group()
def db() -> None:
    """Create, migrate, check, copy and prune the product database.

    \b
    Example:
      shelfwise db upgrade
    """


@db.command()
@click.option(
    "--set-aside",
    is_flag=True,
    help="If another version of shelfwise made the SQLite database: keep it in a file with a new name beside it, and "
    "make a new database. Off by default.",
)
@json_option
def upgrade(set_aside: bool, as_json: bool) -> None:
    """Create the tables and views, or bring them to this version; rows are kept. Look also at --set-aside.

    \b
    Example:
      SHELFWISE_DATABASE_URL=postgresql://shop@db.example/products shelfwise db upgrade
      shelfwise db upgrade --set-aside
    """
    from sql.store import open_database

    database = open_database(Settings().url)
    document = {"database": str(database), "state": "up to date"}
    if not set_aside:
        database.upgrade()
    elif copy := database.replace():
        document["set_aside"] = str(copy)
        document["next"] = (
            "promote the release again if one was promoted (`shelfwise release promote`), publish the nights again "
            "(`shelfwise backfill`), then take the decisions of people over: "
            f"`shelfwise override import {shlex.quote(str(copy))}`"
        )
    output.summary(document, as_json)


@db.command()
@json_option
def check(as_json: bool) -> None:
    """Check that the database has the schema of this version. If not, exit with 1 and print the command to run.

    \b
    Example:
      shelfwise db check
    """
    from sql.store import open_database

    database = open_database(Settings().url)
    database.check()
    output.summary({"database": str(database), "state": "up to date"}, as_json)


@db.command()
@click.option(
    "--keep-runs", type=click.IntRange(min=1), required=True, help="Number of latest runs whose history is kept."
)
@click.option(
    "--keep-days",
    type=click.IntRange(min=1, max=36_500),
    default=365,
    show_default=True,
    help="Days for which the home keeps files that are no longer needed: pictures that were replaced or have left, "
    "files of published runs, cached features.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Delete nothing, and print how many rows of the database and files of the home would be deleted.",
)
@json_option
def prune(keep_runs: int, keep_days: int, dry_run: bool, as_json: bool) -> None:
    """Delete old history from the database, and files that nobody needs any more from the home.

    In the database, all history but that of the latest --keep-runs runs is deleted: predictions, rejected images, and
    what runs have overwritten. Current and manual answers stay, and so do their pictures; readers never wait. Of the
    home, unfinished files of killed processes are deleted whatever --keep-days says. While a run or an ingest is
    running, nothing is deleted.

    \b
    Example:
      shelfwise db prune --keep-runs 30 --dry-run
      shelfwise db prune --keep-runs 30 --keep-days 365
    """
    from jobs.housekeeping import prune as home
    from sql.prune import prune as drop

    settings = Settings()
    database = reading_database_of(settings) if dry_run else database_of(settings)
    records = home.records_of(database)
    home.refuse_while_running(records, settings.places)
    counts = asdict(drop(database, keep_runs=keep_runs, dry_run=dry_run))
    config = home.PruneConfig(settings.places, manifests(settings), keep_days, dry_run)
    mode = {"dry_run": True} if dry_run else {}
    output.summary({**mode, **counts, "home": home.run(records, config)}, as_json)


@db.command()
@click.argument("target", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@json_option
def backup(target: Path, as_json: bool) -> None:
    """Copy the SQLite database to FILE as it is now; runs may go on meanwhile. An existing FILE is replaced as a whole.

    For PostgreSQL it prints the command of pg_dump. sql/BACKUP.md says how to copy the files of the home with it.

    \b
    Example:
      shelfwise db backup backup/shelfwise.db
    """
    from sql.backup import check_target, copy_database
    from sql.store import open_database

    database = open_database(Settings().url)
    with refused_values_explained():
        check_target(database, target)
    with written_whole(target) as scratch:
        copy_database(database, scratch)
    document = {"database": str(database), "backup": str(target), "backup_bytes": target.stat().st_size}
    output.summary(document, as_json)

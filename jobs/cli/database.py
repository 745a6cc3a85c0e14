"""The commands that query the product database, migrate and prune it, and record the decisions of people."""

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
from jobs.cli.person_options import by_option, refused_values_explained, why_option
from jobs.cli.reading_database import reading_database_of
from jobs.errors import UsageError
from jobs.releases.lookup import manifests
from jobs.releases.records import decider
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
    "prediction files of published runs, cached features.",
)
@click.option("--dry-run", is_flag=True, help="Delete nothing, and print how many files of the home would be deleted.")
@json_option
def prune(keep_runs: int, keep_days: int, dry_run: bool, as_json: bool) -> None:
    """Delete old history from the database, and files that nobody needs any more from the home.

    In the database, all history but that of the latest --keep-runs runs is deleted. Current and manual answers stay,
    and so do their pictures; readers never wait. While a run is running, nothing is deleted.

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
    home.refuse_while_running(records)
    counts = {"dry_run": True} if dry_run else asdict(drop(database, keep_runs=keep_runs))
    config = home.PruneConfig(settings.places, manifests(settings), keep_days, dry_run)
    output.summary({**counts, "home": home.run(records, config)}, as_json)


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


@click.group()
def override() -> None:
    """Set a product's category by hand. No run or backfill replaces a person's category.

    \b
    Example:
      shelfwise override set article-00007 apparel.tops.shirt --by ada --why "it has a collar"
    """


@override.command(name="set")
@click.argument("product_id")
@click.argument("category_id")
@by_option
@why_option
@json_option
def set_(product_id: str, category_id: str, decided_by: str, why: str | None, as_json: bool) -> None:
    """Set the category of a product by hand, in the name of the person --by.

    \b
    Example:
      shelfwise override set article-00007 apparel.tops.shirt --by ada
    """
    from sql.overrides import Override, set_overrides

    decision = Override(product_id, category_id, why)
    with refused_values_explained():
        changed = set_overrides(database_of(Settings()), [decision], decided_by=decided_by)
    output.summary({"product_id": product_id, "category_id": category_id, "changed": changed}, as_json)


@override.command()
@click.argument("product_id")
@by_option
@why_option
@json_option
def clear(product_id: str, decided_by: str, why: str | None, as_json: bool) -> None:
    """Remove the category that a person gave to a PRODUCT_ID. Its answer is again the newest prediction.

    \b
    Example:
      shelfwise override clear article-00007 --by ada --why "the photograph was replaced"
    """
    from sql.overrides import clear_override

    database = database_of(Settings())
    with refused_values_explained():
        has_prediction = clear_override(database, product_id, decided_by=decided_by, combine_by=decider, why=why)
    output.summary({"product_id": product_id, "has_prediction": has_prediction}, as_json)


@override.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--by", "decided_by", metavar="NAME", help="Who decides; needed for a .csv or .jsonl file.")
@json_option
def import_(file: Path, decided_by: str | None, as_json: bool) -> None:
    """Import decisions from a .csv or .jsonl FILE with product_id, category_id and, optionally, why. All or none.

    FILE may also be an SQLite database of another version of shelfwise: its decisions keep who decided and when.

    \b
    Example:
      shelfwise override import decisions.csv --by ada
      shelfwise override import shelfwise-set-aside-20261101T023000Z.db
    """
    from jobs.cli.decisions_file import read_decisions
    from sql.overrides import set_overrides

    with refused_values_explained():
        decisions = read_decisions(file, decided_by)
        changed = set_overrides(database_of(Settings()), decisions)
    output.summary({"file": str(file), "decisions": len(decisions), "changed": changed}, as_json)


@click.group()
def review() -> None:
    """Work through the queue of answers to review, and through the pictures that hold answers back.

    \b
    Example:
      shelfwise query review_queue --limit 20
      shelfwise review accept article-00007 --by ada
    """


@review.command()
@click.argument("product_ids", nargs=-1, required=True)
@by_option
@why_option
@json_option
def accept(product_ids: tuple[str, ...], decided_by: str, why: str | None, as_json: bool) -> None:
    """Accept the predicted categories of these PRODUCT_IDS as answers of the person --by.

    \b
    Example:
      shelfwise review accept article-00007 article-00011 --by ada
    """
    from sql.overrides import accept_suggestions

    with refused_values_explained():
        changed = accept_suggestions(database_of(Settings()), product_ids, decided_by=decided_by, why=why)
    output.summary({"accepted": len(product_ids), "changed": changed}, as_json)


@review.command(name="allow-picture")
@click.argument("image_sha256", metavar="SHA256")
@by_option
@why_option
@json_option
def allow_picture(image_sha256: str, decided_by: str, why: str | None, as_json: bool) -> None:
    """Allow a picture that different products share, by its SHA256: from now on it holds no answer back.

    Its products are answered again by what remains. `shelfwise query shared_pictures` lists such pictures.

    \b
    Example:
      shelfwise review allow-picture 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae --by ada
    """
    from sql.pictures import allow_picture as allow

    with refused_values_explained():
        changed = allow(database_of(Settings()), image_sha256, by=decided_by, combine_by=decider, why=why)
    output.summary({"image_sha256": image_sha256, "changed": changed}, as_json)

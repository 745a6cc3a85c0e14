"""The commands that show how a catalog is read, before a night reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobs.catalog.description import description_file
from jobs.cli import output
from jobs.cli.options import (
    catalog_name_option,
    description_of,
    description_options,
    json_option,
    label_map_of,
    label_map_option,
)
from jobs.errors import UsageError
from jobs.ingest.catalog_names import catalog_name_of
from jobs.settings import Settings
from jobs.storage.modes import usual_files
from jobs.storage.stores import is_file

if TYPE_CHECKING:
    from jobs.ingest.catalog_check import Findings


@click.group()
def catalog() -> None:
    """Show how a catalog is read.

    \b
    Example:
      shelfwise catalog check shop.csv
    """


@catalog.command()
@click.argument("name", metavar="CATALOG")
@catalog_name_option
@description_options
@label_map_option("What it lacks is listed, nothing is kept. By default the one that ingest has kept in the home.")
@click.option(
    "--write",
    is_flag=True,
    help="Guess what the file does not say for certain, and write it to `shelfwise.toml` beside it for the nights; "
    "draft `labels.csv` too if there are categories. Existing files stay.",
)
@json_option
def check(name: str, catalog_name: str | None, labels: str | None, write: bool, as_json: bool, **options: Any) -> None:
    """Read a catalog, fetch nothing, and print what was understood. The exit code is 2 if a night would refuse it.

    \b
    Example:
      shelfwise catalog check shop.csv
      shelfwise catalog check export.txt --columns product_id=sku,image_uri=photo*
      shelfwise catalog check export.txt --write
    """
    from jobs.catalog.description_file import draft_labels, is_to_be_written, write_description
    from jobs.catalog.guess import guess
    from jobs.ingest.catalog import PRODUCTS_TABLE
    from jobs.ingest.catalog_check import check_catalog

    settings = Settings()
    said = description_of(options)
    catalog_name = catalog_name or catalog_name_of(name)
    try:
        if write and name == PRODUCTS_TABLE:
            raise UsageError("--write is for files, and the catalog `products` is a table; leave it out")
        guessed = guess(name, said) if write else said
        # Where nothing has to be written, the check finds what a night finds now.
        description = guessed if write and is_to_be_written(name, guessed) else said
        findings = check_catalog(
            name, description, settings.http, label_map_of(settings, labels), products=settings.products
        )
    except UsageError as error:
        if as_json:
            output.summary({"catalog": name, "refusals": [str(error)]}, as_json)
        raise
    written, unneeded = [], ""
    if write and not findings.refusals:
        with usual_files():
            written = write_description(name, guessed)
            unneeded = "" if written else _why_not_written(name)
            written += draft_labels(name, findings.categories)
    if as_json:
        shown = {"catalog": name, "catalog_name": catalog_name, **document(findings), "written": written}
        output.summary(shown, as_json)
    else:
        _print(name, catalog_name, findings)
        if unneeded:
            output.line(unneeded)
        for file in written:
            output.line(f"wrote {file}")
    if findings.refusals:
        raise UsageError(f"a night would refuse catalog {name}: {'; '.join(findings.refusals)}")


def _why_not_written(name: str) -> str:
    file = description_file(name)
    if is_file(file):
        return f"{file} says this already; it stays as it is"
    return f"no {file.name} is needed: the catalog itself says all of this"


def document(findings: Findings) -> dict[str, Any]:
    """Return findings as a JSON document."""
    layout = findings.recognised.layout
    return {
        "read_as": findings.recognised.words,
        "format": layout.kind or layout.form,
        "encoding": findings.recognised.encoding or None,
        "separator": layout.separator if layout.form == "csv" else None,
        "header_line": layout.header_line,
        "columns": findings.columns,
        "unused_columns": findings.unused,
        "group_by": layout.group_by or None,
        "rows": findings.rows,
        "products": findings.products,
        "images": findings.images,
        "images_beyond_max_images": findings.beyond,
        "hosts": dict(findings.hosts.most_common()),
        "empty_links": findings.empty_links,
        "unfetchable": dict(findings.unfetchable.most_common()),
        "categories": dict(findings.categories.most_common()),
        "category_ids": findings.category_ids,
        "examples": findings.examples,
        "notes": findings.notes,
        "refusals": findings.refusals,
    }


def _print(name: str, catalog_name: str, findings: Findings) -> None:
    layout = findings.recognised.layout
    output.line(f"{name}: {findings.recognised.words}")
    output.line(f"name: {catalog_name}; products that a night with this name does not name any more leave")
    if findings.columns:
        pairs = [f"{ours} = {' + '.join(theirs)}" for ours, theirs in findings.columns.items()]
        output.line(f"columns: {', '.join(pairs)}; not used: {', '.join(findings.unused)[:300] or 'none'}")
    beyond = f", {findings.beyond:,} more than {layout.max_images} a product are not read" if findings.beyond else ""
    output.line(
        f"{_number(findings.rows, 'row')}, {_number(findings.products, 'product')}, "
        f"{_number(findings.images, 'image')}{beyond}"
    )
    hosts = [f"{host} ({count:,})" for host, count in findings.hosts.most_common(5)]
    more = len(findings.hosts) - len(hosts)
    output.line(f"images on: {', '.join(hosts) or 'none'}{f' and {more:,} other hosts' if more > 0 else ''}")
    for note in findings.notes:
        output.line(note)
    if findings.empty_links:
        output.line(f"without a link: {_number(findings.empty_links, 'row')}")
    for reason, count in findings.unfetchable.most_common(5):
        example = findings.unfetchable_example[reason]
        output.line(f"cannot be fetched: {_number(count, 'link')}, {reason}, such as {example}")
    if findings.categories:
        frequent = findings.categories.most_common(len(findings.category_ids))
        output.line(f"categories: {_number(len(findings.categories), 'text')}, the most frequent first")
        output.table(
            ("category", "rows", "category_id"),
            [(text, count, findings.category_ids[text] or "none") for text, count in frequent],
        )
    names = ("product_id", "image_no", "image_uri", "title", "category")
    output.line("the first rows:")
    output.table(names, [[row[name] for name in names] for row in findings.examples])


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"

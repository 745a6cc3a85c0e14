"""The command that runs the demo, and the report that it prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from jobs.cli import output
from jobs.cli.options import json_option
from jobs.cli.output import line, table
from jobs.settings import Settings

if TYPE_CHECKING:
    from jobs.demo.nights import DemoReport

_ANSWER_COLUMNS = ("product_id", "category_path", "confidence", "status", "ingest_date", "run_id")
_REJECTION_COLUMNS = ("product_id", "reason", "detail")


@click.command()
@click.option(
    "--products",
    type=click.IntRange(20, 9_930),
    default=2000,
    show_default=True,
    help="Products in the catalog of the first night.",
)
@click.option("--clear", is_flag=True, help="Remove the files and rows of an earlier demo, and do nothing else.")
@json_option
def demo(products: int, clear: bool, as_json: bool) -> None:
    """Categorise real articles over two nights, between which some change. Needs no data of your own; see --clear.

    \b
    Example:
      shelfwise demo
    """
    from jobs.demo import nights as demonstration

    settings = Settings()
    if clear:
        demonstration.clear(settings.places)
        output.summary({"home": str(settings.places.local_home), "state": "without the demo"}, as_json)
        return
    show(demonstration.run(settings, products=products), as_json)


def show(report: DemoReport, as_json: bool) -> None:
    """Print what the demo command reports, as one JSON document or as text and tables."""
    if as_json:
        click.echo(json.dumps(asdict(report), default=str))
        return
    table(
        ("", "night one", "night two"),
        [
            (name, *(_figure(night, step, key) for night in report.nights))
            for name, step, key in (
                ("images in the catalog", "ingest", "catalog_rows"),
                ("unchanged, not read again", "ingest", "images_unchanged"),
                ("new or changed, stored", "ingest", "images_stored"),
                ("rejected", "ingest", "images_rejected"),
                ("predicted by both networks", "predict", "images"),
                ("products whose answer was written", "publish", "products_changed"),
                ("images a second while predicting", "predict", "images_per_second"),
            )
        ]
        + [("seconds, all included", *(f"{seconds:.1f}" for seconds in report.seconds))],
        title="What each night did",
    )
    accuracy = report.accuracy
    line(
        f"Of {accuracy['products']} products with a known category {accuracy['accuracy']:.1%} got it, and "
        f"{accuracy['right_group']:.1%} more its group; "
        f"{accuracy['published_automatically']:.1%} were published without a person, "
        f"and of these {accuracy['accuracy_of_these']:.1%} are right."
    )
    line("")
    _print_columns(report.answers, _ANSWER_COLUMNS, "Ten answers, of: shelfwise query current_categories")
    _print_columns(report.rejections, _REJECTION_COLUMNS, "shelfwise query rejections --param run_id=demo-night-2")
    line(f"Everything is in {report.home}; ask on with: shelfwise query")


def _print_columns(result: tuple[Sequence[str], list[Sequence[Any]]], columns: Sequence[str], title: str) -> None:
    """Print some columns of a query result as a table."""
    indices = [list(result[0]).index(name) for name in columns]
    table(columns, [[row[index] for index in indices] for row in result[1]], title=title)


def _figure(night: dict[str, Any], step: str, key: str) -> Any:
    return f"{night[step][key]:,}"

"""The commands of whoever trains, measures and releases networks."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import click

from jobs import output
from jobs.cli_options import Date, json_option
from jobs.config import UsageError
from jobs.labels import PARTS
from jobs.settings import Settings


def _dataset_options(command: Any) -> Any:
    first = click.option("--from", "first", type=Date(), help="First ingest date; by default the first there is.")
    last = click.option("--to", "last", type=Date(), help="Last ingest date, included; by default the last there is.")
    batch = click.option("--batch-size", type=click.IntRange(1, 4096), default=32, show_default=True)
    workers = click.option("--decode-workers", type=click.IntRange(1, 64), default=2, show_default=True)
    return first(last(batch(workers(command))))


@click.command()
@click.option("--release", metavar="RELEASE", help="A release's directory or release_id; by default the one in use.")
@click.option("--compare", nargs=2, metavar="A B", help="Two releases, measured on the same products.")
@click.option("--part", type=click.Choice(PARTS), help="Only this part of the products; by default all of them.")
@click.option("--output", "directory", type=click.Path(path_type=Path), help="Where the two files go.")
@_dataset_options
@json_option
def evaluate(
    release: str | None,
    compare: tuple[str, str] | None,
    part: str | None,
    directory: Path | None,
    as_json: bool,
    first: date | None,
    last: date | None,
    **options: Any,
) -> None:
    """Measure a release on the ingested products that have a category, and write evaluation.json and evaluation.html.

    \b
    Example:
      shelfwise evaluate --part test
      shelfwise evaluate --compare fashion-mnist-1 fashion-mnist-2 --output /tmp/comparison
    """
    from jobs import evaluate as evaluation
    from jobs.evaluation_page import write
    from jobs.measure import EvaluateConfig
    from jobs.predict import load_predictor

    if release and compare:
        raise UsageError("--compare names both releases itself; leave --release out")
    settings = Settings()
    directories = [settings.find_release(name).absolute() for name in compare or (release,)]
    config = EvaluateConfig(settings.places, first=first or date.min, last=last or date.max, part=part, **options)
    document, measured, loaded = evaluation.run(directories, config, load_predictor)
    name = f"{loaded.release_id}-{part or 'all'}"
    if compare:
        name = f"{loaded.release_id}-against-{document['comparison']['second']}-{part or 'all'}"
    target = directory or settings.places.home / "evaluations" / name
    written, page = write(target, document, measured, loaded)
    if as_json:
        output.summary(document, as_json)
        return
    output.summary(_short(document), as_json)
    for path in (written, page):
        output.line(str(path))


def _short(document: dict[str, Any]) -> dict[str, Any]:
    """Return the figures that fit a terminal."""
    leaf = document["levels"][0]
    auto = document["decisions"]["auto"]
    shown = {
        "release_id": document["release_id"],
        "part": document["part"],
        "products": document["products"],
        **{name: leaf[name] for name in ("top1", "top3", "macro_f1", "networks", "agreement")},
        "calibration_error": document["calibration"]["after"],
        "calibration_error_before": document["calibration"]["before"],
        "automatic": {"share": auto["share"], "precision": auto["precision"]},
    }
    if "comparison" in document:
        kept = ("accuracy", "only_first", "only_second", "p_value")
        shown["comparison"] = {name: document["comparison"][name] for name in kept}
    return shown

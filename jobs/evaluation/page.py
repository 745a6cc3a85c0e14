"""The evaluation as files: a JSON document, and one page that needs nothing beside itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from markupsafe import Markup

from jobs.dataset.labels import LabelledImage
from jobs.dataset.local_copies import kept_copy
from jobs.dataset.shards import sound
from jobs.errors import RunFailed
from jobs.evaluation.measure import Measured
from jobs.pages import html as pages
from jobs.pages.charts import svg_chart
from jobs.storage.places import Places
from models.release import Release
from models.whole_files import write_whole

MISTAKES = 24
MOST_IN_A_MATRIX = 60
"""Categories; of more the page names the pairs that are confused most often, and evaluation.json holds all of them."""
CONFUSIONS = 100
THUMBNAIL_PX = 160


@dataclass(frozen=True)
class Mistake:
    """A product that was answered wrongly, to look at.

    Attributes:
        product_id: The product.
        answered: What the release said.
        confidence: How sure it was, in [0, 1].
        labelled: What the catalog says.
        picture: Its first image, small, as a data: URI; empty if it can no longer be read.
    """

    product_id: str
    answered: str
    confidence: float
    labelled: str
    picture: str


def write(
    directory: Path, document: Mapping[str, Any], measured: Measured, release: Release, places: Places
) -> tuple[Path, Path]:
    """Write evaluation.json and evaluation.html, each whole.

    Args:
        directory: Made if it is not there; older files of these names are replaced.
        document: Of `jobs.evaluation.evaluate.run`.
        measured: For the mistakes.
        release: Whose categories they are.
        places: Where state lives.

    Returns:
        The paths of JSON and page.

    Raises:
        RunFailed: If they cannot be written.
    """
    page = render(document, worst_mistakes(measured, release, places))
    try:
        write_whole(directory / "evaluation.json", _rows_in_lines(json.dumps(document, indent=2, ensure_ascii=False)))
        write_whole(directory / "evaluation.html", page)
    except OSError as error:
        raise RunFailed(
            f"the evaluation cannot be written to {directory} ({error.strerror or error}); free some space, or choose "
            "another --output"
        ) from error
    return directory / "evaluation.json", directory / "evaluation.html"


def render(document: Mapping[str, Any], mistakes: list[Mistake]) -> str:
    """Return the page; whatever a catalog calls its products and categories is escaped."""
    levels = document["levels"]
    facts = {
        "document": document,
        "mistakes": mistakes,
        "charts": [_charts(level) for level in levels],
        "matrices": [_matrix(level) for level in levels],
        "pairs": [_confused(level) for level in levels],
    }
    return pages.render("evaluation.html", facts)


def _rows_in_lines(text: str) -> str:
    """Put pairs of categories with their count on one line each: a thousand categories have tens of thousands."""
    word = r'("(?:[^"\\]|\\.)*")'
    return re.sub(rf"\[\s+{word},\s+{word},\s+(\d+)\s+\]", r"[\1, \2, \3]", text) + "\n"


def _matrix(level: Mapping[str, Any]) -> list[list[int]] | None:
    """Return the counts in the order of the level's categories, down what it is; None if it would be too large."""
    place = {row["category_id"]: index for index, row in enumerate(level["categories"])}
    if len(place) > MOST_IN_A_MATRIX:
        return None
    counts = np.zeros((len(place), len(place)), np.int64)
    for true, said, count in level["confusion"]:
        counts[place[true], place[said]] = count
    return [[int(count) for count in row] for row in counts]


def _confused(level: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """Return what was taken for what how often, the most frequent first."""
    return [(true, said, count) for true, said, count in level["confusion"] if true != said][:CONFUSIONS]


def _charts(level: Mapping[str, Any]) -> dict[str, Markup]:
    """Draw how sure the answers of one level are; the charts escape their own texts."""
    bins = {
        "before": [point[:2] for point in level["calibration"]["reliability_before"]],
        "after": [point[:2] for point in level["calibration"]["reliability"]],
    }
    curve = [(share, wrong) for _, share, wrong in level["risk_coverage"]]
    highest = max(max(wrong for _, wrong in curve), 0.01)
    return {
        "reliability": Markup(  # noqa: S704
            svg_chart(bins, across="mean confidence", up="accuracy", diagonal=True, dots=True)
        ),
        "risk": Markup(  # noqa: S704
            svg_chart({"wrong": curve}, across="share let through", up="wrong among these", top=highest)
        ),
    }


def worst_mistakes(measured: Measured, release: Release, places: Places, *, count: int = MISTAKES) -> list[Mistake]:
    """Return the wrong answers that were the surest."""
    ids = [category.category_id for category in release.categories]
    order = [i for i in np.argsort(-measured.confidences, kind="stable") if not measured.hits[i]][:count]
    return [
        Mistake(
            product_id=measured.product_ids[i],
            answered=ids[measured.winners[i]],
            confidence=float(measured.confidences[i]),
            labelled=ids[measured.labels[i]],
            picture=_thumbnail(measured.first_images[i], places),
        )
        for i in order
    ]


def _thumbnail(image: LabelledImage, places: Places) -> str:
    """Read an image from its shard and shrink it; its pixels are shown as ingest stored them."""
    columns = ["image_no", "jpeg"]
    wanted = [("product_id", "=", image.product_id), ("image_sha256", "=", image.image_sha256)]
    with sound(image.shard):
        rows = pq.read_table(kept_copy(image.shard, places), columns=columns, filters=wanted).to_pylist()
    return pages.thumbnail(rows[0]["jpeg"], longest_px=THUMBNAIL_PX) if rows else ""

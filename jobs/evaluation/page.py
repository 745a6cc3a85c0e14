"""The page of an evaluation: a self-contained HTML file, and the same figures as a JSON document."""

from __future__ import annotations

import json
import math
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
from jobs.dataset.shards import read_errors_explained
from jobs.errors import RunFailed
from jobs.evaluation.product_predictions import Measured
from jobs.pages import html as pages
from jobs.pages.charts import svg_chart
from jobs.storage.places import Places
from models.answers.promises import CURVE, PROMISES
from models.release import Release
from models.whole_files import write_whole
from sql.records import REVIEW_REASONS

MISTAKES = 24
MOST_IN_A_MATRIX = 60
"""Most categories in a confusion matrix. With more, the page lists the most frequent confusions; evaluation.json has
all of them."""
CONFUSIONS = 100
THUMBNAIL_PX = 160


@dataclass(frozen=True)
class Mistake:
    """A wrongly predicted product, for the page of an evaluation.

    Attributes:
        product_id: Identifier of the product.
        answered: Predicted category.
        confidence: Calibrated confidence of the prediction, in [0, 1].
        labelled: Label of the product in the catalog.
        picture: Thumbnail of the first image as a data: URI; empty if the image can no longer be read.
    """

    product_id: str
    answered: str
    confidence: float
    labelled: str
    picture: str


def write(
    directory: Path, document: Mapping[str, Any], measured: Measured, release: Release, places: Places
) -> tuple[Path, Path]:
    """Write the page of an evaluation, evaluation.html, and evaluation.json, each atomically.

    Args:
        directory: Output directory; created if it does not exist. Existing files of these names are replaced.
        document: JSON document from `jobs.evaluation.evaluate.run`.
        measured: Predictions of the release, from which the mistakes are selected.
        release: Release that was measured.
        places: Directories and stores of the home.

    Returns:
        Paths of evaluation.json and evaluation.html.

    Raises:
        RunFailed: If a file cannot be written; free some space, or choose another `--output`.
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
    """Render the HTML page of an evaluation; names of products and categories are escaped."""
    levels = document["levels"]
    facts = {
        "document": document,
        "mistakes": mistakes,
        "charts": [_charts(level) for level in levels],
        "matrices": [_matrix(level) for level in levels],
        "pairs": [_confused(level) for level in levels],
        "by_target": _by_target(document[CURVE]),
        "meanings": REVIEW_REASONS,
    }
    return pages.render("evaluation.html", facts)


def _rows_in_lines(text: str) -> str:
    """Format each confusion (label, prediction, count) on one line; a thousand categories have tens of thousands."""
    word = r'("(?:[^"\\]|\\.)*")'
    return re.sub(rf"\[\s+{word},\s+{word},\s+(\d+)\s+\]", r"[\1, \2, \3]", text) + "\n"


def _matrix(level: Mapping[str, Any]) -> list[list[int]] | None:
    """Return the confusion matrix of a level, labels in rows and predictions in columns; None if it would be too large.

    Rows and columns have the order of the level's categories.
    """
    position = {row["category_id"]: index for index, row in enumerate(level["categories"])}
    if len(position) > MOST_IN_A_MATRIX:
        return None
    counts = np.zeros((len(position), len(position)), np.int64)
    for label, predicted, count in level["confusion"]:
        counts[position[label], position[predicted]] = count
    return [[int(count) for count in row] for row in counts]


def _confused(level: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """Return the confusions as (label, prediction, count), the most frequent first, at most `CONFUSIONS`."""
    pairs = [(label, predicted, count) for label, predicted, count in level["confusion"] if label != predicted]
    return pairs[:CONFUSIONS]


def _charts(level: Mapping[str, Any]) -> dict[str, Markup]:
    """Draw the reliability and risk-coverage charts of one level; the charts escape their texts."""
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


def _by_target(curve: list[dict[str, float]]) -> Markup | None:
    """Draw the share published against the target precision, for both promises; None if the release has no curve."""
    if not curve:
        return None
    lines = {f"by {by}": [(row["target_precision"], row[by]) for row in curve] for by in PROMISES}
    left = math.floor(min(row["target_precision"] for row in curve) * 5) / 5
    return Markup(  # noqa: S704
        svg_chart(lines, across="target precision", up="share published", left=min(left, 0.8), dots=True)
    )


def worst_mistakes(measured: Measured, release: Release, places: Places, *, count: int = MISTAKES) -> list[Mistake]:
    """Select for the page the wrong predictions with the highest confidence, at most `count`."""
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
    """Read an image from its shard, as ingest stored it, and return a thumbnail as a data: URI."""
    columns = ["image_no", "jpeg"]
    wanted = [("product_id", "=", image.product_id), ("image_sha256", "=", image.image_sha256)]
    with read_errors_explained(image.shard):
        rows = pq.read_table(kept_copy(image.shard, places), columns=columns, filters=wanted).to_pylist()
    return pages.thumbnail(rows[0]["jpeg"], longest_px=THUMBNAIL_PX) if rows else ""

"""Conversion of predictions to rows of a prediction file: category, confidence, status, or the reason of a failure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jobs.predict.inference import Answer
from models.answers.decision import DIGITS
from models.answers.products import answer_of_image, best_of_each
from models.answers.reasons import FOREIGN_IMAGE, GATE_CLOSED
from models.known.gate import Judgement
from models.release import Release

if TYPE_CHECKING:
    from jobs.dataset.batches import ImageBatch

_NUMBERS = ("image_no", "ingest_no")
_OPEN = Judgement()
_CLOSED = Judgement(untrusted=GATE_CLOSED)


def rows_of(batch: ImageBatch, answer: Answer, release: Release) -> Iterator[dict[str, Any]]:
    """Convert a batch's predictions to rows of the prediction file, without `ingest_date`.

    Args:
        batch: Decoded images with their key columns.
        answer: Predictions, errors and judgements, in the order of the batch. If no gate has judged the images, those
            of a release that describes what it knows are not trusted, and every image of another release is.
        release: Release whose categories and thresholds apply.

    Yields:
        One row per image, in the order of the batch; with its `descriptor`, which goes to the file of thumbnails, if a
        person may have to look at it.
    """
    ids = [category.category_id for category in release.categories]
    policy, predictions = release.policy, answer.predictions
    tops = best_of_each(ids, predictions.confidences) if predictions else []
    firsts = _first_choices(predictions.by_network) if predictions else {}
    judgements = answer.judgements or (_OPEN if release.known is None else _CLOSED,) * len(batch)
    for i in range(len(batch)):
        row = {name: values[i] or None for name, values in batch.columns.items() if name not in _NUMBERS}
        row |= {name: int(batch.columns[name][i]) for name in _NUMBERS}
        row["image_uri"] = row["image_uri"] or ""
        row |= {"release_id": release.release_id, "reason": None, "detail": None}
        error = batch.errors[i] or answer.errors[i]
        if error or predictions is None:
            yield {**row, "reason": "inference_failed", "detail": error}
            continue
        networks = {name: (ids[places[i]], round(values[i], DIGITS)) for name, (places, values) in firsts.items()}
        judgement = judgements[i]
        decision = answer_of_image(ids, predictions.confidences[i], policy, untrusted=judgement.untrusted)
        yield {
            **row,
            "category_id": decision.category_id,
            "confidence": decision.confidence,
            "status": decision.status,
            "top_k": json.dumps(tops[i]),
            "by_network": json.dumps(networks),
            "review_reason": decision.review_reason,
            "foreign_score": None if judgement.score is None else round(float(judgement.score), DIGITS),
            "descriptor": None if decision.status == "auto" else judgement.descriptor,
        }


def leaf_counts(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Count a shard's images, and the foreign ones, by the category with the highest confidence.

    Args:
        rows: Rows that `rows_of` returned.

    Returns:
        By category_id, in its order, [images with a score, those of them that are foreign].
    """
    counts: dict[str, list[int]] = {}
    for row in rows:
        if row.get("foreign_score") is None:
            continue
        leaf = json.loads(row["top_k"])[0][0]
        count = counts.setdefault(leaf, [0, 0])
        count[0] += 1
        count[1] += row["review_reason"] == FOREIGN_IMAGE
    return dict(sorted(counts.items()))


def _first_choices(by_network: Mapping[str, NDArray[np.floating[Any]]]) -> dict[str, tuple[list[int], list[float]]]:
    """Return for each network the column of the highest confidence of each image, and that confidence."""
    return {name: (part.argmax(axis=1).tolist(), part.max(axis=1).tolist()) for name, part in by_network.items()}

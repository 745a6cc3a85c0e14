"""The articles that a GPU machine answers, and how far two of its answers differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def articles(kit: Path, side_px: int) -> tuple[Any, Any]:
    """Return the articles as serving decodes them, uint8 (count, side_px, side_px, 3), and their labels."""
    from models.networks.inputs import to_square

    with np.load(kit / "articles.npz") as file:
        images, labels = np.repeat(file["images"][..., None], 3, axis=3), file["labels"]
    return np.stack([to_square(image, side_px) for image in images]), labels


def difference(first: Any, second: Any) -> dict[str, Any]:
    """Describe how far two arrays of confidences (images, categories) differ."""
    from models.answers.decision import decide
    from models.release import SHIPPED, load_release

    release = load_release(SHIPPED)
    ids = [category.category_id for category in release.categories]
    answers = [
        [decide(dict(zip(ids, row.tolist(), strict=True)), release.policy) for row in rows] for rows in (first, second)
    ]
    pairs = list(zip(*answers, strict=True))
    gap = np.abs(first.max(axis=1) - second.max(axis=1))
    return {
        "same_first_choice": float(np.mean(first.argmax(axis=1) == second.argmax(axis=1))),
        "same_status": float(np.mean([one.status == other.status for one, other in pairs])),
        "largest_difference": float(np.abs(first - second).max()),
        "difference_p999": float(np.quantile(gap, 0.999)),
        "finite": bool(np.isfinite(first).all() and np.isfinite(second).all()),
    }

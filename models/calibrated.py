"""Fitting everything about a release that is not weights of its networks: shares, temperature, thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.answers.calibration import combine, fit_ensemble
from models.answers.products import distributions
from models.answers.thresholds import FLOOR, TARGET_PRECISION, fit_thresholds
from models.release import Release
from models.spec import Probabilities


def calibrated(
    release: Release,
    by_network: Mapping[str, Probabilities],
    labels: NDArray[np.integer[Any]],
    *,
    products: NDArray[np.integer[Any]] | None = None,
    target: float = TARGET_PRECISION,
    floor: float = FLOOR,
) -> Release:
    """Fit a release on held-out products.

    Shares and temperature are fitted on images, to which serving applies them; thresholds on products, which they open.

    Args:
        release: Its weights stay; its shares, temperature and thresholds are replaced.
        by_network: Each network's softmax, (images, categories).
        labels: The true category of each image.
        products: Of each image the index of its product, ascending; None if each is a product of its own.
        target: Precision that what is published automatically shall have, category by category.
        floor: Below this confidence an answer is `unknown`.

    Returns:
        The calibrated release.
    """
    shares, temperature = fit_ensemble(by_network, labels)
    confidences = combine(by_network, weights=shares, temperature=temperature)
    ids = [category.category_id for category in release.categories]
    if products is not None:
        confidences = distributions(ids, confidences, products)
        labels = labels[np.unique(products, return_index=True)[1]]
    return replace(
        release,
        networks=tuple(replace(one, ensemble_weight=shares[one.architecture]) for one in release.networks),
        temperature=temperature,
        thresholds=fit_thresholds(confidences, labels, ids, target=target),
        floor=floor,
        training={**release.training, "calibrated_on_products": len(labels), "target_precision": target},
    )

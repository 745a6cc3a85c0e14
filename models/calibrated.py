"""Return a calibrated copy of a release: fit the shares of its networks, its temperature and its thresholds.

Works on arrays; reads and writes no files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.answers.calibration import combine, fit_ensemble
from models.answers.pools import fit_promises, share_by_target
from models.answers.products import distributions, publishable, with_say
from models.answers.promises import CATEGORY, CURVE
from models.answers.thresholds import FLOOR, TARGET_PRECISION
from models.release import Release
from models.spec import Probabilities


def calibrated(
    release: Release,
    by_network: Mapping[str, Probabilities],
    labels: NDArray[np.integer[Any]],
    *,
    products: NDArray[np.integer[Any]] | None = None,
    untrusted: Sequence[str | None] | None = None,
    target: float = TARGET_PRECISION,
    by: str = CATEGORY,
    floor: float = FLOOR,
) -> Release:
    """Return a calibrated copy of a release, with shares, temperature and thresholds fitted to arrays of softmaxes.

    Shares and temperature are fitted on images, because serving applies them to images. Thresholds are fitted on
    products, because they decide which products are published. Products that the release cannot judge are left out of
    them, because they are never published: those all of whose images are foreign, and those with an image whose gate
    could not be computed.

    Args:
        release: Release to calibrate; the weights of its networks are kept.
        by_network: Softmax of each network, by architecture name, (images, categories).
        labels: True category of each image, as a column index, (images,).
        products: Product index of each image, ascending from 0, (images,); None if every image is its own product.
        untrusted: Why the release cannot judge each image, one of `models.answers.reasons.UNTRUSTED`, or None where it
            can; None if it can judge all of them.
        target: Required precision of the automatically published products, in (0, 1).
        by: Of which products it is required: one of `models.answers.promises.PROMISES`.
        floor: Confidence below which an answer is `unknown`, in [0, 1].

    Returns:
        A copy of the release with new shares, temperature, thresholds, promises and floor, and in its metadata the
        shares that other target precisions would publish.
    """
    shares, temperature = fit_ensemble(by_network, labels)
    confidences = combine(by_network, weights=shares, temperature=temperature)
    ids = [category.category_id for category in release.categories]
    if products is not None:
        confidences = distributions(ids, confidences, products, None if untrusted is None else with_say(untrusted))
        labels = labels[np.unique(products, return_index=True)[1]]
    if untrusted is not None:
        counted = publishable(untrusted, np.arange(len(untrusted)) if products is None else products)
        confidences, labels = confidences[counted], labels[counted]
    fitted = fit_promises(confidences, labels, ids, by=by, target=target)
    training = {
        **release.training,
        "calibrated_on_products": len(labels),
        "target_precision": target,
        "promise": by,
        CURVE: share_by_target(confidences, labels, ids, target=target),
    }
    return replace(
        release,
        networks=tuple(replace(network, ensemble_weight=shares[network.architecture]) for network in release.networks),
        temperature=temperature,
        thresholds=fitted.thresholds,
        floor=floor,
        promises=fitted.promises,
        training=training,
    )

"""Compare what two engines give for the same images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.spec import Features

CLOSE = 1e-5
"""Largest difference of a number, as a share of the largest number of its array."""


def assert_same_answers(found: Sequence[Features], expected: Sequence[Features]) -> None:
    """Compare the arrays that two engines return for the same images: probabilities, then features.

    Args:
        found: Arrays of one engine, as `models.serving.engines.Forward` returns them.
        expected: Arrays of the other.
    """
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == np.float32
        largest = float(np.abs(theirs).max())
        assert np.ptp(theirs, axis=0).max() > 0.3 * largest, "the images must be told apart, or this says nothing"
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=CLOSE * largest)

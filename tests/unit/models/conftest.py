"""Networks of these tests have the same random weights in every run."""

from __future__ import annotations

import keras
import pytest


@pytest.fixture(autouse=True)
def same_weights() -> None:
    """Draw from one seed: a network that answers all samples alike by chance would be refused."""
    keras.utils.set_random_seed(7)

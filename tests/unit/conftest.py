"""What several unit tests measure on."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.evaluation.config import EvaluateConfig
from tests.labelled import measuring


@pytest.fixture
def config(tmp_path: Path) -> EvaluateConfig:
    """A home with the six products of `tests.labelled`."""
    return measuring(tmp_path)

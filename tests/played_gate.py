"""A gate that needs no description of known images: it takes one of the networks' features for the score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from models.answers.reasons import FOREIGN_IMAGE, GATE_CLOSED
from models.known.gate import ImageGate, Judgement
from models.release import Release
from models.spec import Features, KnownSpec

KNOWN = KnownSpec("known.h5", "0" * 64, limit=1.0, calibrated_on=100, references=10, version=1)
"""Entry of a release's manifest; there is no such file."""


def knowing(release: Release) -> Release:
    """Return a release as one that describes the images that it knows."""
    return replace(release, known=KNOWN)


class PlayedGate(ImageGate):
    """Gives each image the value of one feature of the first network as its score."""

    def __init__(self, column: int = 0) -> None:
        self.column, self.calls = column, list[int]()

    def judge(self, features: Mapping[str, Features], count: int) -> list[Judgement]:
        """Judge a batch; note how many images it had."""
        self.calls.append(count)
        scores = next(iter(features.values()))[:, self.column] if features else np.full(count, np.nan)
        assert len(scores) == count
        return [
            Judgement(float(score), FOREIGN_IMAGE if score > 1 else None)
            if np.isfinite(score)
            else Judgement(untrusted=GATE_CLOSED)
            for score in scores
        ]

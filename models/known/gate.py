"""The gate of a release: which images it knows, decided image by image from the networks' features."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.answers.decision import DIGITS
from models.answers.reasons import FOREIGN_IMAGE, GATE_CLOSED
from models.known.images import KnownImages, read_known
from models.release import Release, describing_command
from models.spec import Features

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judgement:
    """What the gate found of one image.

    Attributes:
        score: How unlike the known images it is, at least 0; above 1 it is foreign. None without a score.
        untrusted: Why the release cannot judge it, one of `models.answers.reasons.UNTRUSTED`; None if it can.
        descriptor: What the networks saw of it, as in `KnownImages.described`; None without a score.
    """

    score: float | None = None
    untrusted: str | None = None
    descriptor: bytes | None = None


class ImageGate:
    """Decides which images a release knows. A gate without a description is open: it lets every image pass."""

    def __init__(self, known: KnownImages | None = None, *, closed: bool = False) -> None:
        """Make a gate.

        Args:
            known: Description of the images that the release knows; None if it has none.
            closed: Whether its description cannot be used, so that no image passes.
        """
        self._known = known
        self._closed = closed

    @property
    def is_open(self) -> bool:
        """Whether every image passes, because the release has no description."""
        return self._known is None and not self._closed

    def judge(self, features: Mapping[str, Features], count: int) -> list[Judgement]:
        """Judge a batch of images.

        Args:
            features: Features of each network and of the pixels, as in `models.spec.Predictions`, float32 (count,
                features).
            count: Number of images.

        Returns:
            One judgement for each image. An image whose features are not finite, or of which there are none, is
            `gate_closed`: a gate that cannot be computed publishes nothing, and fails nothing.
        """
        if self.is_open:
            return [Judgement()] * count
        if self._known is None or any(len(features.get(name, ())) != count for name in self._known.widths):
            return [_UNJUDGED] * count
        try:
            scores, descriptors = self._known.described(features)
        except ValueError as error:  # of another width: a description of other networks
            log.warning("which images are known cannot be computed: %s", error)
            return [_UNJUDGED] * count
        return [_judgement(score, descriptor) for score, descriptor in zip(scores.tolist(), descriptors, strict=True)]


_UNJUDGED = Judgement(None, GATE_CLOSED)


def untrusted_by(score: float) -> str | None:
    """Return why the release cannot judge an image with this score, one of `UNTRUSTED`; None if it can.

    Args:
        score: Score of the image, not a number if there is none; it is rounded before it is compared.
    """
    if not math.isfinite(score):
        return GATE_CLOSED
    return FOREIGN_IMAGE if round(score, DIGITS) > 1 else None


def _judgement(score: float, descriptor: NDArray[np.int8]) -> Judgement:
    """Return the judgement of an image by its score, not a number if there is none."""
    untrusted = untrusted_by(score)
    return _UNJUDGED if untrusted == GATE_CLOSED else Judgement(round(score, DIGITS), untrusted, descriptor.tobytes())


def load_gate(release: Release, directory: Path) -> ImageGate:
    """Load the gate of a release from its directory.

    A description that cannot be used, of another version or of other networks, closes the gate: every image is
    `gate_closed`, and a sentence is logged once.

    Args:
        release: Release as `load_release` returns it, with verified files.
        directory: Directory of the release.
    """
    if release.known is None:
        return ImageGate()
    try:
        known = read_known(directory / release.known.file)
        expected = [network.architecture for network in release.networks]
        if list(known.networks) != expected:
            raise ValueError(f"it describes {', '.join(known.networks)} where {', '.join(expected)} were expected")
        if known.limit != release.known.limit:
            raise ValueError(f"it has the limit {known.limit} and release.json {release.known.limit}")
    except ValueError as error:
        log.warning(
            "the images that release %s knows are described in a way that cannot be used (%s), so none of its answers "
            "is published without a person; `%s` makes a release with a new description",
            release.release_id,
            error,
            describing_command(release),
        )
        return ImageGate(closed=True)
    return ImageGate(known)

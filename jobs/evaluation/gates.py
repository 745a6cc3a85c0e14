"""The gates of a release over labelled images: how many it knows, and which answers would be held back.

The labelled images count as the images of one night. The same functions hold back the answers of a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.evaluation.image_predictions import CONFIDENCES, Answered
from models.answers.decision import DIGITS, Answer, held_back
from models.answers.groups import ImageCount, foreign_groups, foreign_whole
from models.answers.products import with_say
from models.answers.reasons import FOREIGN_GROUP, FOREIGN_IMAGE, FOREIGN_NIGHT, GATE_CLOSED
from models.release import Release, describing_command

OPEN, COMPUTED, CLOSED = "open", "computed", "closed"
"""States of a gate; see `LabelledGates`."""


@dataclass(frozen=True)
class JudgedImages:
    """Some labelled images that a release's gate has judged; arrays are (images,).

    Attributes:
        leaves: Index of the category with the highest confidence.
        products: Product index, ascending.
        untrusted: Why the release cannot judge the image; None where it can.
        scores: Score of the image, float64; not a number where there is none.
    """

    leaves: NDArray[np.integer[Any]]
    products: NDArray[np.integer[Any]]
    untrusted: Sequence[str | None]
    scores: NDArray[np.float64]

    @property
    def deciding(self) -> NDArray[np.bool_]:
        """Whether the image has a say in its product's answer, bool (images,): see `models.answers.products`."""
        say = with_say(self.untrusted)
        return np.asarray(say | (np.bincount(self.products, say)[self.products] == 0))


def judged(part: Answered, products: NDArray[np.integer[Any]]) -> JudgedImages | None:
    """Return what the gates need of some images with their predictions; None if no gate looked at them.

    Args:
        part: Images of some products.
        products: Product index of each image, (images,), ascending over all parts.
    """
    if part.untrusted is None:
        return None
    scores = np.full(len(part.images), np.nan) if part.scores is None else part.scores
    return JudgedImages(part.rows[CONFIDENCES].argmax(axis=1).astype(np.int32), products, part.untrusted, scores)


def joined(parts: Sequence[JudgedImages | None]) -> JudgedImages | None:
    """Join the images of all parts; None if no gate looked at them."""
    looked_at = [part for part in parts if part is not None]
    if not looked_at:
        return None
    return JudgedImages(
        np.concatenate([part.leaves for part in looked_at]),
        np.concatenate([part.products for part in looked_at]),
        [reason for part in looked_at for reason in part.untrusted],
        np.concatenate([part.scores for part in looked_at]),
    )


@dataclass(frozen=True)
class LabelledGates:
    """What a release's gates would do if the labelled images were those of one night.

    Attributes:
        state: `open` if the release has no description of the images that it knows; `computed`; `closed` if there is no
            score for some images.
        by_leaf: Images with a score, and the foreign ones, by the category with the highest confidence.
        foreign_night: Whether the answers of all images are held back.
        foreign_groups: Categories whose images' answers are held back.
        not_computed: Images without a score, although the release has a description.
        scores: Median and 99 % quantile of the scores, `median` and `p99`; empty if there is no score.
        remedy: Command that makes a release with a new description.
    """

    state: str = OPEN
    by_leaf: Mapping[str, ImageCount] = field(default_factory=dict)
    foreign_night: bool = False
    foreign_groups: tuple[str, ...] = ()
    not_computed: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)
    remedy: str = ""

    def document(self) -> dict[str, Any]:
        """Return the gates as a JSON document."""
        whole = sum(self.by_leaf.values(), ImageCount())
        groups = [(name, self.by_leaf[name]) for name in self.foreign_groups]
        return {
            "state": self.state,
            "images": whole.images,
            "foreign": whole.foreign,
            "not_computed": self.not_computed,
            "foreign_night": self.foreign_night,
            "foreign_groups": [
                {"category_id": name, "images": count.images, "foreign": count.foreign} for name, count in groups
            ],
            "scores": dict(self.scores),
            "remedy": self.remedy,
        }


def gates_of(release: Release, images: JudgedImages | None) -> LabelledGates:
    """Count the images by category, and decide whether a group or all of them are foreign.

    Args:
        release: Release that predicted them.
        images: All images; None if no gate looked at them.
    """
    if release.known is None or images is None:
        return LabelledGates(remedy=describing_command(release))
    scored = np.array([reason != GATE_CLOSED for reason in images.untrusted], np.bool_)
    foreign = np.array([reason == FOREIGN_IMAGE for reason in images.untrusted], np.bool_)
    ids = [category.category_id for category in release.categories]
    counts = np.bincount(images.leaves[scored], minlength=len(ids))
    beyond = np.bincount(images.leaves[foreign], minlength=len(ids))
    by_leaf = {
        name: ImageCount(int(count), int(far)) for name, count, far in zip(ids, counts, beyond, strict=True) if count
    }
    whole = bool(by_leaf) and foreign_whole(by_leaf)
    finite = images.scores[np.isfinite(images.scores)]
    missing = int((~scored).sum())
    return LabelledGates(
        CLOSED if missing else COMPUTED,
        by_leaf,
        whole,
        tuple(foreign_groups(by_leaf)) if by_leaf and not whole else (),
        missing,
        {name: round(float(np.quantile(finite, share)), DIGITS) for name, share in (("median", 0.5), ("p99", 0.99))}
        if len(finite)
        else {},
        describing_command(release),
    )


def held_answers(
    answers: Sequence[Answer], images: JudgedImages | None, gates: LabelledGates, release: Release
) -> tuple[Answer, ...]:
    """Hold back the answers of products whose deciding images are in a foreign group, or all of a foreign night.

    Args:
        answers: Answer for each product, by product index.
        images: All images of the products; None if no gate looked at them.
        gates: What the gates decided.
        release: Release whose policy decides.
    """
    if images is None:
        return tuple(answers)
    if gates.foreign_night:
        return tuple(held_back(answer, FOREIGN_NIGHT, release.policy) for answer in answers)
    held = set(gates.foreign_groups)
    columns = [index for index, category in enumerate(release.categories) if category.category_id in held]
    products = set(images.products[images.deciding & np.isin(images.leaves, columns)].tolist())
    return tuple(
        held_back(answer, FOREIGN_GROUP, release.policy) if index in products else answer
        for index, answer in enumerate(answers)
    )

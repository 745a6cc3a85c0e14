"""Which images a new release knows: its description is made of the features of learned and of calibrating images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.dataset.labels import LabelledImage
from jobs.evaluation.image_predictions import Answered
from models.known.fit import MOST_REFERENCES, Examples, FittedKnown, drawn, fit_if_possible
from models.known.gate import ImageGate, load_gate, untrusted_by
from models.release import Release
from models.serving.environment import multiplying_on_all_cores
from models.whole_files import write_whole

FeaturesOf = Callable[[Sequence[LabelledImage]], Examples]
"""Function that returns the features of images; of those that do not decode it returns none."""


@dataclass(frozen=True)
class Described:
    """Description of the images that a new release knows, with its gate.

    Attributes:
        fitted: The description.
        gate: The gate that serving will have.
        own_scores: Score of each calibrating image by (product_id, image_sha256), in which the images of its own
            product do not count. The gate would take a calibrating image that is a reference too for its own neighbour.
    """

    fitted: FittedKnown
    gate: ImageGate
    own_scores: Mapping[tuple[str, str], float]

    def judged(self, answered: Answered) -> Answered:
        """Return calibrating images, as the gate has judged them, by the scores that they have without themselves."""
        untrusted = list(answered.untrusted or [None] * len(answered.images))
        for position, image in enumerate(answered.images):
            score = self.own_scores.get((image.product_id, image.image_sha256))
            if score is not None:
                untrusted[position] = untrusted_by(score)
        return replace(answered, untrusted=untrusted)


def describe(
    draft: Release,
    directory: Path,
    *,
    learned: Sequence[LabelledImage],
    calibrating: Sequence[LabelledImage],
    features_of: FeaturesOf,
    groups: Mapping[str, str] | None = None,
) -> Described | None:
    """Describe the images that a new release knows.

    Of both kinds at most `MOST_REFERENCES` images are looked at, drawn evenly over groups of products.

    Args:
        draft: The release, without a description.
        directory: Directory into which the file of the description is written.
        learned: Images that the networks learned from; if there are none, the calibrating ones are the references.
        calibrating: Images that calibrate the release.
        features_of: Returns the features of images.
        groups: Maps product_id to the name of the group of products that are alike; None takes the group_id of the
            catalog. Images of the same group do not count as neighbours.

    Returns:
        The description; None, after a warning, if the images give none.
    """
    names = {image.product_id: image.group for image in (*learned, *calibrating)} | dict(groups or {})

    def examples(images: Sequence[LabelledImage]) -> Examples:
        some = drawn(
            [names[image.product_id] for image in images],
            [image.image_sha256 for image in images],
            most=MOST_REFERENCES,
        )
        return features_of([images[position] for position in some])

    known = examples(calibrating)
    references = known if not learned or list(learned) == list(calibrating) else examples(learned)
    with multiplying_on_all_cores("numpy", "scipy"):
        fitted = fit_if_possible(_grouped(references, names), _grouped(known, names), release_id=draft.release_id)
    if fitted is None:
        return None
    write_whole(directory / fitted.spec.file, fitted.content)
    gate = load_gate(replace(draft, known=fitted.spec), directory)
    keys = zip(known.products, known.contents, strict=True)
    return Described(fitted, gate, dict(zip(keys, fitted.scores.tolist(), strict=True)))


def _grouped(examples: Examples, groups: Mapping[str, str]) -> Examples:
    """Return examples with the group of each product in the place of the product."""
    return replace(examples, products=[groups[product] for product in examples.products])

"""Which images a new release knows: of what its description is made, and how the calibrating images are judged."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.dataset.labels import LabelledImage
from jobs.evaluation.image_predictions import Answered
from jobs.releases.known_images import describe
from models.known.fit import Examples
from models.release import Release
from models.spec import Category, NetworkSpec

DRAFT = Release("r-1", "t", (Category("a", "A"), Category("b", "B")), (NetworkSpec("xception", 71, "x", "", 1.0),), 1.0)


def images(count: int, prefix: str, *, group_of: int = 1) -> list[LabelledImage]:
    return [
        LabelledImage(
            f"{prefix}{number}", 1, f"{prefix}-{number}", "a", Path("shard"), group_id=f"{prefix}g{number // group_of}"
        )
        for number in range(count)
    ]


class Played:
    """Features that depend on the group of a product: its images are near each other. Notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[LabelledImage]] = []

    def __call__(self, given: Sequence[LabelledImage]) -> Examples:
        """Return the features of some images, in order of product_id."""
        self.asked.append(list(given))
        there = sorted(given, key=lambda image: image.product_id)
        rows = [self._of(image) for image in there]
        features = {"xception": np.array(rows, np.float32)}
        return Examples(features, [image.product_id for image in there], [image.image_sha256 for image in there])

    def _of(self, image: LabelledImage) -> np.ndarray:
        def rng(text: str) -> np.random.Generator:
            return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]))

        return rng(image.group).normal(size=16) + 0.01 * rng(image.image_sha256).normal(size=16)


def test_learned_images_are_the_references_and_calibrating_ones_give_the_limit(tmp_path: Path) -> None:
    described = describe(DRAFT, tmp_path, learned=images(300, "l"), calibrating=images(240, "c"), features_of=Played())
    assert described is not None
    spec = described.fitted.spec
    assert (spec.references, spec.calibrated_on) == (300, 240)
    assert (tmp_path / spec.file).read_bytes() == described.fitted.content
    assert sum(score > 1 for score in described.own_scores.values()) == 240 - 239


def test_without_learned_images_the_calibrating_ones_are_the_references_and_are_predicted_once(tmp_path: Path) -> None:
    for learned in ([], images(60, "c")):
        played = Played()
        described = describe(DRAFT, tmp_path, learned=learned, calibrating=images(60, "c"), features_of=played)
        assert described is not None
        assert described.fitted.spec.references == described.fitted.spec.calibrated_on == 60
        assert len(played.asked) == 1


def test_a_calibrating_image_is_not_its_own_neighbour_nor_is_its_group(tmp_path: Path) -> None:
    """By the gate alone each reference would be known, because it lies among the references."""
    played, calibrating = Played(), images(300, "c", group_of=3)
    described = describe(DRAFT, tmp_path, learned=[], calibrating=calibrating, features_of=played)
    assert described is not None
    answered = Answered(calibrating, {}, untrusted=[None] * 300)
    found = described.judged(answered).untrusted
    assert found is not None
    assert sum(reason == "foreign_image" for reason in found) == sum(s > 1 for s in described.fitted.scores) > 0
    by_gate = described.gate.judge(played(calibrating).features, 300)
    assert not any(judgement.untrusted for judgement in by_gate)


def test_groups_of_the_caller_count_in_the_place_of_the_catalogs(tmp_path: Path) -> None:
    calibrating = [replace(image, group_id="") for image in images(150, "c", group_of=3)]
    groups = {image.product_id: f"g{number // 3}" for number, image in enumerate(calibrating)}
    middles = []
    for given in (None, groups):
        described = describe(
            DRAFT, tmp_path, learned=[], calibrating=calibrating, features_of=_in_groups(groups), groups=given
        )
        assert described is not None
        middles.append(_middle(described.fitted.content))
    assert middles[1] > middles[0], "its near neighbours are of the same group, so they do not count"


def _in_groups(groups: dict[str, str]) -> Played:
    class Grouped(Played):
        def _of(self, image: LabelledImage) -> np.ndarray:
            return super()._of(replace(image, group_id=groups[image.product_id]))

    return Grouped()


def _middle(content: bytes) -> float:
    import io

    import h5py

    with h5py.File(io.BytesIO(content), "r") as file:
        return float(file["xception"].attrs["middle"])


def test_at_most_ten_thousand_images_of_each_kind_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.releases.known_images.MOST_REFERENCES", 40)
    played = Played()
    described = describe(DRAFT, tmp_path, learned=images(90, "l"), calibrating=images(70, "c"), features_of=played)
    assert described is not None
    assert sorted(len(asked) for asked in played.asked) == [40, 40]
    assert len(described.own_scores) == 40


def test_too_few_calibrating_images_make_a_release_without_a_description(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    described = describe(DRAFT, tmp_path, learned=images(90, "l"), calibrating=images(19, "c"), features_of=Played())
    assert described is None
    assert [record.getMessage() for record in caplog.records] == [
        "release r-1 gets no description of the images that it knows, so it takes every image for one that it knows: "
        "19 images calibrate where at least 20 are needed for the limit of what a release knows"
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_calibrating_image_without_finite_features_is_not_judged_and_the_others_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its product must not count among those that the thresholds are fitted on: it can never be published."""
    calibrating = images(60, "c")

    class Overflowing(Played):
        def _of(self, image: LabelledImage) -> np.ndarray:
            return super()._of(image) * (np.inf if image.product_id == calibrating[4].product_id else 1)

    described = describe(DRAFT, tmp_path, learned=[], calibrating=calibrating, features_of=Overflowing())
    assert described is not None
    assert "1 of 60 learned and 1 of 60 calibrating images have features that are not finite" in caplog.text
    found = described.judged(Answered(calibrating, {})).untrusted
    assert found is not None
    assert [place for place, reason in enumerate(found) if reason == "gate_closed"] == [4]


def test_if_no_image_decodes_there_is_no_description(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    described = describe(
        DRAFT, tmp_path, learned=images(9, "l"), calibrating=images(9, "c"), features_of=lambda _: Examples({}, [], [])
    )
    assert described is None
    assert "0 images calibrate" in caplog.text

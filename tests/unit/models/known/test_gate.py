"""Which images pass the gate of a release: open, closed, and image by image."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.known.fit import Examples, FittedKnown, fit_known
from models.known.gate import ImageGate, Judgement, load_gate
from models.known.images import read_known
from models.release import Release
from models.spec import Category, NetworkSpec

RNG = np.random.default_rng(2)
CLOSED = Judgement(None, "gate_closed")


def played(count: int) -> dict[str, np.ndarray]:
    """Return features of images that are alike in the first half of the numbers."""
    widths = {"efficientnetb0": 6, "xception": 10}
    features = {name: np.zeros((count, width), np.float32) for name, width in widths.items()}
    for each in features.values():
        each[:, : each.shape[1] // 2] = RNG.normal(size=(count, each.shape[1] // 2))
    return features


FOREIGN = {"efficientnetb0": np.eye(6, dtype="f4")[5:], "xception": np.eye(10, dtype="f4")[9:]}


@pytest.fixture(scope="module")
def fitted() -> FittedKnown:
    names = [f"p{number}" for number in range(500)]
    learned = Examples(played(300), names[:300], [f"c{name}" for name in names[:300]])
    return fit_known(learned, Examples(played(200), names[300:], [f"c{name}" for name in names[300:]]))


@pytest.fixture
def release(fitted: FittedKnown, tmp_path: Path) -> Release:
    (tmp_path / "known.h5").write_bytes(fitted.content)
    networks = tuple(NetworkSpec(name, 32, f"{name}.h5", "", 0.5) for name in ("efficientnetb0", "xception"))
    return Release("r-1", "t", (Category("a", "A"), Category("b", "B")), networks, 1.0, known=fitted.spec)


def test_a_release_without_a_description_lets_every_image_pass(release: Release, tmp_path: Path) -> None:
    gate = load_gate(replace(release, known=None), tmp_path)
    assert gate.is_open
    assert gate.judge({}, 2) == gate.judge(FOREIGN, 2) == [Judgement(None, None)] * 2


def test_an_image_beyond_the_limit_is_foreign(release: Release, tmp_path: Path) -> None:
    gate = load_gate(release, tmp_path)
    assert not gate.is_open
    features = {name: np.concatenate([each, FOREIGN[name]]) for name, each in played(2).items()}
    known, other, foreign = gate.judge(features, 3)
    assert (known.untrusted, other.untrusted, foreign.untrusted) == (None, None, "foreign_image")
    assert known.score is not None
    assert foreign.score is not None
    assert 0 <= known.score <= 1 < foreign.score
    assert known.score == pytest.approx(read_known(tmp_path / "known.h5").scores(features)[0], abs=1e-6)


def test_one_calibrating_image_in_a_hundred_is_beyond_the_limit(fitted: FittedKnown) -> None:
    assert (fitted.scores > 1).sum() == 200 - 199  # ceil(0.99 * 201) = 199


def test_a_judged_image_has_the_descriptor_of_its_own_features(release: Release, tmp_path: Path) -> None:
    features = played(3)
    _, expected = read_known(tmp_path / "known.h5").described(features)
    features["xception"][1, 2] = np.nan
    judged = load_gate(release, tmp_path).judge(features, 3)
    assert [one.descriptor for one in judged] == [expected[0].tobytes(), None, expected[2].tobytes()]


def test_an_image_at_the_limit_passes(release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = load_gate(release, tmp_path)
    scores = np.array([1.0, 1 + 4e-7, 1 + 6e-7])
    monkeypatch.setattr("models.known.images.KnownImages.described", lambda *_: (scores, np.zeros((3, 2), np.int8)))
    judged = [judgement.untrusted for judgement in gate.judge(played(3), 3)]
    assert judged == [None, None, "foreign_image"], "a score is rounded as it is stored before it is compared"


def test_an_image_without_finite_features_is_closed_and_the_others_are_judged(release: Release, tmp_path: Path) -> None:
    features = played(3)
    expected = load_gate(release, tmp_path).judge(features, 3)
    features["xception"][1, 2] = np.nan
    judged = load_gate(release, tmp_path).judge(features, 3)
    assert judged[1] == CLOSED
    assert [judged[0], judged[2]] == [expected[0], expected[2]]


@pytest.mark.parametrize("features", [{}, {"xception": played(2)["xception"]}, played(3)])
def test_images_without_features_are_closed(release: Release, tmp_path: Path, features: dict[str, np.ndarray]) -> None:
    assert load_gate(release, tmp_path).judge(features, 2) == [CLOSED] * 2


def test_features_of_another_width_are_closed(release: Release, tmp_path: Path) -> None:
    features = {**played(2), "xception": np.ones((2, 11), np.float32)}
    assert load_gate(release, tmp_path).judge(features, 2) == [CLOSED] * 2


def test_a_batch_of_no_images_is_judged(release: Release, tmp_path: Path) -> None:
    assert load_gate(release, tmp_path).judge(played(0), 0) == []


def test_a_description_of_other_networks_closes_the_gate(
    release: Release, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = replace(release, networks=release.networks[:1])
    with caplog.at_level(logging.WARNING):
        gate = load_gate(other, tmp_path)
    assert not gate.is_open
    assert gate.judge(played(2), 2) == [CLOSED] * 2
    assert len(caplog.records) == 1
    assert "describes efficientnetb0, xception where efficientnetb0 were expected" in caplog.text


def test_a_description_that_cannot_be_read_closes_the_gate_with_one_sentence(
    release: Release, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "known.h5").write_bytes(b"not ours")
    gate = load_gate(release, tmp_path)
    assert gate.judge(played(1), 1) == gate.judge(played(1), 1) == [CLOSED]
    assert len(caplog.records) == 1
    assert "the images that release r-1 knows are described in a way that cannot be used" in caplog.text
    assert "`shelfwise release calibrate r-1 --release-id NEW` makes a release with a new description" in caplog.text


def test_another_limit_in_the_manifest_closes_the_gate(
    release: Release, fitted: FittedKnown, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loosened = replace(release, known=replace(fitted.spec, limit=1e9))
    assert load_gate(loosened, tmp_path).judge(FOREIGN, 1) == [CLOSED]
    assert "it has the limit" in caplog.text


def test_a_gate_that_is_made_without_anything_is_open() -> None:
    assert ImageGate().is_open
    assert ImageGate(closed=True).judge({}, 1) == [CLOSED]

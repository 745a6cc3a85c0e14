"""The score of an image by hand-made features, and the memory that it takes."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

from models.known.score import (
    NEIGHBOURS,
    NetworkImages,
    PixelImages,
    directions,
    network_images,
    network_part,
    pixel_images,
    pixel_part,
)

RNG = np.random.default_rng(3)


def test_directions_are_centred_and_have_length_1() -> None:
    features = np.array([[4.0, 5.0], [1.0, 1.0], [np.nan, 2.0], [np.inf, 2.0], [3e38, 1.0]], np.float32)
    found = directions(features, np.array([1.0, 1.0], np.float32))
    assert found[0] == pytest.approx([0.6, 0.8])
    assert found[1].tolist() == [0.0, 0.0], "the mean itself has no direction"
    assert np.isnan(found[2:4]).all()
    assert found[4] == pytest.approx([1.0, 0.0]), "large numbers are finite too"


@pytest.mark.parametrize("together", [1000, 3, 1])
def test_a_distance_is_1_minus_the_mean_similarity_to_the_three_nearest_references(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two references point along each axis; they are compared in parts of any size."""
    monkeypatch.setattr("models.known.score._REFERENCES", together)
    points = np.array([[127, 0]] * 2 + [[0, 127]] * 2, np.int8)
    scale = np.full(2, 1 / 127, np.float32)
    network = NetworkImages(np.zeros(2, np.float32), np.eye(2, dtype=np.float16), points, scale)
    features = np.array([[1, 0], [0, 5], [-1, 0], [3, 4], [np.nan, 0]], np.float32)
    expected = [1 - 2 / 3, 1 - 2 / 3, 1 - (0 + 0 - 1) / 3, 1 - (0.8 + 0.8 + 0.6) / 3, np.nan]
    assert network.distances(features) == pytest.approx(expected, abs=1e-6, nan_ok=True)
    without_first = [np.arange(2)] * 5
    assert network.distances(features, without=without_first) == pytest.approx([1, 0, 1, 0.2, np.nan], nan_ok=True)


def test_what_lies_outside_the_projection_is_similar_to_nothing() -> None:
    learned = np.zeros((100, 6), np.float32)
    learned[:, :3] = RNG.normal(size=(100, 3))
    network = network_images(learned, dimensions=3)
    other = np.array([[0, 0, 0, 0, 9, 0]], np.float32)
    assert network.distances(other)[0] == pytest.approx(1, abs=0.05)
    assert np.median(network.distances(learned)) < 0.1


def test_eight_bits_and_the_projection_change_a_distance_little() -> None:
    basis = RNG.normal(size=(20, 300))
    learned = (RNG.normal(size=(500, 20)) @ basis + 5).astype(np.float32)
    new = (RNG.normal(size=(40, 20)) @ basis + 5).astype(np.float32)
    network = network_images(learned, dimensions=30)
    mean = learned.mean(axis=0)
    similar = directions(new, mean) @ directions(learned, mean).T
    exact = 1 - np.sort(similar, axis=1)[:, -NEIGHBOURS:].mean(axis=1)
    assert network.distances(new) == pytest.approx(exact, abs=5e-3)


def played(middle: float, spread: float) -> NetworkImages:
    one = np.zeros((1, 1))
    return NetworkImages(one[0], one, one, one[0], middle, spread)  # type: ignore[arg-type]


def test_the_networks_part_is_the_sum_of_standardised_distances() -> None:
    networks = {"a": played(0.1, 0.1), "b": played(0.4, 0.2)}
    found = network_part(networks, {"a": np.array([0.1, 0.3, 0.1]), "b": np.array([0.4, 0.6, np.nan])}, 1.5)
    assert found == pytest.approx([0, (2 + 1) / 1.5, np.nan], nan_ok=True)


def test_the_pixels_part_is_capped() -> None:
    one = np.ones(1, np.float32)
    pixels = PixelImages(one, one, one[:, None], 1.0, 0.5, 2.5)
    assert pixel_part(pixels, np.array([0.5, 1.0, 2.0, 9.0])) == pytest.approx([-1, 0, 2, 2.5])


def test_a_distance_of_pixels_is_that_of_mahalanobis() -> None:
    """Of two statistics that vary together, a difference against their habit is the greater distance."""
    together = RNG.normal(size=(2_000, 1))
    statistics = np.hstack([together, together + 0.1 * RNG.normal(size=(2_000, 1)), np.full((2_000, 1), 0.5)])
    pixels = pixel_images(statistics.astype(np.float32))
    same, against, still = pixels.distances(np.array([[1, 1, 0.5], [1, -1, 0.5], [0, 0, 0.7]], np.float32))
    points = (statistics - statistics.mean(axis=0)) / (statistics.std(axis=0) + 0.02)
    wanted = (np.array([1, -1, 0.5]) - statistics.mean(axis=0)) / (statistics.std(axis=0) + 0.02)
    variances, vectors = np.linalg.eigh(np.cov(points.T, bias=True))
    exact = np.sqrt(((wanted @ vectors) ** 2 / (variances + 0.05)).sum())
    assert against == pytest.approx(exact, rel=1e-3)
    assert against > 3 * same
    assert 3 < still < 50, "what never varied counts, within reason"


def test_ten_thousand_references_of_two_networks_take_less_than_20_mb() -> None:
    def large(width: int) -> NetworkImages:
        references = RNG.integers(-127, 128, (10_000, 128)).astype(np.int8)
        projection = RNG.normal(size=(width, 128)).astype(np.float16)
        return NetworkImages(np.zeros(width, np.float32), projection, references, np.full(128, 1e-3, np.float32))

    features = RNG.normal(size=(256, 2_048)).astype(np.float32)
    tracemalloc.start()
    networks = [large(2_048), large(1_280)]
    tracemalloc.reset_peak()
    started = time.perf_counter()
    for network in networks:
        assert np.isfinite(network.distances(features[:, : len(network.mean)])).all()
    assert time.perf_counter() - started < 10
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6

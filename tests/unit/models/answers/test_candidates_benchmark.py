"""The benchmark of the candidates takes short cuts between its rounds; they change nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from models.known.score import directions, network_images
from models.linear.head import fit_head
from tests.benchmarks import bench_candidates
from tests.benchmarks.bench_candidates import STRENGTH, Photographs, between, described

LAST = 40
"""Number of features of the last feature map; those behind it are large and say nothing."""


def photographs(count: int = 120, width: int = 50) -> Photographs:
    """Return made-up features of three categories."""
    random = np.random.default_rng(2)
    labels = np.arange(count) % 3
    middles = random.normal(size=(3, width))
    features = middles[labels] + random.normal(size=(count, width)) + 3
    features[:, LAST:] = 30 * random.normal(size=(count, width - LAST))
    return Photographs(features.astype(np.float32), LAST, labels.astype(np.int64), 3)


def test_photographs_are_compared_as_a_release_keeps_them() -> None:
    shop = photographs()
    labelled, waiting = np.arange(30), np.arange(30, 120)
    _, found = described(shop, labelled, waiting, full=False)
    network = network_images(shop.features[labelled, :LAST], dimensions=128)
    points = directions(shop.features[waiting, :LAST], network.mean) @ network.projection.astype(np.float32)
    kept = np.clip(np.rint(points / network.scale), -127, 127) * network.scale
    assert np.allclose(found @ found.T, kept @ kept.T, atol=0.02)


def test_a_head_between_two_rounds_is_that_of_all_features() -> None:
    shop = photographs()
    rows = np.arange(30)
    head, known = between(shop, rows)
    whole = fit_head([(shop.features[rows], shop.labels[rows])], 3, strength=STRENGTH)
    assert known.tolist() == [0, 1, 2]
    assert np.allclose(head.probabilities(shop.features), whole.probabilities(shop.features), atol=0.002)


def test_both_sides_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = photographs()
    np.savez(tmp_path / "features.npz", features=shop.features, last=LAST, kinds=np.array(["a", "b", "c"])[shop.labels])
    arguments = "--photos none --weights none --splits 2 --seeds 2 --start 20 --chosen 30 --random 30 --rounds 1 2"
    more = ["--descriptors", "reduced", "full", "--processes", "1", "--features", str(tmp_path / "features.npz")]
    monkeypatch.setattr(sys, "argv", ["bench_candidates", *arguments.split(), *more])
    assert bench_candidates.main() == 0
    printed = capsys.readouterr().out
    assert "120 photographs" in printed
    assert printed.count("better than random by") == 4

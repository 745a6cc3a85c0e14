"""The shipped release decides the same about 2,000 articles, and is calibrated the same, whichever engine computes."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from jobs.dataset.batches import ImageBatch
from jobs.dataset.schema import KEY_COLUMNS
from jobs.predict.config import Computing, PredictConfig
from jobs.predict.conversions import converted_files
from jobs.predict.inference import Inference
from jobs.predict.rows import rows_of
from jobs.storage.places import Places
from models import fashion_mnist
from models.answers.reasons import UNTRUSTED
from models.calibrated import calibrated
from models.known.gate import load_gate
from models.networks.inputs import to_square
from models.release import SHIPPED, load_release
from models.serving.engines import Engine
from models.serving.environment import usable_cores
from models.serving.keras_engine import KerasEngine
from models.serving.openvino_engine import OpenVinoEngine
from models.serving.predictor import EnsemblePredictor
from models.spec import Images

COUNT, BATCH = 2000, 100
CLOSE = 1e-5
"""Largest difference of a confidence, and of a score."""

OF_ONE_NETWORK = 2e-5
"""Largest difference of a probability of one network.

1.3e-5 were measured, for one article of 400 that lies between two categories: OpenVINO is 0.95e-5 from what float64
gives, and TensorFlow 0.36e-5 on the other side.
"""

FITTED = 1e-4
"""Largest difference of a threshold and of a temperature, which are fitted to the probabilities."""


@dataclass(frozen=True)
class Decided:
    """What one engine's answers come to.

    Attributes:
        rows: Row of the prediction file of each article, with the state of all gates of images.
        by_network: Softmax of each network, (articles, categories).
    """

    rows: list[dict[str, Any]]
    by_network: Mapping[str, NDArray[np.float32]]

    @property
    def untrusted(self) -> list[str | None]:
        """Why the release cannot judge each article; None where it can."""
        return [row["review_reason"] if row["review_reason"] in UNTRUSTED else None for row in self.rows]


def decided(engine: Engine, squares: Images) -> Decided:
    """Answer the articles as a predict task does."""
    release = load_release(SHIPPED)
    inference, gate = Inference(EnsemblePredictor(release, SHIPPED, engine=engine)), load_gate(release, SHIPPED)
    rows, parts = list[dict[str, Any]](), []
    for start in range(0, len(squares), BATCH):
        images = squares[start : start + BATCH]
        answer = inference.answer(images).judged(gate)
        texts = np.array([f"article {number}" for number in range(start, start + len(images))], object)
        columns = dict.fromkeys(KEY_COLUMNS, texts) | dict.fromkeys(("image_no", "ingest_no"), np.zeros(len(images)))
        rows += rows_of(ImageBatch(images, columns, np.full(len(images), "", object)), answer, release)
        assert answer.predictions is not None
        parts.append(answer.predictions.by_network)
    return Decided(rows, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


@pytest.fixture(scope="module")
def by_both(articles: fashion_mnist.Articles, tmp_path_factory: pytest.TempPathFactory) -> tuple[Decided, Decided]:
    """What the answers of OpenVINO and of Keras come to, for the first of the official test articles."""
    release, home = load_release(SHIPPED), Places(tmp_path_factory.mktemp("home"))
    computing = Computing(engine="openvino", engines_dir=Path(os.environ["SHELFWISE_ENGINES_DIR"]))
    files = converted_files(PredictConfig("run-1", (date(2026, 11, 1),), home, SHIPPED, computing=computing), release)
    assert files is not None
    colour = np.repeat(articles.images[:COUNT, ..., None], 3, axis=3)
    squares = np.stack([to_square(image, release.decode_px) for image in colour])
    return decided(OpenVinoEngine(files.converted, files.directory, usable_cores()), squares), decided(
        KerasEngine(), squares
    )


def test_both_engines_decide_the_same_about_every_article(by_both: tuple[Decided, Decided]) -> None:
    ours, theirs = (found.rows for found in by_both)
    assert len(ours) == len(theirs) == COUNT
    names = ("category_id", "status", "review_reason", "reason")
    assert [[row[name] for name in names] for row in ours] == [[row[name] for name in names] for row in theirs]
    assert min(Counter(row["status"] for row in ours).values()) >= 50, "or this says nothing"
    for name in ("confidence", "foreign_score"):
        np.testing.assert_allclose([row[name] for row in ours], [row[name] for row in theirs], rtol=0, atol=CLOSE)
    firsts = [[json.loads(row["top_k"])[0][0] for row in rows] for rows in (ours, theirs)]
    assert firsts[0] == firsts[1]


def test_both_engines_give_the_same_probabilities_of_every_article(by_both: tuple[Decided, Decided]) -> None:
    ours, theirs = (found.by_network for found in by_both)
    assert set(ours) == {"efficientnetb0", "xception"}
    for name, softmaxes in ours.items():
        np.testing.assert_allclose(softmaxes, theirs[name], rtol=0, atol=OF_ONE_NETWORK)


def test_both_engines_give_the_same_thresholds(
    by_both: tuple[Decided, Decided], articles: fashion_mnist.Articles
) -> None:
    labels = articles.labels[:COUNT].astype(np.int64)
    release = load_release(SHIPPED)
    ours, theirs = (calibrated(release, each.by_network, labels, untrusted=each.untrusted) for each in by_both)
    assert ours.thresholds.keys() == theirs.thresholds.keys()
    assert sum(threshold is not None for threshold in ours.thresholds.values()) >= 5, "or this says nothing"
    for name, threshold in ours.thresholds.items():
        assert threshold == pytest.approx(theirs.thresholds[name], abs=FITTED), name
    assert ours.promises == theirs.promises
    assert ours.temperature == pytest.approx(theirs.temperature, abs=FITTED)

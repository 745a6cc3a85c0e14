"""Answers of labelled images: products come whole, and no more distributions are held than have to be."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

import jobs.evaluation.product_predictions
from jobs.errors import RunFailed
from jobs.evaluation import image_predictions
from jobs.evaluation.config import EvaluateConfig
from jobs.evaluation.evaluate import figures
from jobs.evaluation.image_predictions import CONFIDENCES, answered, whole_products
from jobs.evaluation.product_predictions import measure
from jobs.storage.places import Places
from models.spec import Category, Images, Predictions
from tests.labelled import BLUE, COLOURS, GREEN, LEAVES, RED, ColourPredictor, write_labelled
from tests.played_gate import PlayedGate, knowing

CATEGORIES = 1_500
LATER = date(2026, 11, 2)
ROW_BYTES = 3 * 4 * 3
"""Of two networks and their ensemble over three colours."""


class Wide:
    """Knows very many categories."""

    decode_px = 32

    def predict(self, images: Images) -> Predictions:
        rows = np.full((len(images), CATEGORIES), 0.5 / CATEGORIES, np.float32)
        rows[:, 0] = 0.5
        features = np.full((len(images), 2 * CATEGORIES), images.mean() / 1000, np.float32)
        return Predictions(rows, {"efficientnetb0": rows, "xception": rows}, {"efficientnetb0": features})


WIDE = replace(COLOURS, categories=tuple(Category(f"c{number:04d}", "C") for number in range(CATEGORIES)))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """The images of p1 and p3 lie in two files; one of p1, and the only one of p5, cannot be decoded."""
    places = Places(tmp_path)
    write_labelled(places, [("p3", BLUE, [2, 0]), ("p1", RED, [0, 2, 1]), ("p2", GREEN, [1, 1])])
    write_labelled(places, [("p1", RED, [-1]), ("p3", BLUE, [1]), ("p5", RED, [-1])], day=LATER, version=1)
    return places


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (100, [["p1", "p2", "p3"]]),
        (5, [["p1", "p2"], ["p3"]]),
        (4, [["p1"], ["p2", "p3"]]),
        (3, [["p1"], ["p2"], ["p3"]]),
        (1, [["p1"], ["p2"], ["p3"]]),
    ],
)
def test_all_images_of_a_product_are_in_one_part(
    places: Places, held: int, expected: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little is held, though never less than a product."""
    monkeypatch.setattr(image_predictions, "HELD_BYTES", held * ROW_BYTES)
    config = EvaluateConfig(places, batch_size=2)
    parts = list(whole_products(ColourPredictor(), config.images()[::-1], config, row_bytes=ROW_BYTES))
    assert [sorted({image.product_id for image in part.images}) for part in parts if part.images] == expected
    found = [(image.product_id, image.image_no) for part in parts for image in part.images]
    assert found == [("p1", 1), ("p1", 2), ("p2", 0), ("p2", 1), ("p3", 0), ("p3", 1)]
    assert sum(part.failed for part in parts) == 2
    winners = np.concatenate([part.rows["efficientnetb0"].argmax(axis=1) for part in parts if part.images])
    assert winners.tolist() == [2, 1, 1, 1, 1, 0], "each image has the answer of its own content"


@pytest.mark.parametrize("gate", [None, PlayedGate(2)])
@pytest.mark.parametrize("together", [1, 2, 3, 100])
@pytest.mark.parametrize("held", [1, 5, 100])
def test_metrics_do_not_depend_on_the_sizes_of_the_parts(
    places: Places, together: int, held: int, gate: PlayedGate | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a gate the green images are held back as a foreign group, and the blue ones are foreign themselves."""
    monkeypatch.setattr("jobs.evaluation.gates.foreign_groups", lambda counts: [GREEN])
    monkeypatch.setattr("jobs.evaluation.gates.foreign_whole", lambda counts: False)
    config, release = EvaluateConfig(places, batch_size=2), knowing(COLOURS) if gate else COLOURS
    whole = measure(ColourPredictor(), release, config.images(), config, gate)
    assert {answer.review_reason for answer in whole.answers} >= ({"foreign_group"} if gate else set())
    monkeypatch.setattr(image_predictions, "HELD_BYTES", held * ROW_BYTES)
    monkeypatch.setattr(jobs.evaluation.product_predictions, "TOGETHER", together)
    cut = measure(ColourPredictor(), release, config.images(), config, gate)
    assert cut.product_ids == ("p1", "p2", "p3")
    assert figures(cut, release) == figures(whole, release)
    assert (cut.first_images, cut.answers) == (whole.first_images, whole.answers)
    assert [image.image_no for image in cut.first_images] == [1, 0, 0]


def test_rows_for_a_fit_are_sorted_and_exclude_images_that_cannot_be_decoded(places: Places) -> None:
    config = EvaluateConfig(places, batch_size=2)
    found = answered(ColourPredictor(), config.images()[::-1], config, without={CONFIDENCES})
    assert list(found.rows) == ["efficientnetb0", "xception"], "in the release's order"
    assert found.labels(LEAVES).tolist() == [0, 0, 1, 1, 2, 2]
    assert found.products.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.rows["xception"].argmax(axis=1).tolist() == [2, 2, 2, 2, 2, 0]
    assert found.failed == 2


def test_no_decodable_image_gives_one_sentence(tmp_path: Path) -> None:
    places = Places(tmp_path)
    write_labelled(places, [("p1", RED, [-1]), ("p2", GREEN, [-1])])
    config = EvaluateConfig(places)
    with pytest.raises(RunFailed, match="none of the 2 labelled images could be decoded; ingest the catalog again"):
        measure(ColourPredictor(), COLOURS, config.images(), config)


@contextmanager
def peak() -> Iterator[list[int]]:
    """Note the most bytes that were held at once."""
    noted = [0]
    tracemalloc.start()
    try:
        yield noted
        noted[0] = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_batch_that_does_not_fit_into_memory_gives_one_sentence(places: Places) -> None:
    class Full(ColourPredictor):
        def predict(self, images: Images) -> Predictions:
            raise RuntimeError("ResourceExhaustedError: OOM when allocating tensor with shape[32,3]")

    images = EvaluateConfig(places).images()
    with pytest.raises(RunFailed, match=r"\d images at once do not fit the memory; run .* smaller --batch-size"):
        answered(Full(), images, EvaluateConfig(places))


def test_memory_does_not_grow_with_the_number_of_products(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every product has an image in each of two files; the features that judge an image are not kept."""
    monkeypatch.setattr("jobs.evaluation.gates.foreign_groups", lambda counts: [])
    monkeypatch.setattr("jobs.evaluation.gates.foreign_whole", lambda counts: False)
    release = knowing(WIDE)
    row_bytes = 3 * 4 * CATEGORIES
    monkeypatch.setattr(image_predictions, "HELD_BYTES", 64 * row_bytes)
    monkeypatch.setattr(jobs.evaluation.product_predictions, "TOGETHER", 16)
    places = Places(tmp_path)
    names = [f"p{number:04d}" for number in range(300)]
    write_labelled(places, [(name, "c0001", [0, 1]) for name in names])
    write_labelled(places, [(name, "c0001", [2]) for name in names], day=LATER, version=1)
    config = EvaluateConfig(places, batch_size=16)
    images = config.images()

    def held(count: int) -> int:
        with peak() as noted:
            some = [image for image in images if image.product_id < f"p{count:04d}"]
            found = measure(Wide(), release, some, config, PlayedGate())
        assert len(found.product_ids) == count
        return noted[0]

    held(75)  # what is imported and opened once does not count
    whole = held(300)
    assert whole < 1.3 * held(75)
    assert whole < 600 * row_bytes / 2, "every distribution that there was"

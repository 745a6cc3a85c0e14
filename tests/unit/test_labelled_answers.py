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

from jobs import labelled_answers
from jobs.config import Places, RunFailed
from jobs.labelled_answers import CONFIDENCES, by_image, products
from jobs.measure import EvaluateConfig, measure
from models.spec import Category, Images, Predictions
from tests.labelled import BLUE, COLOURS, GREEN, LEAVES, RED, ColourPredictor, write_labelled

CATEGORIES = 1_500


class Counting(ColourPredictor):
    """Counts the images it was asked about."""

    asked = 0

    def predict(self, images: Images) -> Predictions:
        self.asked += len(images)
        return super().predict(images)


class Wide:
    """Knows very many categories."""

    decode_px = 32

    def predict(self, images: Images) -> Predictions:
        rows = np.full((len(images), CATEGORIES), 0.5 / CATEGORIES, np.float32)
        rows[:, 0] = 0.5
        return Predictions(rows, {"efficientnetb0": rows, "xception": rows})


WIDE = replace(COLOURS, categories=tuple(Category(f"c{number:04d}", "C") for number in range(CATEGORIES)))


def test_a_product_is_handed_on_when_its_last_image_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images of p1 lie in two files; p2 and p3 need not wait for it, nor for the end."""
    monkeypatch.setattr(labelled_answers, "TOGETHER", 2)
    places = Places(tmp_path)
    write_labelled(places, [("p1", RED, [0, 2]), ("p2", GREEN, [1, 1]), ("p3", BLUE, [2])])
    write_labelled(places, [("p1", RED, [-1]), ("p4", BLUE, [2])], day=date(2026, 11, 2), version=1)
    config, predictor = EvaluateConfig(places, batch_size=4), Counting()
    images = config.images()
    found = products(predictor, images, config)
    first = next(found)
    assert sorted({image.product_id for image in first.images}) == ["p2", "p3"]
    assert predictor.asked == 4, "those of the first file"
    rest = list(found)
    assert {(one.product_id, one.image_no) for part in rest for one in part.images} == {("p1", 1), ("p4", 0)}
    assert [(one.product_id, one.image_no) for part in [first, *rest] for one in part.failed] == [("p1", 0)]
    for part in [first, *rest]:
        for name in ("efficientnetb0", "xception", CONFIDENCES):
            assert part.rows[name].shape == (len(part.images), 3)


def test_rows_of_images_are_sorted_and_those_that_fail_are_left_out(tmp_path: Path) -> None:
    places = Places(tmp_path)
    write_labelled(places, [("p3", BLUE, [2]), ("p1", RED, [0, -1, 1]), ("p2", GREEN, [1])])
    config = EvaluateConfig(places, batch_size=2)
    found = by_image(ColourPredictor(), config.images(), LEAVES, config)
    assert found.labels.tolist() == [0, 0, 1, 2]
    assert found.products.tolist() == [0, 0, 1, 2]
    assert found.by_network["efficientnetb0"].argmax(axis=1).tolist() == [0, 1, 1, 2]
    assert found.by_network["xception"].argmax(axis=1).tolist() == [0, 2, 2, 2]


def test_nothing_that_decodes_is_a_sentence(tmp_path: Path) -> None:
    places = Places(tmp_path)
    write_labelled(places, [("p1", RED, [-1]), ("p2", GREEN, [-1])])
    config = EvaluateConfig(places)
    with pytest.raises(RunFailed, match="none of the 2 labelled images could be decoded; ingest the catalog again"):
        by_image(ColourPredictor(), config.images(), LEAVES, config)
    with pytest.raises(RunFailed, match="none of the 2 labelled images could be decoded"):
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


def test_memory_does_not_grow_with_the_products(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One product in sixteen waits for an image of the second file; the others of its batch are let go."""
    monkeypatch.setattr(labelled_answers, "TOGETHER", 32)
    places = Places(tmp_path)
    names = [f"p{number:04d}" for number in range(600)]
    write_labelled(places, [(name, "c0001", [0, 1] if not number % 16 else [0]) for number, name in enumerate(names)])
    write_labelled(places, [(name, "c0001", [2]) for name in names[::16]], day=date(2026, 11, 2), version=1)
    config = EvaluateConfig(places, batch_size=16)
    images = config.images()

    def held(count: int) -> int:
        with peak() as noted:
            found = measure(Wide(), WIDE, [image for image in images if image.product_id < f"p{count:04d}"], config)
        assert len(found.product_ids) == count
        return noted[0]

    one_array = 600 * CATEGORIES * 4
    whole = held(600)
    assert whole < 1.4 * held(150)
    assert whole < 2 * one_array, "there were three of it, and six of products"

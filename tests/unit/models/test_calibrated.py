"""Thresholds and promises are fitted to the products that can be published: those with an image that is known."""

from __future__ import annotations

import numpy as np
import pytest

from models.calibrated import calibrated
from models.release import Release
from models.spec import Category, NetworkSpec

LEAVES = tuple(Category(name, name) for name in ("a.one", "a.two", "b"))
NETWORKS = (NetworkSpec("one", 16, "w", "", 1.0),)
DRAFT = Release("r", "t", LEAVES, NETWORKS, 1.0)
RNG = np.random.default_rng(4)


def softmaxes(labels: np.ndarray, sure: np.ndarray) -> dict[str, np.ndarray]:
    rows = np.repeat(((1 - sure) / 2)[:, None], 3, axis=1)
    rows[np.arange(len(labels)), labels] = sure
    return {"one": rows.astype(np.float32)}


def test_products_of_foreign_images_alone_are_left_out_of_thresholds_and_promises() -> None:
    labels = np.arange(600) % 3
    rows = softmaxes(labels, RNG.uniform(0.6, 0.99, 600))
    wrong = rows["one"].copy()
    wrong[500:] = np.roll(wrong[500:], 1, axis=1)  # foreign images get sure and wrong answers
    trusted = np.arange(600) < 500
    with_gate = calibrated(DRAFT, {"one": wrong}, labels, trusted=trusted, target=0.9)
    without = calibrated(DRAFT, {"one": wrong}, labels, target=0.9)
    assert with_gate.training["calibrated_on_products"] == 500
    assert without.training["calibrated_on_products"] == 600
    assert all(threshold is not None for threshold in with_gate.thresholds.values() if threshold)
    assert {with_gate.thresholds[leaf.category_id] is None for leaf in LEAVES} == {False}
    assert {without.thresholds[leaf.category_id] is None for leaf in LEAVES} == {True}
    assert with_gate.temperature == without.temperature, "it is fitted on images"


def test_a_product_is_decided_by_its_known_images() -> None:
    """Each product has two images, the second of which is foreign and sure of something else."""
    labels = np.repeat(np.arange(300) % 3, 2)
    rows = softmaxes(labels, np.full(600, 0.9))
    rows["one"][1::2] = np.roll(rows["one"][1::2], 1, axis=1)
    products, trusted = np.repeat(np.arange(300), 2), np.arange(600) % 2 == 0
    known = calibrated(DRAFT, rows, labels, products=products, trusted=trusted, target=0.9)
    every = calibrated(DRAFT, rows, labels, products=products, target=0.9)
    assert all(known.thresholds[leaf.category_id] is not None for leaf in LEAVES)
    assert any(every.thresholds[leaf.category_id] is None for leaf in LEAVES), "both categories are as sure"
    assert known.training["calibrated_on_products"] == 300


def test_a_product_with_one_known_image_counts_and_one_without_does_not() -> None:
    labels = np.repeat(np.arange(90) % 3, 2)
    rows = softmaxes(labels, np.full(180, 0.9))
    products = np.repeat(np.arange(90), 2)
    trusted = np.ones(180, bool)
    trusted[[0, 2, 3]] = False
    fitted = calibrated(DRAFT, rows, labels, products=products, trusted=trusted, target=0.6)
    assert fitted.training["calibrated_on_products"] == 89


@pytest.mark.parametrize("products", [None, np.arange(60)])
def test_if_no_image_is_known_nothing_is_published(products: np.ndarray | None) -> None:
    labels = np.arange(60) % 3
    rows = softmaxes(labels, np.full(60, 0.9))
    fitted = calibrated(DRAFT, rows, labels, products=products, trusted=np.zeros(60, bool), target=0.6)
    assert all(fitted.thresholds[leaf.category_id] is None for leaf in LEAVES)

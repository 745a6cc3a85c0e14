"""Thresholds and promises are fitted to the products that can be published: those with an image that is known."""

from __future__ import annotations

import numpy as np
import pytest

from models.calibrated import calibrated
from models.release import Release
from models.spec import Category, NetworkSpec

FOREIGN, CLOSED = "foreign_image", "gate_closed"
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
    untrusted = [None] * 500 + [FOREIGN] * 60 + [CLOSED] * 40
    with_gate = calibrated(DRAFT, {"one": wrong}, labels, untrusted=untrusted, target=0.9)
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
    products, untrusted = np.repeat(np.arange(300), 2), [None, FOREIGN] * 300
    known = calibrated(DRAFT, rows, labels, products=products, untrusted=untrusted, target=0.9)
    every = calibrated(DRAFT, rows, labels, products=products, target=0.9)
    assert all(known.thresholds[leaf.category_id] is not None for leaf in LEAVES)
    assert any(every.thresholds[leaf.category_id] is None for leaf in LEAVES), "both categories are as sure"
    assert known.training["calibrated_on_products"] == 300


def test_a_product_with_one_known_image_counts_and_one_without_does_not() -> None:
    labels = np.repeat(np.arange(90) % 3, 2)
    rows = softmaxes(labels, np.full(180, 0.9))
    products = np.repeat(np.arange(90), 2)
    untrusted = [FOREIGN, None, FOREIGN, FOREIGN, *[None] * 176]
    fitted = calibrated(DRAFT, rows, labels, products=products, untrusted=untrusted, target=0.6)
    assert fitted.training["calibrated_on_products"] == 89


def test_a_product_with_an_image_that_cannot_be_judged_is_never_published_and_does_not_count() -> None:
    labels = np.repeat(np.arange(90) % 3, 2)
    rows, products = softmaxes(labels, np.full(180, 0.9)), np.repeat(np.arange(90), 2)
    untrusted = [CLOSED, None, FOREIGN, CLOSED, *[None] * 176]
    fitted = calibrated(DRAFT, rows, labels, products=products, untrusted=untrusted, target=0.6)
    assert fitted.training["calibrated_on_products"] == 88


@pytest.mark.parametrize("products", [None, np.arange(60)])
def test_if_no_image_is_known_nothing_is_published(products: np.ndarray | None) -> None:
    labels = np.arange(60) % 3
    rows = softmaxes(labels, np.full(60, 0.9))
    fitted = calibrated(DRAFT, rows, labels, products=products, untrusted=[FOREIGN, CLOSED] * 30, target=0.6)
    assert all(fitted.thresholds[leaf.category_id] is None for leaf in LEAVES)

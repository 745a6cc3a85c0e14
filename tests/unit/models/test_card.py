"""The model card tells what release.json says, whatever catalogs call their categories."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from models.answers.promises import CURVE, CategoryPromise
from models.card import known_images, model_card
from models.release import CROSS_FITTED, FEATURES_ENGINE, Release
from models.spec import Category, KnownSpec, NetworkSpec


def card_of(category_id: str, taxonomy: str = "shop-1") -> str:
    network = NetworkSpec("efficientnetb0", 56, "w", "", 1.0)
    categories = (Category(category_id, "x"), Category("other", "x"))
    training = {"command": f"shelfwise finetune --leave-out {category_id!r}"}
    return model_card(Release("one", taxonomy, categories, (network,), 1.0, {category_id: 0.9}, training=training))


@pytest.mark.parametrize(
    "name",
    [
        "a | never |",
        "two\nlines",
        "<img src=x onerror=y>",
        "![eye](https://tracks.example/x)",
        "`code`",
        "a\\|b",
        "&lt;",
    ],
)
def test_a_category_name_is_escaped_to_one_table_cell(name: str) -> None:
    lines = card_of(name, taxonomy=name).splitlines()
    plain = card_of("plain").splitlines()
    assert len(lines) == len(plain)
    for line, expected in zip(lines, plain, strict=True):
        bare = line
        for escaped in ("\\\\", "\\|", "\\<", "\\[", "\\`", "\\&"):
            bare = bare.replace(escaped, "")
        assert bare.count("|") == expected.count("|")
        assert not set("<[&") & set(bare), line
        assert bare.count("`") == expected.count("`")


def test_the_card_lists_every_epoch_and_escapes_unexpected_values() -> None:
    epoch = {"loss": 0.5, "accuracy": 0.75, "val_loss": 1, "val_accuracy": 0.6251, "seconds": 3.0}
    network = NetworkSpec("xception", 71, "w", "", 1.0)
    categories = (Category("one", "x"), Category("other", "x"))
    training = {"xception_history": [epoch, epoch], "odd_history": [{"loss": "![a](b)"}], "seed": 7}
    lines = model_card(Release("one", "t", categories, (network,), 1.0, training=training)).splitlines()
    start = lines.index("| network | epoch | loss | accuracy | held-out loss | held-out accuracy |")
    assert lines[start + 2] == "| xception | 1 | 0.5000 | 0.7500 | 1.0000 | 0.6251 |"
    assert lines[start + 3].startswith("| xception | 2 |")
    assert "| odd history | \\[{'loss': '!\\[a](b)'}] |" in lines
    assert "| seed | 7 |" in lines


def test_plain_text_is_not_escaped() -> None:
    assert "| apparel.tops_of-men (a) | 0.9000 |" in card_of("apparel.tops_of-men (a)")


def test_the_card_says_what_each_category_promises_and_what_other_targets_would_publish() -> None:
    network = NetworkSpec("efficientnetb0", 56, "w", "", 1.0)
    thresholds = {"tops.shirt": 0.8, "tops.vest": 0.8, "hats": None, "tops": 0.5}
    promises = {
        "tops.shirt": CategoryPromise("pool", "tops", examples=50, above=44, right=43),
        "tops.vest": CategoryPromise("pool", "tops", examples=30, above=30, right=30),
        "hats": CategoryPromise("closed", examples=3, reason="few"),
    }
    categories = tuple(Category(name, "x") for name in promises)
    curve = [{"target_precision": 0.9, "category": 0.62, "catalog": 0.72}]
    training = {"target_precision": 0.95, CURVE: curve}
    release = Release("one", "t", categories, (network,), 1.0, thresholds, promises=promises, training=training)
    lines = model_card(release).splitlines()
    pooled = (
        "0.95 on average over these 2 categories below tops, in the shares seen in calibration "
        "(73 of 74 calibrating answers were right)"
    )
    start = lines.index("| category | from which confidence | promised precision |")
    assert lines[start + 2 : start + 6] == [
        f"| tops.shirt | 0.8000 | {pooled} |",
        f"| tops.vest | 0.8000 | {pooled} |",
        "| hats | never | none: too few calibrating answers to join a pool (3) |",
        "| tops (suggested) | 0.5000 |  |",
    ]
    start = lines.index("| target precision | --promise category | --promise catalog |")
    assert lines[start + 2] == "| 0.9 | 0.6200 | 0.7200 |"
    assert not any("published by target" in line for line in lines), "it is not among what the release was made of"
    damaged = model_card(replace(release, training={CURVE: [{"target_precision": "<b>"}]}))
    assert "--promise" not in damaged
    assert "| published by target | \\[{'target_precision': '\\<b>'}] |" in damaged


def test_the_card_says_which_images_the_release_knows() -> None:
    network = NetworkSpec("efficientnetb0", 56, "w", "", 1.0)
    known = KnownSpec("known.h5", "0" * 64, 1.23456, 5_000, 8_000, 1)
    release = Release("one", "t", (Category("a", "x"), Category("b", "x")), (network,), 1.0, known=known)
    lines = model_card(release).splitlines()
    [text] = [lines[lines.index("## Which images it knows") + 2]]
    for part in ("8,000 learned images in known.h5", "limit 1.2346", "calibrated on 5,000 images", "never published"):
        assert part in text
    assert "99 of 100 images like these lie" in text
    bare = replace(release, known=None)
    assert "takes every image for one that it knows" in model_card(bare)
    assert "`shelfwise release calibrate one --release-id NEW`" in model_card(bare)


def test_the_card_says_what_computed_that_which_was_measured() -> None:
    network = NetworkSpec("xception", 71, "w", "", 1.0)
    categories = (Category("one", "x"), Category("other", "x"))
    release = Release("one", "t", categories, (network,), 1.0, metrics={"test_products": 9})

    def said(training: dict[str, Any]) -> str:
        lines = model_card(replace(release, training=training)).splitlines()
        [line] = [line for line in lines if line.endswith(" A run says by what and in which precision it computed.")]
        return line.removesuffix(" A run says by what and in which precision it computed.")

    assert said({"seed": 7}) == "The networks computed in float32 by Keras."
    assert said({CROSS_FITTED: 5}) == "The networks computed in float32."
    features = {f"efficientnetb0{FEATURES_ENGINE}": "tensorflow", f"xception{FEATURES_ENGINE}": "openvino"}
    assert said({CROSS_FITTED: 5, **features}) == (
        "The features of the networks were computed in float32, those of efficientnetb0 by Keras (tensorflow), "
        "those of xception by OpenVINO."
    )
    assert "<b" not in said({f"xception{FEATURES_ENGINE}": "<b>"}).replace("\\<b", "")


@pytest.mark.parametrize(("count", "largest"), [(20, True), (98, True), (99, False), (100, False)])
def test_below_99_calibrating_images_the_card_says_that_the_limit_is_the_largest_score(
    count: int, largest: bool
) -> None:
    known = KnownSpec("known.h5", "0" * 64, 1.5, count, 8_000, 1)
    network = NetworkSpec("xception", 71, "w", "", 1.0)
    text = known_images(Release("one", "t", (Category("a", "x"), Category("b", "x")), (network,), 1.0, known=known))
    assert ("99 of 100 images like these lie" in text) is not largest
    assert (f"calibrated on {count} images. It is the largest of their scores" in text) is largest
    assert (f"About 1 of {count + 1} new images like these lies beyond it. An image beyond it" in text) is largest

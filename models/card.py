"""Write the model card of a release (Mitchell et al., 2019, arXiv:1810.03993): its networks, data and metrics.

Built from the metadata in release.json alone; returns Markdown and writes no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from models.answers.promises import CURVE, PROMISES, curve_of, target_of, worded
from models.release import CROSS_FITTED, FEATURES_ENGINE, UNKNOWN_BACKBONES, Release, describing_command

NAME = "MODEL_CARD.md"
"""File name of the card in a release's directory."""

NO_DESCRIPTION = (
    "The release has no description of the images that it knows, so it takes every image for one that it knows."
)
"""Sentence on a release without a description."""

FEWEST_FOR_THE_SHARE = 99
"""Fewest calibrating images of which a limit can leave 1 of 100 beyond it: see `models.known.fit.limit_of`."""

FIGURES = {
    "loss": "loss",
    "accuracy": "accuracy",
    "val_loss": "held-out loss",
    "val_accuracy": "held-out accuracy",
}
"""Metrics of an epoch, by their name in release.json, with their heading in the card."""


def model_card(release: Release) -> str:
    """Return the model card of a release as Markdown."""
    return "\n".join(_lines(release)) + "\n"


def _lines(release: Release) -> Iterator[str]:
    """Yield the lines of the card, without line ends."""
    names = " and ".join(f"{network.architecture} at {network.input_px} px" for network in release.networks)
    yield f"# {release.release_id}"
    yield ""
    taxonomy = _plain(release.taxonomy_version)
    yield f"Puts a product image into one of {len(release.categories)} categories of {taxonomy}."
    yield f"Networks: {names}. Made by shelfwise {release.code_version or 'of unknown version'}."
    yield ""
    yield "## What was measured"
    yield ""
    if release.metrics:
        yield f"{_computed(release)} A run says by what and in which precision it computed."
        yield ""
        yield from _table(release.metrics, "figure")
    else:
        yield "Nothing: measure it with `shelfwise evaluate`."
    yield ""
    yield "## What it was made of"
    yield ""
    curve = curve_of(release.training)
    training = {name: value for name, value in release.training.items() if name != CURVE or not curve}
    metadata = {name: value for name, value in training.items() if not _is_history(name, value)}
    yield from _table(metadata, "what") if metadata else ["Nothing is told."]
    yield ""
    yield from _epochs({name: value for name, value in training.items() if name not in metadata})
    yield "## When an answer is published"
    yield ""
    shares = ", ".join(f"{network.architecture} {network.ensemble_weight:.3f}" for network in release.networks)
    yield f"Shares: {shares}. Temperature: {release.temperature:.4f}. Below {release.floor:g} an answer is `unknown`."
    yield ""
    if unknown := release.training.get(UNKNOWN_BACKBONES):
        yield f"Nobody knows what the backbone of {_plain(str(unknown))} has learned from. If it was the products that"
        yield "calibrated and measured this release, it is worse on new ones than all figures and promises here say."
        yield ""
    yield "| category | from which confidence | promised precision |"
    yield "| --- | --- | --- |"
    target = target_of(release.training)
    for node in release.nodes:
        leaf = node in release.categories
        if not leaf and node.category_id not in release.thresholds:
            continue
        needed = release.thresholds.get(node.category_id, release.policy.threshold(node.category_id) if leaf else None)
        name = node.category_id if leaf else f"{node.category_id} (suggested)"
        promised = worded(node.category_id, release.thresholds, release.promises, target=target) if leaf else ""
        shown = "never" if needed is None or needed > 1 else f"{needed:.4f}"
        yield f"| {_plain(name)} | {shown} | {_plain(promised)} |"
    yield ""
    yield from _by_target(curve)
    yield "## Which images it knows"
    yield ""
    yield known_images(release)
    yield ""
    yield "## What it is not for"
    yield ""
    yield "Other kinds of products and pictures than it was trained on: of these its confidence says little."


def _computed(release: Release) -> str:
    """Return what computed the metrics of a release; not more than is known of one that was made before it was kept."""
    engines = {
        name.removesuffix(FEATURES_ENGINE): "OpenVINO" if engine == "openvino" else f"Keras ({_plain(str(engine))})"
        for name, engine in release.training.items()
        if name.endswith(FEATURES_ENGINE)
    }
    if engines:
        listed = ", ".join(f"those of {_plain(name)} by {engine}" for name, engine in engines.items())
        return f"The features of the networks were computed in float32, {listed}."
    by = "" if CROSS_FITTED in release.training else " by Keras"
    return f"The networks computed in float32{by}."


def known_or_not(release: Release) -> str:
    """Return in words which images a new release knows; without a remedy where what made it found no description."""
    return known_images(release) if release.known else NO_DESCRIPTION


def known_images(release: Release) -> str:
    """Return in words which images a release knows, and what happens with others."""
    if release.known is None:
        return f"{NO_DESCRIPTION} `{describing_command(release)}` makes a release that has one."
    known = release.known
    count = known.calibrated_on
    share = ", within which 99 of 100 images like these lie."
    if count < FEWEST_FOR_THE_SHARE:
        share = (
            f". It is the largest of their scores: at least {FEWEST_FOR_THE_SHARE} images are needed for a limit "
            f"beyond which only 1 of 100 lies. About 1 of {count + 1} new images like these lies beyond it."
        )
    return (
        f"Images like the {known.references:,} learned images in {known.file}: up to the limit {known.limit:.4f}, "
        f"calibrated on {count:,} images{share} An image beyond it, whose foreign_score "
        "is above 1, is never published without a person, and has no say in the answer of a product that has other "
        "images."
    )


def _table(values: Mapping[str, Any], heading: str) -> Iterator[str]:
    """Yield a table of names and values."""
    yield f"| {heading} | value |"
    yield "| --- | --- |"
    for name, value in values.items():
        shown = f"{value:.4f}" if isinstance(value, float) else _plain(str(value))
        yield f"| {_plain(name.replace('_', ' '))} | {shown} |"


def _by_target(curve: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """Yield the table of the shares that other target precisions would publish; nothing if they were not computed."""
    if not curve:
        return
    yield "## What other targets would publish"
    yield ""
    yield "Share of the calibrating products that would be published without a person. `--promise category`: each"
    yield "category or pool reaches the target. `--promise catalog`: all that is published reaches it together."
    yield ""
    yield f"| target precision | {' | '.join(f'--promise {by}' for by in PROMISES)} |"
    yield f"| --- | {' | '.join('---' for _ in PROMISES)} |"
    for row in curve:
        yield f"| {row['target_precision']:g} | {' | '.join(f'{row[by]:.4f}' for by in PROMISES)} |"
    yield ""


def _is_history(name: str, value: Any) -> bool:
    """Return whether a value of release.json, which may come from others, is a network's metrics by epoch."""
    epochs = value if name.endswith("_history") and isinstance(value, list) else [None]
    return all(
        isinstance(epoch, Mapping) and all(isinstance(epoch.get(key), (int, float)) for key in FIGURES)
        for epoch in epochs
    )


def _epochs(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Iterator[str]:
    """Yield the table of metrics by network and epoch; nothing if there are none."""
    if not any(histories.values()):
        return
    yield "## Epoch by epoch"
    yield ""
    yield f"| network | epoch | {' | '.join(FIGURES.values())} |"
    yield f"| --- | --- | {' | '.join('---' for _ in FIGURES)} |"
    for name, history in histories.items():
        for number, epoch in enumerate(history, 1):
            figures = " | ".join(f"{epoch[key]:.4f}" for key in FIGURES)
            yield f"| {_plain(name.removesuffix('_history'))} | {number} | {figures} |"
    yield ""


def _plain(text: str) -> str:
    """Escape a foreign text for one table cell: no further cell or line, no HTML, no link, no picture."""
    return re.sub(r"[\\|`<&\[]", r"\\\g<0>", " ".join(text.split()))

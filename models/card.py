"""The model card of a release (Mitchell et al., 2019, arXiv:1810.03993): what it is, what it was made of, how good."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from models.release import Release

NAME = "MODEL_CARD.md"

FIGURES = {
    "loss": "loss",
    "accuracy": "accuracy",
    "val_loss": "held-out loss",
    "val_accuracy": "held-out accuracy",
}
"""Of an epoch, and what the card calls them."""


def model_card(release: Release) -> str:
    """Return the card as Markdown, from what release.json says."""
    return "\n".join(_lines(release)) + "\n"


def _lines(release: Release) -> Iterator[str]:
    names = " and ".join(f"{one.architecture} at {one.input_px} px" for one in release.networks)
    yield f"# {release.release_id}"
    yield ""
    taxonomy = _plain(release.taxonomy_version)
    yield f"Puts a product image into one of {len(release.categories)} categories of {taxonomy}."
    yield f"Networks: {names}. Made by shelfwise {release.code_version or 'of unknown version'}."
    yield ""
    yield "## What was measured"
    yield ""
    yield from (
        _table(release.metrics, "figure") if release.metrics else ["Nothing: measure it with `shelfwise evaluate`."]
    )
    yield ""
    yield "## What it was made of"
    yield ""
    told = {name: value for name, value in release.training.items() if not _is_history(name, value)}
    yield from _table(told, "what") if told else ["Nothing is told."]
    yield ""
    yield from _epochs({name: value for name, value in release.training.items() if name not in told})
    yield "## When an answer is published"
    yield ""
    shares = ", ".join(f"{one.architecture} {one.ensemble_weight:.3f}" for one in release.networks)
    yield f"Shares: {shares}. Temperature: {release.temperature:.4f}. Below {release.floor:g} an answer is `unknown`."
    yield ""
    yield "| category | from which confidence |"
    yield "| --- | --- |"
    for node in release.nodes:
        leaf = node in release.categories
        if not leaf and node.category_id not in release.thresholds:
            continue
        needed = release.thresholds.get(node.category_id, release.policy.threshold(node.category_id) if leaf else None)
        name = node.category_id if leaf else f"{node.category_id} (suggested)"
        yield f"| {_plain(name)} | {'never' if needed is None or needed > 1 else f'{needed:.4f}'} |"
    yield ""
    yield "## What it is not for"
    yield ""
    yield "Other kinds of products and pictures than it was trained on: of these its confidence says little."


def _table(values: Mapping[str, Any], heading: str) -> Iterator[str]:
    yield f"| {heading} | value |"
    yield "| --- | --- |"
    for name, value in values.items():
        shown = f"{value:.4f}" if isinstance(value, float) else _plain(str(value))
        yield f"| {_plain(name.replace('_', ' '))} | {shown} |"


def _is_history(name: str, value: Any) -> bool:
    """Say whether a value of release.json, which may be somebody else's, is a network's figures by epoch."""
    epochs = value if name.endswith("_history") and isinstance(value, list) else [None]
    return all(
        isinstance(epoch, Mapping) and all(isinstance(epoch.get(key), (int, float)) for key in FIGURES)
        for epoch in epochs
    )


def _epochs(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Iterator[str]:
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
    """Return a text of others as one cell of a table shows it: no second cell or line, no HTML, no link or picture."""
    return re.sub(r"[\\|`<&\[]", r"\\\g<0>", " ".join(text.split()))

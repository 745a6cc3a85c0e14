"""The main figures of an evaluation as Markdown, for a page or a message on which a person decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jobs.evaluation.product_predictions import MOST_NAMED

_NAME_CHARACTERS = 60


def markdown(document: Mapping[str, Any]) -> str:
    """Return the main figures of an evaluation as Markdown: of one release, or of two that were compared.

    Args:
        document: JSON document from `jobs.evaluation.evaluate.run`.
    """
    pair = document.get("comparison") or _alone(document)
    names = list(pair["accuracy"])
    heads = ["release", f"accuracy on {document['part']} products"]
    rows = [[name, f"{pair['accuracy'][name]:.4f}"] for name in names]
    if "first" in pair:
        heads.append("right where the other is wrong")
        rows = [[*row, str(_only(pair, row[0]))] for row in rows]
    text = _table(heads, rows) + "\n"
    text += _table(
        ("release", "published automatically", "right of these", "calibration error"),
        [(name, *_of_automatic(pair["automatic"][name]), f"{pair['calibration_error'][name]:.4f}") for name in names],
    )
    return text + "".join(f"\n{sentence}\n" for sentence in _sentences(document, pair))


def _alone(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a single release in the form of a comparison's."""
    name, leaf = document["release_id"], document["levels"][0]
    return {
        "accuracy": {name: leaf["top1"]},
        "automatic": {name: document["decisions"]["auto"]},
        "calibration_error": {name: leaf["calibration"]["after"]},
    }


def _only(pair: Mapping[str, Any], name: str) -> int | str:
    """Return the number of products on which this release alone is right; a dash where nothing was compared."""
    count: int | str = pair.get("only_first" if name == pair["first"] else "only_second", "-")
    return count


def _of_automatic(auto: Mapping[str, Any]) -> tuple[str, str]:
    return f"{auto['share']:.4f}", "-" if auto["precision"] is None else f"{auto['precision']:.4f}"


def _sentences(document: Mapping[str, Any], pair: Mapping[str, Any]) -> Iterable[str]:
    if "reason" in pair:
        yield f"There is no comparison: {pair['reason']}."
    elif "p_value" in pair:
        yield f"A difference like this or a larger one comes by chance with probability {pair['p_value']:.3g}."
    if document["leave_out"]:
        yield f"Measured without {_named(document['leave_out'], len(document['leave_out']))}."
    without = pair["left_out"] if "first" in pair else document["left_out"]
    if without and without["products"]:
        releases = "not both releases know" if "p_value" in pair else f"{_last(document, pair)} does not know"
        named = _named(without["named"], without["categories"])
        yield f"Products left out, as {releases} their categories: {without['products']} ({named})."


def _last(document: Mapping[str, Any], pair: Mapping[str, Any]) -> str:
    return str(pair.get("second", document["release_id"]))


def _named(names: Sequence[str], count: int) -> str:
    """List the first category names as code, without what would end it, and the number of the others."""
    shown = [f"`{' '.join(name.replace('`', ' ').split())[:_NAME_CHARACTERS]}`" for name in names[:MOST_NAMED]]
    return ", ".join(shown) + (f" and {count - len(shown)} more" if count > len(shown) else "")


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)

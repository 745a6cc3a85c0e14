"""Format the comparison of two releases for the Airflow page on which a person decides. Not a DAG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def figures_of(evaluation: Any) -> str:
    """Return the metrics of two releases as Markdown, for the Airflow page on which a person decides.

    Args:
        evaluation: JSON output of `shelfwise evaluate --compare`, with `comparison`, `part` and `leave_out`.
    """
    pair, left_out = evaluation["comparison"], evaluation["comparison"]["left_out"]
    shown = [side for side in ("first", "second") if pair[side] in pair["accuracy"]]
    called = {"first": f"{pair['first']} (in use)", "second": f"{pair['second']} (new)"}
    text = f"| release | accuracy on {evaluation['part']} products | right where the other is wrong |\n"
    text += "| --- | --- | --- |\n"
    for side in shown:
        text += f"| {called[side]} | {pair['accuracy'][pair[side]]:.4f} | {pair.get(f'only_{side}', '-')} |\n"
    text += "\n| release | published automatically | right of these | calibration error |\n| --- | --- | --- | --- |\n"
    for side in shown:
        auto, error = pair["automatic"][pair[side]], pair["calibration_error"][pair[side]]
        right = "-" if auto["precision"] is None else f"{auto['precision']:.4f}"
        text += f"| {called[side]} | {auto['share']:.4f} | {right} | {error:.4f} |\n"
    if "reason" in pair:
        text += f"\nThere is no comparison: {pair['reason']}.\n"
    else:
        text += f"\nA difference like this or a larger one comes by chance with probability {pair['p_value']:.3g}.\n"
    if evaluation["leave_out"]:
        text += f"\nMeasured without {_named(evaluation['leave_out'], len(evaluation['leave_out']))}.\n"
    if left_out["products"]:
        unknown = f"{pair['second']} does not know" if "reason" in pair else "not both releases know"
        text += f"\nProducts left out, as {unknown} their categories: {left_out['products']} "
        text += f"({_named(left_out['named'], left_out['categories'])}).\n"
    return text


def _named(names: Sequence[str], count: int) -> str:
    """List the first ten category names as Markdown, escaped, and the number of the others."""
    shown = [f"`{' '.join(name.replace('`', ' ').split())[:60]}`" for name in names[:10]]
    return ", ".join(shown) + (f" and {count - len(shown)} more" if count > len(shown) else "")

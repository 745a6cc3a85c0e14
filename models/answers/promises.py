"""What a release promises of each category that it publishes: its own precision, or one on average over a pool.

`thresholds` alone decide what is published; a promise says what its threshold was fitted to. Serving reads neither this
module nor the field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.answers.decision import AUTO_THRESHOLD

CATEGORY, CATALOG = "category", "catalog"
PROMISES = (CATEGORY, CATALOG)
"""Kinds of promise of a release: own thresholds and pools of categories that lack examples, or one pool of all."""

CURVE = "published_by_target"
"""Name, in the training metadata of a release, of the shares published for other target precisions."""

CURVE_TARGETS = (0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.99)
"""Target precisions of that curve."""

REASONS = ("few", "own", "pool", "worse")
"""Why a category is closed: too few answers to join a pool; no threshold of its own, or of its pool, reaches the target
precision; or its own precision above the pool's threshold lies significantly below the target, so that it left."""


@dataclass(frozen=True)
class CategoryPromise:
    """Promise of one category in release.json.

    Attributes:
        kind: `own`: its threshold was fitted to its own answers; `pool`: to those of several categories together;
            `closed`: it has no threshold.
        pool: The parent whose children share the threshold; empty for the pool of all categories that were left. Of a
            closed category, the pool that missed the target or that the category left.
        examples: Number of calibrating products whose best answer was this category.
        above: Number of these at or above the threshold: its own, its pool's, or that of the pool which it left.
        right: Number of those above that are right.
        reason: Why it is closed, one of `REASONS`; empty if it is not.
    """

    kind: str = "own"
    pool: str = ""
    examples: int = 0
    above: int = 0
    right: int = 0
    reason: str = ""


def check_promises(
    promises: Mapping[str, CategoryPromise], thresholds: Mapping[str, float | None], category_ids: Iterable[str]
) -> None:
    """Check that the promises of a release can be those of its thresholds.

    Args:
        promises: Promises by category_id; empty for a release that was made before there were pools.
        thresholds: Thresholds by category_id.
        category_ids: Leaves of the release.

    Raises:
        ValueError: If a promise is missing, malformed, or says something else than its threshold.
    """
    ids = set(category_ids)
    if promises and promises.keys() != ids:
        name = min(promises.keys() ^ ids)
        raise ValueError(f"its promises are not those of its categories, such as {name!r}")
    shared: dict[str, float | None] = {}
    for name, promise in promises.items():
        counts = [promise.right, promise.above, promise.examples]
        if any(type(count) is not int for count in counts) or sorted([0, *counts]) != [0, *counts]:
            raise ValueError(f"its promise of {name} has {counts} right answers, answers above the threshold, and all")
        if promise.kind not in ("own", "pool", "closed") or not isinstance(promise.pool, str):
            raise ValueError(f"its promise of {name} is {promise.kind!r} where own, pool or closed was expected")
        closed = promise.kind == "closed"
        if closed != (thresholds.get(name, 0.0) is None) or closed != (promise.reason in REASONS):
            raise ValueError(f"its promise of {name} is {promise.kind!r}, and its threshold is {thresholds.get(name)}")
        if promise.kind == "pool" and shared.setdefault(promise.pool, thresholds.get(name)) != thresholds.get(name):
            raise ValueError(f"its threshold of {name} is not that of its pool {promise.pool!r}")


def members(promises: Mapping[str, CategoryPromise], category_id: str) -> list[str]:
    """Return the categories that share a category's pooled threshold, itself included; none if it is in no pool."""
    own = promises[category_id]
    if own.kind != "pool":
        return []
    return [name for name, each in promises.items() if (each.kind, each.pool) == ("pool", own.pool)]


def worded(
    category_id: str,
    thresholds: Mapping[str, float | None],
    promises: Mapping[str, CategoryPromise],
    *,
    target: float | None = None,
) -> str:
    """Return the promise of a category in words, such as `0.95 of its own answers (301 of 310 calibrating were right)`.

    Args:
        category_id: A leaf of the release.
        thresholds: Thresholds of the release by category_id.
        promises: Promises of the release by category_id; empty for a release that was made before there were pools.
        target: Target precision of the release, in (0, 1); None if it is not known.
    """
    promise = promises.get(category_id)
    precision = "the target precision" if target is None else f"{target:g}"
    if promise is None and category_id not in thresholds:
        return "none, as the release was not calibrated"
    if promise is None:
        return "none" if thresholds[category_id] is None else f"{precision} of its own answers"
    match promise.kind:
        case "closed":
            return f"none: {_reason(promise)}"
        case "pool":
            pool = [promises[name] for name in members(promises, category_id)]
            below = f" below {promise.pool}" if promise.pool else ""
            return (
                f"{precision} on average over these {len(pool)} categories{below}, in the shares seen in calibration "
                f"({_right(sum(each.right for each in pool), sum(each.above for each in pool))})"
            )
        case _:
            return f"{precision} of its own answers ({_right(promise.right, promise.above)})"


def described(
    category_ids: Iterable[str],
    thresholds: Mapping[str, float | None],
    promises: Mapping[str, CategoryPromise],
    *,
    target: float | None = None,
) -> dict[str, dict[str, Any]]:
    """Describe the promise of each leaf of a release for a JSON document.

    Args:
        category_ids: Leaves of the release.
        thresholds: Thresholds of the release by category_id.
        promises: Promises of the release by category_id; empty for a release that was made before there were pools.
        target: Target precision of the release, in (0, 1); None if it is not known.

    Returns:
        By category_id: `threshold`, the promise's fields (`kind` alone for a release without promises), `members`: how
        many categories share the threshold, 0 if closed, and `text`: the promise in words.
    """
    rows: dict[str, dict[str, Any]] = {}
    for name in category_ids:
        threshold, promise = thresholds.get(name, AUTO_THRESHOLD), promises.get(name)
        row = asdict(promise) if promise else {"kind": "closed" if threshold is None else "own"}
        number = len(members(promises, name)) if row["kind"] == "pool" else int(row["kind"] == "own")
        text = worded(name, thresholds, promises, target=target)
        rows[name] = {"threshold": threshold, **row, "members": number, "text": text}
    return rows


def _right(right: int, above: int) -> str:
    return f"{right:,} of {above:,} calibrating answers were right"


def _reason(promise: CategoryPromise) -> str:
    """Return why a category is closed, with the counts that show it."""
    pool = f"its pool below {promise.pool}" if promise.pool else "its pool"
    match promise.reason:
        case "few":
            return f"too few calibrating answers to join a pool ({promise.examples})"
        case "worse":
            return f"it left {pool}, as {_right(promise.right, promise.above)}"
        case "pool":
            return f"no threshold of {pool} reaches the target precision"
        case _:
            return f"no threshold of its own reaches the target precision ({promise.examples:,} calibrating answers)"


def curve_of(training: Mapping[str, Any]) -> list[dict[str, float]]:
    """Return the rows of `published_by_target` from the metadata of a release, which others may have written.

    Returns:
        Rows of `target_precision`, `category` and `catalog`, as `models.answers.pools.share_by_target` makes them;
        none if the release has no such curve.
    """
    names = ("target_precision", *PROMISES)
    rows = training.get(CURVE)
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        return []
    if not all(isinstance(row, Mapping) and all(_is_share(row.get(name)) for name in names) for row in rows):
        return []
    return [{name: float(row[name]) for name in names} for row in rows]


def target_of(training: Mapping[str, Any]) -> float | None:
    """Return the target precision of a release from its metadata; None if it has none."""
    target = training.get("target_precision")
    return float(target) if _is_share(target) and target is not None else None


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1

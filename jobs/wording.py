"""Labels and products that a sentence names: quoted, the first few of many, however long they are."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

_MOST = 4
_MOST_CHARACTERS = 120
"""Of names in a row, so that a sentence with one such row and examples stays at some 400."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = 50


def quoted(name: str) -> str:
    """Quote a name; of a very long one the middle is left out."""
    return _SHORT.repr(name)


def listed(names: Sequence[str]) -> str:
    """Join the first few names and tell how many more there are."""
    shown = _first_few(names, _MOST_CHARACTERS)
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def counted(names: Sequence[str], counts: Mapping[str, int]) -> str:
    """List names with what was counted of each: `'a' (3), 'b' (1) and 1,248 more`."""
    return listed([f"{quoted(name)} ({counts[name]:,})" for name in names])


def such_as(labels: Iterable[str]) -> str:
    """Give the first few as examples: `such as cold.blue, cold.green`."""
    names = [quoted(label)[1:-1] for label in sorted(labels)]
    return f"such as {', '.join(_first_few(names, _MOST_CHARACTERS * 2 // 3))}"


def leaving_out(labels: Sequence[str]) -> str:
    """Say how labels are left out; one that is not shown whole is not to be copied from a sentence."""
    if len(labels) == 1 and quoted(labels[0]) == repr(labels[0]):
        return f"--leave-out {labels[0]!r}"
    return "--leave-out @FILE, a text file of one a line"


def _first_few(names: Sequence[str], characters: int) -> Sequence[str]:
    lengths = accumulate(len(name) + 2 for name in names[:_MOST])
    return names[: max(1, sum(length <= characters for length in lengths))]

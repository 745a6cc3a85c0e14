"""Put lists of labels and products into messages: quoted, shortened, and only the first few of many.

Texts of catalogs and names of files are written by others. Here is also what makes them harmless on a terminal.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

_MOST_NAMES = 4
_MOST_CHARACTERS = 120
"""Most characters of listed names. A sentence with one list and examples then has about 400 characters."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = 50

_UNSAFE_RANGES = ((0x00, 0x08), (0x0B, 0x1F), (0x7F, 0x9F), (0x2028, 0x202E), (0x2066, 0x2069), (0xD800, 0xDFFF))
"""First and last code points of: C0 without tab and newline, DEL and C1, separators and directions, surrogates."""
_UNSAFE = dict.fromkeys((code for first, last in _UNSAFE_RANGES for code in range(first, last + 1)), "\ufffd")
_NEWLINES = dict.fromkeys(map(ord, "\n\t"), "\ufffd")


def quoted(name: str) -> str:
    """Quote a label for a message; the middle of a very long one is left out."""
    return _SHORT.repr(name)


def listed(names: Sequence[str]) -> str:
    """List the first few labels for a message, joined by commas, and the number of the others."""
    shown = _first_few(names, _MOST_CHARACTERS)
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def counted(names: Sequence[str], counts: Mapping[str, int]) -> str:
    """List the first few labels with their counts for a message: `'a' (3), 'b' (1) and 1,248 more`."""
    return listed([f"{quoted(name)} ({counts[name]:,})" for name in names])


def such_as(labels: Iterable[str]) -> str:
    """Give the first few labels as examples in a message: `such as cold.blue, cold.green`."""
    names = [quoted(label)[1:-1] for label in sorted(labels)]
    return f"such as {', '.join(_first_few(names, _MOST_CHARACTERS * 2 // 3))}"


def leaving_out(labels: Sequence[str]) -> str:
    """Word the option that leaves out some labels, for a remedy in a message.

    A label is written into the option only if it is shown in full, because the user copies it.
    """
    if len(labels) == 1 and quoted(labels[0]) == repr(labels[0]):
        return f"--leave-out {labels[0]!r}"
    return "--leave-out @FILE, a text file of one a line"


def _first_few(names: Sequence[str], characters: int) -> Sequence[str]:
    lengths = accumulate(len(name) + 2 for name in names[:_MOST_NAMES])
    return names[: max(1, sum(length <= characters for length in lengths))]


def printable(text: str) -> str:
    """Return a text for a terminal or log, with U+FFFD in place of each character that could change what others say.

    These are control characters other than newline and tab, which command terminals; those that reverse the direction
    of what follows; line separators; and halves of surrogate pairs, which cannot be printed.
    """
    return text.translate(_UNSAFE)


def one_line(text: str) -> str:
    """Return a text as `printable` does, and without newlines and tabs."""
    return printable(text).translate(_NEWLINES)

"""What the reading of a directory leaves out, counted, for one line of the log."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

_MOST_SUFFIXES = 100
_SHOWN = 5


@dataclass
class Names:
    """Counts names, and keeps the first ones to show.

    Attributes:
        count: How many names there are.
        first: The first of them.
    """

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count a name."""
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(name)

    def __str__(self) -> str:
        """Return the first names, and how many there are beside them."""
        shown = ", ".join(map(_shown, self.first))
        return shown if self.count <= _SHOWN else f"{shown} and {self.count - _SHOWN:,} more"


@dataclass
class PassedOver:
    """Counts what a directory has beside its products; memory does not grow with the directory.

    Attributes:
        suffixes: Numbers of files that are not read, by suffix with its dot.
        folders: Folders that are not read, because tables lie beside them.
        links: Links to folders outside the directory, which are not followed.
        repeated: Links to folders inside the directory, whose pictures have these folders as their category.
        images: Pictures of products that have more than are read.
    """

    suffixes: Counter[str] = field(default_factory=Counter)
    folders: Names = field(default_factory=Names)
    links: Names = field(default_factory=Names)
    repeated: Names = field(default_factory=Names)
    images: int = 0

    def add_file(self, suffix: str) -> None:
        """Count a file that is not read."""
        known = suffix in self.suffixes or len(self.suffixes) < _MOST_SUFFIXES
        self.suffixes[suffix if known else "other"] += 1

    def sentences(self) -> list[str]:
        """Return what was left out, in words; empty if nothing was."""
        found = []
        if files := self.suffixes.total():
            kinds = Names(len(self.suffixes), [f"{n:,} {suffix}" for suffix, n in self.suffixes.most_common(_SHOWN)])
            found.append(f"passed over {_counted(files, 'other file')} ({kinds})")
        if self.folders.count:
            found.append(f"passed over {_counted(self.folders.count, 'folder')} beside the tables ({self.folders})")
        if self.links.count:
            links = _counted(self.links.count, "link")
            found.append(f"did not follow {links} to folders outside of the directory ({self.links})")
        if self.repeated.count:
            links = _counted(self.repeated.count, "link")
            found.append(f"passed over {links} to folders that are read by their own names ({self.repeated})")
        if self.images:
            found.append(f"passed over {_counted(self.images, 'picture')} over the most of a product (--max-images)")
        return found


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _shown(name: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in name[:80])

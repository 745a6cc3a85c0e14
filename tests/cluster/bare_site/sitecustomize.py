"""Hides this clone's installation from each Python process that has this folder on PYTHONPATH, its metadata too.

What is left is what `pip install -r requirements.txt` makes: the packages that the project needs, and not the project.
"""

import importlib.metadata
import sys
from importlib.metadata import Distribution, PackageNotFoundError

sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
found = Distribution.from_name


def from_name(name: str) -> Distribution:
    """Find every distribution but shelfwise."""
    if name == "shelfwise":
        raise PackageNotFoundError(name)
    return found(name)


Distribution.from_name = importlib.metadata.distribution = from_name  # type: ignore[method-assign, assignment]

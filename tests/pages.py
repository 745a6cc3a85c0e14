"""What a page of Markdown shows: its chapters, the lines of its shell blocks, and its links."""

from __future__ import annotations

import re
from pathlib import Path


def chapter(page: str, title: str) -> str:
    """Return the chapter of a page that has this title, up to the next one."""
    [found] = re.findall(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    return str(found)


def shell_lines(page: str) -> list[str]:
    """Return the lines of a page's shell blocks."""
    return [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]


def dead_links(page: str, directory: Path) -> list[str]:
    """Return the links of a page in a directory that lead to no file; those into the web are not followed."""
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", page)]
    return [target for target in targets if not target.startswith("http") and not (directory / target).exists()]

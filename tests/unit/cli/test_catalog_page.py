"""The page on catalogs shows commands that work, and the keys and options that there are."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner

from jobs.catalog.description import Description, Format
from jobs.cli import catalog as cli_catalog
from jobs.cli.main import main_group

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "jobs" / "catalog" / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_works(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHELFWISE_HOME", str(tmp_path / "home"))
    Path("export").mkdir()
    shutil.copy(ROOT / "tests" / "catalogs" / "shopify.csv", "shop.csv")
    shutil.copy(ROOT / "tests" / "catalogs" / "amazon.txt", "export/amazon.txt")
    Path("export/goods.csv").write_text("sku;name;photo;detail1;detail2\ns1;Hat;a.jpg;b.jpg;c.jpg\n")
    result = CliRunner().invoke(main_group, shlex.split(command)[1:], catch_exceptions=False)
    assert result.exit_code == 0
    assert ("image_no" if "product_images" in command else "product") in result.stdout


def test_the_page_lists_the_keys_of_a_description_with_their_options() -> None:
    rows = re.findall(r"^\| ((?:`\[?\w+\]?`(?:, )?)+) \|[^|\n]+(?:\|[^|\n]+)?\| *(`--[\w-]+`)? \|$", PAGE, re.MULTILINE)
    keys = {key: option.strip("`") for names, option in rows for key in re.findall(r"\w+", names)}
    assert keys.keys() == set(Description.model_fields)
    options = {name for option in cli_catalog.check.params for name in option.opts}
    assert {option for option in keys.values() if option} <= options


def test_the_page_lists_the_formats() -> None:
    [row] = re.findall(r"^\| `format` \|(.*)\|.*\|$", PAGE, re.MULTILINE)
    assert {*re.findall(r"`(\w+)`", row), "auto"} == set(get_args(Format))

"""Every command that the README shows is run."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from models.release import SHIPPED
from tests.conftest import picture
from tests.end_to_end.conftest import Shelfwise

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Return the lines of the README's shell blocks."""
    return [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]


MAKE = {
    "demo": ".venv/bin/shelfwise demo",
    "test": ".venv/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder",
    "airflow": ".venv/bin/python .ci/local_airflow.py",  # started for real by tests/dags/test_scheduler.py
}


def test_the_make_targets_call_what_they_are_named_for() -> None:
    assert [line for line in commands() if line.startswith("make")] == [f"make {target}" for target in MAKE]
    for target, program in MAKE.items():
        plan = subprocess.run(
            ["make", "--no-print-directory", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert plan.stdout.splitlines()[-1].strip() == program


def test_every_other_command_works_in_the_order_shown(
    shelfwise: Shelfwise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHELFWISE_RELEASE_DIR", str(SHIPPED))
    (tmp_path / "photos" / "shirts").mkdir(parents=True)
    (tmp_path / "photos" / "shirts" / "sku-1003.jpg").write_bytes(picture(3))
    for number in (1001, 1002):
        (tmp_path / f"{number}.jpg").write_bytes(picture(number))
    rows = "".join(f"sku-{number},{number}.jpg\n" for number in (1001, 1002))
    (tmp_path / "shop.csv").write_text("product_id,image_uri\n" + rows, encoding="utf-8")
    shown = [line for line in commands() if line.startswith("shelfwise")]
    assert len(shown) >= 9
    for line in shown:
        done = shelfwise(*shlex.split(line)[1:])
        assert done.code == 0, (line, done.err)
        assert done.out.strip(), line


def test_the_other_lines_are_known() -> None:
    rest = [line for line in commands() if not line.startswith(("make", "shelfwise"))]
    assert rest == [". .venv/bin/activate"]


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_every_setting_is_in_the_table() -> None:
    from jobs.settings import Settings

    for name in Settings.model_fields:
        variable = f"SHELFWISE_{name.upper()}"
        short = f"`_{name.removeprefix('products_').upper()}`"
        assert variable in README or short in README, variable

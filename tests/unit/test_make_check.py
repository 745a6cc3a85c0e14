"""`make check` in a clone whose programs are stubs: what fails it, and what it prints."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WRONG = "jobs/a.py:1: error: Name 'b' is not defined"


def make_check(directory: Path, **codes: int) -> tuple[int, str]:
    """Run it where programs print their names, and end with these exit codes; return its own and what it printed.

    mypy and pytest each wait until the other one runs.
    """
    for name in (".ci/venv", ".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/pytest"):
        program = directory / name
        program.parent.mkdir(parents=True, exist_ok=True)
        other = {"mypy": "pytest", "pytest": "mypy"}.get(program.name)
        waits = f"until [ -e {other}.runs ]; do sleep 0.01; done\n" if other else ""
        says = WRONG if program.name == "mypy" and codes.get("mypy") else f"this is {program.name}"
        program.write_text(
            f'#!/bin/sh\ntouch {program.name}.runs\n{waits}echo "{says}, $(nice)"\nexit {codes.get(program.name, 0)}\n'
        )
        program.chmod(0o755)
    shutil.copy(ROOT / "Makefile", directory)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of an outer make
    done = subprocess.run(
        ["make", "check"],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout


def test_the_types_are_checked_beside_the_tests_in_the_time_that_is_left(tmp_path: Path) -> None:
    code, printed = make_check(tmp_path)
    assert code == 0, printed
    own = os.nice(0)
    assert {f"this is mypy, {min(own + 19, 19)}", f"this is pytest, {own}"} <= set(printed.splitlines())


def test_a_wrong_type_fails_it_and_is_printed_after_the_tests(tmp_path: Path) -> None:
    code, printed = make_check(tmp_path, mypy=1)
    assert code != 0
    assert "this is pytest" in printed, "which ran to their end"
    assert printed.count(WRONG) == 2, "at once, and at the end"
    assert printed.rfind(WRONG) > printed.rfind("this is pytest")


@pytest.mark.parametrize("program", ["ruff", "pytest"])
def test_a_wrong_format_and_a_failed_test_fail_it(tmp_path: Path, program: str) -> None:
    code, printed = make_check(tmp_path, **{program: 1})
    assert code != 0
    assert ("this is pytest" in printed) == (program == "pytest"), "a wrong format is told before anything runs"

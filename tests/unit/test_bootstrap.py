"""`.ci/venv` on machines that lack something, and when it installs again. Java and Python are stubs of a few lines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from tests.foreign_files import MODULES, in_the_way, ran

SCRIPT = Path(__file__).parents[2] / ".ci" / "venv"
TOOLS = ("cat", "cksum", "cp", "date", "dirname", "grep", "id", "mkdir", "mv", "rm", "sed", "sh", "uname")

JAVA = """#!/bin/sh
echo 'Picked up JAVA_TOOL_OPTIONS: -Xmx1g' >&2
echo 'openjdk version "{version}" 2024-01-01' >&2
"""

# Answers what the script asks a Python, plays venv by copying itself, and writes down what else it is told.
PYTHON = """#!/bin/sh
case "$*" in
    *version_info*) echo {version} ;;
    *_base_executable*) echo {place} ;;
    *ensurepip*) exit {without_venv:d} ;;
    "-m venv "*) echo venv >>{log}; rm -rf "$4"; mkdir -p "$4/bin"; cp "$0" "$4/bin/python" ;;
    "-m pip "*" -r "*) echo requirements >>{log}; [ ! -e {log}.broken ] || {{ echo ERROR >&2; exit 1; }} ;;
    "-m pip "*" -e "*) echo clone >>{log}; [ ! -e {log}.broken ] || {{ echo ERROR >&2; exit 1; }} ;;
    *) echo "unexpected: $*" >>{log}; exit 9 ;;
esac
"""


@dataclass(frozen=True)
class Machine:
    """A clone and the only directory on its PATH."""

    clone: Path
    bin: Path

    @property
    def log(self) -> Path:
        return self.bin.parent / "log"

    def java(self, version: str, *, home: str = "") -> None:
        path = self.bin.parent / home / "bin" / "java" if home else self.bin / "java"
        self._stub(path, JAVA.format(version=version))

    def python(self, name: str, version: str, *, without_venv: bool = False) -> None:
        path = self.bin / name
        self._stub(path, PYTHON.format(version=version, without_venv=without_venv, place=path, log=self.log))

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run_in(None, environment)

    def run_in(self, cwd: Path | None, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.clone / ".ci" / "venv"],
            cwd=cwd,
            env={"PATH": str(self.bin), **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def actions(self, **environment: str) -> list[str]:
        """Run it, expect success, and return what it did this time."""
        self.log.write_text("")
        done = self.run(**environment)
        assert (done.returncode, done.stderr) == (0, "")
        return self.log.read_text().split()

    @staticmethod
    def _stub(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with a shell's tools and a fresh clone in a directory whose name has a space; no Java, no Python."""
    machine = Machine(clone=tmp_path / "my clone", bin=tmp_path / "bin")
    machine.bin.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (machine.bin / tool).symlink_to(os.path.realpath(found))
    (machine.clone / ".ci").mkdir(parents=True)
    shutil.copy(SCRIPT, machine.clone / ".ci" / "venv")
    (machine.clone / "requirements.txt").write_text("click==8.5.1\n")
    (machine.clone / "pyproject.toml").write_text("[project]\n")
    return machine


@pytest.fixture
def good_machine(machine: Machine) -> Machine:
    """A machine with Java 17 and Python 3.12."""
    machine.java("17.0.15")
    machine.python("python3.12", "3.12")
    return machine


def assert_refused(machine: Machine, *sentences: str, **environment: str) -> None:
    """Expect exit code 2 and one line for each sentence, each with a command, and no pip and no venv."""
    done = machine.run(**environment)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == len(sentences), done.stderr
    for line, sentence in zip(lines, sentences, strict=True):
        command = r"(apt-get update && .*apt-get install -y \S+.*|brew install \S+.*|pipx run uv .*)"
        assert re.fullmatch(re.escape(sentence) + "; install it with: (sudo )?" + command, line), line
    assert not machine.log.exists()
    assert not (machine.clone / ".venv").exists()


NEEDS_JAVA = "shelfwise needs Java 17 or 21 and"
NEEDS_PYTHON = "shelfwise needs Python 3.11, 3.12 or 3.13 and"


class TestWhatIsMissing:
    def test_no_java(self, machine: Machine) -> None:
        machine.python("python3.12", "3.12")
        assert_refused(machine, f"{NEEDS_JAVA} found none")

    @pytest.mark.parametrize(("version", "major"), [("11.0.22", "11"), ("1.8.0_392", "8"), ("22", "22")])
    def test_another_java(self, version: str, major: str, machine: Machine) -> None:
        machine.java(version)
        machine.python("python3.12", "3.12")
        assert_refused(machine, f"{NEEDS_JAVA} found Java {major}")

    def test_java_home_goes_before_path_as_it_does_for_spark(self, good_machine: Machine) -> None:
        good_machine.java("11.0.22", home="jdk11")
        home = str(good_machine.bin.parent / "jdk11")
        assert_refused(good_machine, f"{NEEDS_JAVA} found Java 11 at JAVA_HOME={home}", JAVA_HOME=home)
        assert_refused(good_machine, f"{NEEDS_JAVA} found none at JAVA_HOME=/nowhere", JAVA_HOME="/nowhere")

    def test_no_python(self, machine: Machine) -> None:
        machine.java("21.0.2")
        assert_refused(machine, f"{NEEDS_PYTHON} found none")

    def test_another_python(self, machine: Machine) -> None:
        machine.java("21.0.2")
        machine.python("python3", "3.10")
        assert_refused(machine, f"{NEEDS_PYTHON} found python3, which is Python 3.10")

    def test_python_without_venv(self, machine: Machine) -> None:
        machine.java("17.0.1")
        machine.python("python3", "3.11", without_venv=True)
        assert_refused(machine, f"{NEEDS_PYTHON} found python3 (3.11) without the modules venv and ensurepip")
        assert "python3.11-venv" in machine.run().stderr

    def test_the_python_that_was_asked_for_is_the_only_one_looked_at(self, good_machine: Machine) -> None:
        assert_refused(good_machine, f"{NEEDS_PYTHON} found none at PYTHON=/no/python", PYTHON="/no/python")

    def test_missing_java_and_python_are_reported_at_once(self, machine: Machine) -> None:
        assert_refused(machine, f"{NEEDS_JAVA} found none", f"{NEEDS_PYTHON} found none")


def test_files_with_names_of_libraries_in_the_working_directory_are_not_run(machine: Machine, tmp_path: Path) -> None:
    machine.java("17.0.1")
    directory = in_the_way(tmp_path / "project", MODULES)
    real = {"PYTHON": sys.executable, "PIP_NO_INDEX": "1"}  # what its pip is asked for fails in the end
    done = machine.run_in(directory, real)
    assert ran(directory) == []
    assert done.stdout.startswith("Installing 1 packages into .venv with Python 3."), done.stderr
    assert (machine.clone / ".venv" / "bin" / "pip").exists()


class TestWhatIsInstalled:
    EVERYTHING: ClassVar = ["venv", "requirements", "clone"]

    @pytest.mark.parametrize("version", ["17.0.15", "21.0.2", "21-ea"])
    @pytest.mark.parametrize(
        ("name", "python"),
        [("python3.13", "3.13"), ("python3.12", "3.12"), ("python3.11", "3.11"), ("python3", "3.11")],
    )
    def test_a_fresh_clone_installs_everything(self, version: str, name: str, python: str, machine: Machine) -> None:
        machine.java(version)
        machine.python(name, python)
        done = machine.run()
        assert done.returncode == 0
        assert re.fullmatch(
            rf"Installing 1 packages into .venv with Python {python}; .*\nInstalled in \d+ s\n", done.stdout
        )
        assert machine.log.read_text().split() == self.EVERYTHING

    def test_the_newest_python_is_taken(self, good_machine: Machine) -> None:
        good_machine.python("python3.11", "3.11")
        good_machine.python("python3.13", "3.13")
        assert "with Python 3.13;" in good_machine.run().stdout

    def test_java_of_java_home_is_enough(self, machine: Machine) -> None:
        machine.java("17.0.1", home="jdk17")
        machine.python("python3.12", "3.12")
        assert machine.actions(JAVA_HOME=str(machine.bin.parent / "jdk17")) == self.EVERYTHING

    def test_a_python_without_venv_is_passed_over(self, machine: Machine) -> None:
        machine.java("17.0.1")
        machine.python("python3.12", "3.12", without_venv=True)
        machine.python("python3.11", "3.11")
        assert machine.actions() == self.EVERYTHING

    def test_a_second_call_installs_nothing(self, good_machine: Machine) -> None:
        good_machine.actions()
        assert good_machine.actions() == []
        assert good_machine.run().stdout == ""

    def test_changed_requirements_install_everything_again(self, good_machine: Machine) -> None:
        good_machine.actions()
        (good_machine.clone / "requirements.txt").write_text("click==8.5.2\n")
        assert good_machine.actions() == self.EVERYTHING
        assert good_machine.actions() == []

    def test_a_changed_pyproject_installs_only_the_clone_again(self, good_machine: Machine) -> None:
        good_machine.actions()
        (good_machine.clone / "pyproject.toml").write_text("[project]\nname = 'x'\n")
        assert good_machine.actions() == ["clone"]
        assert good_machine.actions() == []

    def test_a_working_environment_keeps_its_python_until_another_is_asked_for(self, machine: Machine) -> None:
        machine.java("17.0.1")
        machine.python("python3.11", "3.11")
        machine.actions()
        machine.python("python3.12", "3.12")
        assert machine.actions() == []
        assert machine.actions(PYTHON=str(machine.bin / "python3.12")) == self.EVERYTHING

    def test_a_removed_python_installs_everything_again(self, good_machine: Machine) -> None:
        good_machine.actions()
        good_machine.python("python3.11", "3.11")
        (good_machine.bin / "python3.12").unlink()
        (good_machine.clone / ".venv" / "bin" / "python").unlink()
        assert good_machine.actions() == self.EVERYTHING

    def test_a_moved_clone_installs_everything_again(self, good_machine: Machine, tmp_path: Path) -> None:
        good_machine.actions()
        moved = Machine(clone=good_machine.clone.rename(tmp_path / "moved"), bin=good_machine.bin)
        assert moved.actions() == self.EVERYTHING

    def test_an_interrupted_installation_is_repeated(self, good_machine: Machine) -> None:
        broken = good_machine.bin.parent / "log.broken"
        broken.touch()
        done = good_machine.run()
        assert done.returncode == 1
        assert done.stderr == "ERROR\n"
        broken.unlink()
        assert good_machine.actions() == self.EVERYTHING

    def test_a_broken_update_does_not_pass_for_the_old_environment(self, good_machine: Machine) -> None:
        good_machine.actions()
        before = (good_machine.clone / "requirements.txt").read_text()
        (good_machine.clone / "requirements.txt").write_text("click==8.5.2\n")
        broken = good_machine.bin.parent / "log.broken"
        broken.touch()
        assert good_machine.run().returncode == 1
        broken.unlink()
        (good_machine.clone / "requirements.txt").write_text(before)
        assert good_machine.actions() == self.EVERYTHING

    def test_a_clone_that_did_not_install_does_not_pass_for_the_old_one(self, good_machine: Machine) -> None:
        good_machine.actions()
        (good_machine.clone / "pyproject.toml").write_text("[project]\nname = 'x'\n")
        broken = good_machine.bin.parent / "log.broken"
        broken.touch()
        assert good_machine.run().returncode == 1
        broken.unlink()
        (good_machine.clone / "pyproject.toml").write_text("[project]\n")
        assert good_machine.actions() == self.EVERYTHING

    def test_an_environment_made_by_hand_is_not_trusted(self, good_machine: Machine) -> None:
        (good_machine.clone / ".venv").mkdir()
        assert good_machine.actions() == self.EVERYTHING

"""What shelfwise makes in a home of its own can be read by its user alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.settings import private_home
from jobs.storage.modes import private_files, usual_files


@pytest.fixture(autouse=True)
def umask() -> Iterator[int]:
    """The umask of most users, which lets everybody read."""
    before = os.umask(0o022)
    yield 0o022
    assert os.umask(before) == 0o022, "what a block sets, it takes back"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def made(home: Path, name: str = "a") -> tuple[int, int]:
    """Return the modes of a directory and a file that are made in the home."""
    (home / name).mkdir(parents=True)
    (home / name / "file").write_text("rows")
    return mode(home / name), mode(home / name / "file")


def test_a_home_that_we_make_was_readable_by_everybody(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with private_files(home):
        assert made(home) == (0o700, 0o600)
    assert mode(home) == 0o700
    with private_files(home):
        assert made(home, "b") == (0o700, 0o600), "the next command finds the home"


def test_a_home_that_lets_others_in_keeps_its_modes(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with private_files(home):
        assert made(home) == (0o755, 0o644)
    assert mode(home) == 0o755


def test_child_processes_make_private_files_too(tmp_path: Path) -> None:
    with private_files(tmp_path / "home"):
        program = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()"
        subprocess.run([sys.executable, "-S", "-c", program, tmp_path / "file"], check=True)
    assert mode(tmp_path / "file") == 0o600


def test_a_file_that_an_option_names_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    with private_files(tmp_path / "home"):
        with usual_files():
            assert made(tmp_path, "asked for") == (0o755, 0o644)
        assert made(tmp_path, "ours") == (0o700, 0o600)
    with usual_files():
        assert made(tmp_path, "without a command") == (0o755, 0o644)


def test_the_home_whose_files_are_private_is_the_one_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELFWISE_HOME", str(tmp_path / "home"))
    assert private_home() == tmp_path / "home"
    monkeypatch.setenv("SHELFWISE_HOME", "s3://bucket/home")
    monkeypatch.setenv("SHELFWISE_LOCAL_DIR", str(tmp_path / "local"))
    assert private_home() == tmp_path / "local"
    monkeypatch.setenv("SHELFWISE_SHARED", "1")
    assert private_home() is None
    monkeypatch.setenv("SHELFWISE_SHARED", "perhaps")
    assert private_home() is not None, "a wrong value opens nothing"

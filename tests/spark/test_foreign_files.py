"""Files of the working directory that are called as libraries are: they are nobody's libraries, and are never run."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.predict.config import PredictConfig
from jobs.predict.quarantine import Quarantine
from jobs.predict.quarantine_helper import HelperSetup
from jobs.storage.places import Places
from tests.conftest import SmallShop
from tests.deadly import ROOT, helper, write_deadly
from tests.foreign_files import MODULES, PACKAGES, in_the_way, ran
from tests.unit.predict.test_predict_loop import DAY, RELEASE

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("names", [MODULES, PACKAGES], ids=["modules", "packages"])
def test_a_night_runs_no_file_of_its_directory_with_the_name_of_a_library(
    names: tuple[str, ...], shop: SmallShop, tiny_release: Path, tmp_path: Path
) -> None:
    shop.add_many(["p1", "p2"])
    directory = in_the_way(tmp_path / "project", names)
    environment = {**os.environ, "SHELFWISE_HOME": str(tmp_path / "home"), "SHELFWISE_DRIVER_MEMORY": "1g"}
    environment.pop("PYTHONSAFEPATH", None)
    command = [str(Path(sys.executable).with_name("shelfwise")), "nightly", "--catalog", shop.catalog]
    command += ["--run-date", "2026-11-01", "--release", str(tiny_release), "--json"]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
    assert ran(directory) == []
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert (told["state"], told["predict"]["images"], told["predict"]["images_failed"]) == ("published", 2, 0)


@pytest.mark.parametrize(
    "module", ["models.train_arrays", "models.train_fashion_mnist", "models.lite0", "jobs.demo.nights"]
)
def test_the_docstring_of_a_program_shows_the_call_with_safe_path(module: str) -> None:
    page = importlib.import_module(module).__doc__ or ""
    assert f"python -P -m {module} " in page
    assert f"python -m {module} " not in page


def test_a_program_called_with_safe_path_runs_no_such_file(tmp_path: Path) -> None:
    directory = in_the_way(tmp_path / "project", MODULES + PACKAGES)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-m", "models.train_arrays", "--help"]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
    assert ran(directory) == []
    assert (done.returncode, done.stdout.split()[0]) == (0, "Usage:"), done.stderr


def test_a_helper_of_the_quarantine_runs_no_file_with_the_name_of_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = in_the_way(tmp_path / "project", MODULES)
    config = PredictConfig("run-1", (DAY,), Places(tmp_path / "home"), tmp_path / "release", batch_size=4)
    shard = write_deadly(config.places, 4)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.chdir(directory)
    with Quarantine(HelperSetup(config, config.release_dir, RELEASE), helper()) as ward:
        [(batch, _)] = ward.answers(shard, shard)
    assert ran(directory) == []
    assert len(batch) == 4

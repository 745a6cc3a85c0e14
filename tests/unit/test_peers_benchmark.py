"""The comparison with other systems runs its nights in the precision that it says."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.predict.config import Computing, PredictConfig
from jobs.predict.conversions import converted_files
from jobs.predict.precision import Processor, plan
from jobs.storage.places import Places
from models.release import load_release
from models.serving.devices import processor
from tests.benchmarks import bench_peers


def environment(tmp_path: Path, release_dir: Path, precision: str) -> dict[str, str]:
    (tmp_path / "home").mkdir()
    options = argparse.Namespace(precision=precision)
    return bench_peers._ours(Path("catalog.csv"), tmp_path / "home", release_dir, options)[0]


def test_a_night_in_float32_compares_nothing_beside(
    tmp_path: Path, tiny_release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_peers, "passed", lambda *_: pytest.fail("float32 needs no evidence"))
    assert environment(tmp_path, tiny_release, "float32")["SHELFWISE_PRECISION"] == "float32"


def test_the_home_of_a_night_in_bfloat16_knows_that_the_release_has_passed(tmp_path: Path, tiny_release: Path) -> None:
    settings = environment(tmp_path, tiny_release, "bfloat16")
    assert "SHELFWISE_PRECISION" not in settings
    release, computing = load_release(tiny_release), Computing(engines_dir=Path(settings["SHELFWISE_ENGINES_DIR"]))
    home = Places(Path(settings["SHELFWISE_HOME"]))
    config = PredictConfig("nightly-2026-01-01", (), home, tiny_release, computing=computing)
    files = converted_files(config, release)
    config = replace(config, computing=replace(computing, converted=files))
    here = Processor(processor().name, bfloat16=True)
    assert plan(config, release, [here], begun=None, shards=3).precision == "bfloat16"

"""Two networks in one finetune, and a kill in the second: the first is not trained again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.evaluation.evaluate import load_predictor
from jobs.storage.places import Places
from jobs.training.finetune import FinetuneConfig, NetworkPlan
from models.networks.registry import ARCHITECTURES
from models.training.recipe import NOTHING
from tests.labelled import write_labelled
from tests.unit.training.test_finetune import PRODUCTS, RECIPE, architecture_square, config

CHILD = """
import sys, time
from pathlib import Path
from jobs.training import finetune
from tests.unit.training import test_finetune_killed as here
from models.networks.registry import ARCHITECTURES, INPUT_PX
for name in here.PAIR:
    ARCHITECTURES[name], INPUT_PX[name] = "tests.tiny_network", (16, 16)
def watch(name):
    def told(epoch, step, steps, figures):
        print(name, epoch, step, flush=True)
        if "wait" in sys.argv and (name, epoch, step) == ("small", 3, 2):
            time.sleep(600)  # for its end
    return told
finetune.run(here.pair(Path(sys.argv[1])), watch=watch)
"""
PAIR = {"tiny": 16, "small": 24}


def pair(home: Path) -> FinetuneConfig:
    """Two networks of different inputs, the head of each alone first."""
    recipe = replace(RECIPE, head_epochs=1, head_learning_rate=0.02)
    return config(home, networks=tuple(NetworkPlan(name, side_px, NOTHING, recipe) for name, side_px in PAIR.items()))


def test_the_same_command_resumes_a_killed_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL in the second network's third epoch; the second call begins with that, and ends with a release."""
    write_labelled(Places(tmp_path), PRODUCTS)
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    root = Path(__file__).parents[3]
    child = subprocess.Popen([*command, "wait"], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("small 3 2"):
            os.kill(child.pid, signal.SIGKILL)
            break
    child.wait()
    assert child.returncode == -signal.SIGKILL
    assert not (tmp_path / "releases").exists()
    again = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    lines = again.stdout.splitlines()
    assert lines[0].startswith("small 3 1"), f"it began with {lines[0]!r}"
    assert not any(line.startswith("tiny") for line in lines), "that was trained before"
    for name in PAIR:
        monkeypatch.setitem(ARCHITECTURES, name, "tests.tiny_network")
    place = tmp_path / "releases" / "colours-2"
    predictor, release, _ = load_predictor(place)
    assert [(one.architecture, one.input_px) for one in release.networks] == list(PAIR.items())
    assert len({one.weights_sha256 for one in release.networks}) == 2
    assert sum(one.ensemble_weight for one in release.networks) == pytest.approx(1)
    assert [len(release.training[f"{name}_history"]) for name in PAIR] == [5, 5]
    assert {path.name for path in place.glob("*.png")} == {"tiny-curves.png", "small-curves.png"}
    assert {f"{name}_test_accuracy" for name in PAIR} <= set(release.metrics)
    assert release.metrics["ensemble_test_accuracy"] == 1.0
    assert set(predictor.predict(np.stack([architecture_square(0, 24)])).by_network) == set(PAIR)

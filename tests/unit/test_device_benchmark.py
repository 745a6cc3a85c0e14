"""The script that measures a GPU machine runs here too, small: on the processor, with the backend that is installed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.benchmarks.device_kit import COMPILED, PURE
from tests.benchmarks.on_device import STEPS
from tests.extent import ALL

ROOT = Path(__file__).parents[2]
BARE_PYTHON = """#!{python}
import runpy, sys
class Absent:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Absent)
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
"""A Python that lacks what a GPU machine lacks, and runs only `-m MODULE`."""

STAND_IN = "tensorflow"
"""Backend of Keras in the place of JAX or PyTorch, which this environment lacks."""

BROUGHT = (STAND_IN, "fsspec", "h5py", "opencv-python-headless", "pandas", "pyarrow")
"""Packages that a GPU machine has; what they need, it has too."""


def absent() -> set[str]:
    """Return the modules of this environment that neither a GPU machine nor the kit brings."""
    there = {canonicalize_name(re.split("[=<>]", name)[0]) for name in (*PURE, *COMPILED)} | needs(*BROUGHT)
    return {
        module
        for module, packages in packages_distributions().items()
        if not {canonicalize_name(name) for name in packages} & {*there, "shelfwise"}
    }


def needs(*packages: str) -> set[str]:
    """Return packages of this environment with all that they need."""
    found: set[str] = set()
    open_ = [canonicalize_name(name) for name in packages]
    while open_:
        name = open_.pop()
        if name in found:
            continue
        found.add(name)
        needed = [Requirement(each) for each in requires(name) or ()]
        open_ += [
            canonicalize_name(each.name) for each in needed if not each.marker or each.marker.evaluate({"extra": ""})
        ]
    return found


USUAL = ("machine", "reader", "b0-full", "agreement", "compare", "table")
EVERY = (
    *("machine", "b0-half", "agreement", "reader", "both-half", "b0-full", "training", "tests", "both-full"),
    *("compare", "table"),
)
"""All steps of the script, in its order, and the comparison that another machine makes."""


def test_every_step_of_the_script_is_in_the_longer_run() -> None:
    script = (ROOT / "tests/benchmarks/on_device.sh").read_text(encoding="utf-8")
    assert f"${{*:-{' '.join(step for step in EVERY if step != 'compare')}}}" in script
    assert set(EVERY) == {*STEPS, "tests"} - {"decode"}, "`reader` runs `decode`"


def figures_of(tmp_path: Path, *steps: str) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """Run steps of the script, small; return the figures by step, and what was printed."""
    kit, out = tmp_path / "kit", tmp_path / "out"
    words = ["-m", "tests.benchmarks.device_kit", str(kit), "--no-wheels", "--count", "8"]
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True)
    bare = tmp_path / "python"
    bare.write_text(BARE_PYTHON.format(python=sys.executable, absent=absent()), encoding="utf-8")
    bare.chmod(0o700)
    small = {"PYTHON": str(bare), "KERAS_BACKEND": STAND_IN, "SHELFWISE_IMAGES": "8", "SHELFWISE_BATCHES": "4"}
    command = ["tests/benchmarks/on_device.sh", str(kit), str(out), *steps]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **small}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    found: dict[str, list[dict[str, Any]]] = {}
    for line in (out / "figures.jsonl").read_text().splitlines():
        figures = json.loads(line)
        found.setdefault(figures["step"], []).append(figures)
    return found, done.stdout


def check_speed(figures: dict[str, list[dict[str, Any]]], step: str, printed: str, name: str) -> None:
    """Check what a step of the networks measured, and its line in the table."""
    [speed] = figures[f"speed {step}"]
    assert min(speed["forward_rate"], speed["predict_rate"], speed["loop_rate"]) > 0
    precision = step.split()[1]
    assert f"| {name} | {precision} | 4 | {speed['forward_rate']:,.0f} |" in printed


def check_answers(figures: dict[str, list[dict[str, Any]]]) -> None:
    """Check the comparison of both precisions on articles, and that of the answers on another machine: this one."""
    [halved], [compared] = figures["agreement"], figures["compare answers"]
    assert (halved["images"], halved["finite"], compared["images"], compared["finite"]) == (32, True, 32, True)
    assert 0 < halved["largest_difference"] < 0.1
    assert compared["largest_difference"] < 1e-5
    assert compared["same_first_choice"] == compared["same_status"] == 1


@pytest.mark.timeout(900)
def test_the_device_script_measures_the_networks_and_the_predict_loop(tmp_path: Path) -> None:
    figures, printed = figures_of(tmp_path, *USUAL)
    assert figures["machine"][0]["device"].startswith("CPU, ")
    assert {line["side_px"] for line in figures["reader"]} == {224, 299}
    assert min(line["rate"] for line in figures["reader"] if line["what"] == "decoding alone") > 0
    check_speed(figures, "b0 float32", printed, "EfficientNetB0, 224 px")
    check_answers(figures)
    assert "\n- read and decoded to 224 px, decoding alone: " in printed
    assert "\n- half against full precision on 32 articles: the same first choice in " in printed


def test_a_machine_whose_time_is_over_prints_the_table_of_what_there_is(tmp_path: Path) -> None:
    """Whoever lends it ends the whole command, and a command that was ended prints no table."""
    (tmp_path / "kit").mkdir()
    given = {**os.environ, "PYTHON": sys.executable, "KERAS_BACKEND": STAND_IN, "SHELFWISE_SECONDS": "1"}
    command = ["tests/benchmarks/on_device.sh", str(tmp_path / "kit"), str(tmp_path / "out")]
    (tmp_path / "out").mkdir()
    (tmp_path / "out/figures.jsonl").write_text('{"step": "reader", "left_out": "224 px, 4 threads"}\n')
    done = subprocess.run(
        [*command, "machine", "both-full", "table"], cwd=ROOT, env=given, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "left out: there is no time for it" in done.stdout
    assert "- reader: 224 px, 4 threads was left out, as there was no time" in done.stdout
    assert done.stdout.splitlines()[-1] == "failed: machine both-full "


if ALL:

    @pytest.mark.timeout(1800)
    def test_every_step_of_the_device_script_runs(tmp_path: Path) -> None:
        figures, printed = figures_of(tmp_path, *EVERY)
        for step in ("b0 mixed_float16", "b0 float32"):
            check_speed(figures, step, printed, "EfficientNetB0, 224 px")
        for step in ("both mixed_float16", "both float32"):
            check_speed(figures, step, printed, "both networks, 224 and 299 px")
            assert figures[f"speed {step}"][0]["judged"]
        check_answers(figures)
        [training], [compared] = figures["training"], figures["compare training"]
        assert training["images"] == 70
        assert min(training["epoch_seconds"]) > 0
        assert compared["largest_difference"] < 1e-3, "the same weights answer the same"
        assert "\n- one epoch of EfficientNetB0 at 224 px, 70 articles in half precision: " in printed
        assert "skipped" in printed, "the tests of GPUs ran, and found none"


def test_a_step_that_fails_is_named_and_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "kit").mkdir()
    command = ["tests/benchmarks/on_device.sh", str(tmp_path / "kit"), str(tmp_path / "out"), "table"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "failed: table" in done.stdout

"""The script that measures a GPU machine runs here too, small: on the processor, with the backend that is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

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

ABSENT = {"airflow", "alembic", "openpyxl", "pydantic", "pydantic_settings", "pyspark", "sqlalchemy", "typer"}


def test_the_device_script_measures_the_networks_and_the_predict_loop(tmp_path: Path) -> None:
    kit, out = tmp_path / "kit", tmp_path / "out"
    words = ["-m", "tests.benchmarks.device_kit", str(kit), "--no-wheels", "--count", "8"]
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True)
    bare = tmp_path / "python"
    bare.write_text(BARE_PYTHON.format(python=sys.executable, absent=ABSENT), encoding="utf-8")
    bare.chmod(0o700)
    small = {"PYTHON": str(bare), "KERAS_BACKEND": "tensorflow", "SHELFWISE_IMAGES": "8", "SHELFWISE_BATCHES": "4"}
    command = ["tests/benchmarks/on_device.sh", str(kit), str(out), "machine", "reader", "b0-full", "table"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **small}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    figures = [json.loads(line) for line in (out / "figures.jsonl").read_text().splitlines()]
    assert figures[0]["device"].startswith("CPU, ")
    [speed] = [line for line in figures if "loop_rate" in line]
    assert min(speed["forward_rate"], speed["predict_rate"], speed["loop_rate"]) > 0
    assert f"| EfficientNetB0, 224 px | float32 | 4 | {speed['forward_rate']:,.0f} |" in done.stdout


def test_a_step_that_fails_is_named_and_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "kit").mkdir()
    command = ["tests/benchmarks/on_device.sh", str(tmp_path / "kit"), str(tmp_path / "out"), "table"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "failed: table" in done.stdout

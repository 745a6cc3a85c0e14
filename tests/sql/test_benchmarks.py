"""The benchmarks of the database still run, and print the figures by which two environments are compared."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.environments import BENCHMARKS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "arguments"), [("publish", "--rows 2000 --repeats 1"), ("queries", "--products 2000")]
)
def test_a_benchmark_of_the_database_runs(name: str, arguments: str) -> None:
    command = [sys.executable, "-m", f"tests.benchmarks.bench_{name}", *arguments.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    for figure, pattern in BENCHMARKS[name].figures.items():
        assert re.search(pattern, done.stdout, re.MULTILINE), figure


def test_the_benchmark_of_the_review_pages_runs_on_both_databases() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.bench_review", "--products", "5000", "--repeats", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    for engine in ("postgresql", "sqlite"):
        assert re.search(rf"{engine}: status review, surest: \d+ ms, .*; [1-9]\d* listed, 60 shown", done.stdout)
        assert re.search(rf"{engine}: 60 decisions written: \d+ ms", done.stdout)

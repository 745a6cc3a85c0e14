"""The benchmark of publishing against another commit, with made-up benchmarks of both trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import bench_publish

PROGRAM = """
import sys
rows = int(sys.argv[sys.argv.index("--rows") + 1])
print(f"{{rows}} rows: bare COPY  400000 rows/s, new {rate:8.0f} rows/s (0.1 of it), unchanged  90000 rows/s (0.2)")
"""


def tree(directory: Path, rate: int) -> Path:
    """Make a tree whose benchmark publishes so many rows a second; return its root."""
    benchmarks = directory / "tests" / "benchmarks"
    benchmarks.mkdir(parents=True)
    for package in (directory / "tests", benchmarks):
        (package / "__init__.py").write_text("")
    (benchmarks / "bench_publish.py").write_text(PROGRAM.format(rate=rate))
    return directory


def test_the_seconds_here_are_given_over_those_of_the_other_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = tree(tmp_path / "here", 20_000), tree(tmp_path / "there", 30_000)
    monkeypatch.setattr(bench_publish, "__file__", str(here / "tests" / "benchmarks" / "bench_publish.py"))
    bench_publish.measure_against(there, 600_000, repeats=2)
    *rounds, median = capsys.readouterr().out.splitlines()
    assert rounds == [f"600000 rows: new 30.0 s here, 20.0 s in {there}: 1.50 times"] * 2
    assert median == "median: 1.50 times the seconds"


def test_a_tree_whose_benchmark_prints_something_else_is_named(tmp_path: Path) -> None:
    other = tree(tmp_path, 1)
    (other / "tests" / "benchmarks" / "bench_publish.py").write_text("print('nothing')")
    with pytest.raises(SystemExit, match=f"the benchmark of {other} printed no rate of new rows: nothing"):
        bench_publish.seconds_of_new(other, 10)

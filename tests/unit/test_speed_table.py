"""README's table of speed is made of what the benchmarks print, in one run on one machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import all as speed
from tests.benchmarks import serving
from tests.benchmarks.all import BEGIN, END, ROWS, machine, main

ROOT = Path(__file__).parents[2]

PRINTED = {
    "predict": (
        "# 2026-11-01 02:00 UTC, 2 cores, 768 photographs a round, networks: efficientnetb0, CPU, OpenVINO, float32\n"
        "round  function/s  bare/s  whole/s  of function  of bare  decoding  waiting  predicting  writing  of it "
        "thumbnails (seconds)\n"
        "    1        50.0   100.0     98.0        1.960    0.980     20.00      1.00       30.00      0.10      0.05\n"
        "    2        51.0   100.0    102.0        2.000    1.020     20.00      0.00       29.00      0.10      0.05\n"
        "median of the whole step against TensorFlow's compiled function: 1.980\n",
        "1.98 (1.96 to 2.00); 1.00 (0.98 to 1.02) of the engine alone; waited for images 1.7 % of the time",
    ),
    "start": (
        "# 2026-11-01 02:00 UTC, 2 cores, networks: shipped, medians of 5 processes, 256 images\n"
        "OpenVINO  loading   1.10 s  first answer   2.60 s  peak   300.0 MiB\n"
        "Keras     loading   8.10 s  first answer   9.80 s  peak  1200.0 MiB\n"
        "memory by OpenVINO of that by Keras: 0.250\n",
        "OpenVINO 1.1 s to load, 2.6 s to the first answer, 300 MiB; Keras 8.1 s to load, 9.8 s to the first answer, "
        "1200 MiB: 0.25 of it",
    ),
    "gate": (
        "gated      300.0 images/s  peak   320.0 MiB\nopen       305.0 images/s  peak   310.0 MiB\n"
        "the gate takes 1.52 % of the step, in rounds of 1.40 to 1.80 %, and 10.5 MB of a process\n",
        "1.5 % of the time, 10 MB of a process",
    ),
    "memory": (
        "  2000 images: peak   800.0 MiB\n 20000 images: peak   832.0 MiB\nratio: 1.040\n",
        "1.04 (832 and 800 MiB)",
    ),
    "incremental": (
        "night 1:  162.0 s, 20000 stored, 0 unchanged, 9 bytes read\n"
        "night 2:   26.0 s, 0 stored, 20000 unchanged, 0 bytes read\nratio: 0.160\n",
        "0.16 (26 s and 162 s)",
    ),
    "ingest": (
        "round  ms of a processor, before  now   images/s, before  now   times as many\n"
        "    1                       4.00 2.00               220   441           2.00\n"
        "median: 2.05 times as many images in the same time of a processor\n",
        "2.05 times as many; 441 images a second",
    ),
    "catalog": (
        "form     MB       how      seconds    rows/s   peak MiB  of a tenth  ratio\n"
        "parquet     318.3 alone        85.9   116,381      217.3       213.5  1.018\n"
        "parquet     318.3 spark       103.1    97,013\n",
        "parquet 86 s in one process, memory 1.02 (217 MiB); parquet 103 s by Spark (97,013 rows a second)",
    ),
    "training": ('{"images": 256, "images_per_second_memory_dataset": [[9.1, 9.0]], "ratio": 0.98}\n', "0.98"),
    "scaling": (
        "    1            50.0             92.0   1.84\nmedian ratio: 1.84\n",
        "1.84 times the images a second",
    ),
    "stores": (
        "round  disk/s  store/s  ratio\n    1    10.0     10.3  1.030\n    2    10.0      9.9  0.990\n",
        "1.01 (0.99 to 1.03)",
    ),
    "publish": (
        "1000000 rows: bare COPY   300000 rows/s, new    54000 rows/s (0.180 of it), unchanged 90000 rows/s (0.300)\n",
        "0.18: 54,000 rows a second",
    ),
    "departures": (
        "1000000 rows: first 16.80 s, 1 % leave, 1 % return and 1 % are new 3.60 s, the same again 1.00 s, "
        "first night again 14.00 s\n",
        "3.6 s, where the first night took 16.8 s",
    ),
    "readers": (
        "nothing for   5.0 s: 9 queries, median 0.10 ms, 99 % 0.20 ms, longest 10.0 ms\n"
        "publishing for  63.0 s: 9 queries, median 0.10 ms, 99 % 0.20 ms, longest 160.0 ms\n",
        "0.16 s of the 63 s",
    ),
    "queries": (
        "current_categories of a product: 0.100 ms, 1.10 times the lookup\n"
        "product_history: 0.100 ms, 1.14 times the lookup\n"
        "review_queue: 0.400 ms, 4.40 times the lookup\ncategory_counts: 0.200 ms, 2.40 times the lookup\n",
        "current category 1.1, history 1.1, a page to review 4.4, counts by category 2.4",
    ),
    "review": (
        "".join(
            f"{engine}: status review, surest: 27 ms, longest 37 ms; 2000 listed, 60 shown\n"
            f"{engine}:   of it the list: 15 ms, longest 20 ms\n"
            f"{engine}: title, least_sure: 96 ms, longest 110 ms; 716 listed, 3 shown\n"
            f"{engine}: progress: 538 ms, longest 596 ms\n"
            f"{engine}: 60 decisions written: 36 ms, longest 44 ms\n"
            for engine in ("postgresql", "sqlite")
        ),
        "sqlite 27 to 96 ms, and 36 ms for the decisions; postgresql 27 to 96 ms, and 36 ms for the decisions",
    ),
    "thumbnails": (
        "from   kept_seconds  made_seconds  searched_seconds\ndisk          0.03          0.35  1.00\n"
        "store         1.20          2.30  9.00\n",
        "disk 0.03 s, store 1.20 s",
    ),
    "peers_networks": (
        "system     whole night, s   best   images/s beyond a quarter\n"
        "shelfwise  150.0             150.0     160.4\ndaft       300.0             300.0      71.0\n"
        "ray        600.0             600.0      31.0\nspark      310.0             310.0      69.9\n",
        "shelfwise 160, daft 71, ray 31, spark 70 images a second",
    ),
    "peers": (
        "the best peer, daft, takes 1.12 times as long as shelfwise\n",
        "the best of the three, daft, takes 1.12 times as long",
    ),
}
for of, same in (("predict", "predict_both"), ("predict", "predict_bfloat16"), ("gate", "gate_both")):
    PRINTED[same] = PRINTED[of]
for of in ("predict_both", "peers"):
    PRINTED[f"{of}_bfloat16"] = PRINTED[of]
PRINTED["catalog_sheets"] = PRINTED["catalog"]


@pytest.fixture(autouse=True)
def peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Python of the peers' environment, which `make peers` has built."""
    python = tmp_path / "peers" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setattr(speed, "PEERS", tmp_path / "peers")
    return python


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A directory in which every benchmark was measured on this machine."""
    directory = tmp_path / "figures"
    directory.mkdir()
    for name, (printed, _) in PRINTED.items():
        (directory / f"{name}.txt").write_text(printed, encoding="utf-8")
    return directory


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["all", *map(str, words)])
    assert main() == 0


@pytest.mark.parametrize("name", ROWS)
def test_the_figure_of_a_row_is_read_from_what_its_benchmark_prints(name: str) -> None:
    printed, figure = PRINTED[name]
    assert ROWS[name].figure(printed) == figure
    with pytest.raises(ValueError, match=r"printed|values to unpack"):
        ROWS[name].figure("something else\n")


@pytest.mark.parametrize("name", ROWS)
def test_every_row_names_a_benchmark(name: str) -> None:
    module = ROWS[name].arguments.split()[0]
    assert (ROOT / "tests" / "benchmarks" / f"bench_{module}.py").is_file()


def test_readme_gets_the_table_and_the_machine_and_nothing_else_changes(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}an old table\n{END}after\n", encoding="utf-8")
    run(monkeypatch, "--kept", kept, "--readme", readme)
    written = readme.read_text(encoding="utf-8")
    assert written.startswith(f"before\n{BEGIN}Measured on ")
    assert written.endswith(f"|\n{END}after\n")
    assert "| `bench_publish --rows 1000000` | 0.18: 54,000 rows a second |" in written
    assert written.count("\n| ") == len(ROWS) + 2


def test_the_page_alone_is_enough_and_what_is_printed_is_kept_where_git_looks_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert speed.KEPT.relative_to(ROOT).parts == (".shelfwise", "figures")
    assert ".shelfwise/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    kept, readme, names = tmp_path / "new" / "figures", tmp_path / "README.md", list(ROWS)
    monkeypatch.setattr(speed, "KEPT", kept)
    readme.write_text(f"before\n{BEGIN}an old table\n{END}after\n", encoding="utf-8")
    started: list[str] = []

    def played(command: list[str], **_options: object) -> object:
        name = names[len(started)]
        started.append(" ".join(command[2:]))
        return type("Done", (), {"returncode": 0, "stdout": PRINTED[name][0]})

    monkeypatch.setattr(subprocess, "run", played)
    run(monkeypatch, "--readme", readme)
    assert started == [f"tests.benchmarks.bench_{row.arguments}" for row in ROWS.values()]
    written = readme.read_text(encoding="utf-8")
    assert [line.split("`")[1] for line in written.splitlines() if "`bench_" in line] == [
        f"bench_{row.arguments}" for row in ROWS.values()
    ]
    assert sorted(file.name for file in kept.iterdir()) == sorted(["machine.txt", *(f"{name}.txt" for name in ROWS)])
    run(monkeypatch, "--readme", readme)
    assert len(started) == len(ROWS), "nothing that is kept is measured again"


def test_peers_that_are_not_installed_are_said_before_anything_is_measured(
    kept: Path, peers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peers.unlink()
    for name in ("predict", "peers_networks"):
        (kept / f"{name}.txt").unlink()
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a benchmark was started"))
    with pytest.raises(SystemExit):
        run(monkeypatch, "--kept", kept)
    assert "does not exist; run `make peers` first" in capsys.readouterr().err
    run(monkeypatch, "--kept", kept, "--only", "peers")
    assert "takes 1.12 times as long" in capsys.readouterr().out


def test_a_run_that_was_stopped_measures_only_what_is_missing(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (kept / "publish.txt").unlink()
    started: list[list[str]] = []

    def measured(command: list[str], **_options: object) -> object:
        started.append(command)
        return type("Done", (), {"returncode": 0, "stdout": PRINTED["publish"][0]})

    monkeypatch.setattr(subprocess, "run", measured)
    run(monkeypatch, "--kept", kept)
    assert [command[1:] for command in started] == [["-m", "tests.benchmarks.bench_publish", "--rows", "1000000"]]
    assert "54,000 rows a second" in capsys.readouterr().out


def test_a_processor_without_bfloat16_is_said_in_its_rows(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serving, "multiplies_bfloat16", lambda: False)
    assert not serving.lacks_bfloat16("float32")
    assert serving.lacks_bfloat16("bfloat16")
    (kept / "peers_bfloat16.txt").write_text(capsys.readouterr().out, encoding="utf-8")
    run(monkeypatch, "--kept", kept, "--only", "peers_bfloat16")
    assert capsys.readouterr().out.endswith(
        "| `bench_peers --images 2000 --precision bfloat16` "
        "| not measured: this processor has no instructions for bfloat16 |\n"
    )


def test_a_benchmark_that_fails_leaves_readme_alone(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}an old table\n{END}", encoding="utf-8")
    (kept / "peers.txt").unlink()
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: type("Done", (), {"returncode": 2, "stdout": "a part"}))
    with pytest.raises(SystemExit, match="peers ended with 2; run the same command again to go on with it"):
        run(monkeypatch, "--kept", kept, "--readme", readme)
    assert "an old table" in readme.read_text(encoding="utf-8")
    assert not (kept / "peers.txt").exists()


def test_figures_of_two_machines_are_not_mixed(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine(kept) == machine(kept)
    monkeypatch.setattr(speed, "cpu_model", lambda: "Another Processor")
    with pytest.raises(SystemExit, match=r"has figures of another machine, .* give another directory with --kept"):
        machine(kept)


def test_readme_has_the_marks_of_the_table() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert page.count(BEGIN) == page.count(END) == 1

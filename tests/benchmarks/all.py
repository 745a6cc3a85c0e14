"""Measure README's table of speed anew: every row in one run on one machine, which the table names.

    make peers
    python -m tests.benchmarks.all --readme README.md
    python -m tests.benchmarks.all --readme README.md --photos DIRECTORY --kept DIRECTORY
    python -m tests.benchmarks.all --only publish --only review

Each row is one benchmark with its arguments. What it printed is kept in a file below `.shelfwise/figures`, or in the
directory of `--kept`, so that a run that was stopped goes on with the rows that are missing; delete the directory to
measure all of them again. Leave the machine alone meanwhile: the whole table takes some hours. README is changed only
when all rows are there, between its two marks.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.serving.devices import cpu_model
from tests.benchmarks.bench_peers import PEERS
from tests.benchmarks.photos import stamp
from tests.benchmarks.serving import NO_BFLOAT16

BEGIN, END = "<!-- speed -->\n", "<!-- end of speed -->\n"
"""Marks in README around what is written."""

KEPT = Path(__file__).parents[2] / ".shelfwise" / "figures"
"""Directory of what the benchmarks printed, unless another is given."""

_NUMBER = r"\s*([\d,]*\.?\d+)"


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        what: What is measured, and against what.
        arguments: Command line behind `python -m tests.benchmarks.bench_`.
        figure: Makes the row's figure of what the benchmark printed.
        photos: Whether it takes `--photos`.
    """

    what: str
    arguments: str
    figure: Callable[[str], str]
    photos: bool = False


def numbers(pattern: str, printed: str) -> list[float]:
    """Return the value of a pattern's group at each place of a text.

    Raises:
        ValueError: If the text has no such place.
    """
    found = [float(value.replace(",", "")) for value in re.findall(pattern, printed, re.MULTILINE)]
    if not found:
        raise ValueError(f"nothing of what was printed is like {pattern}")
    return found


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Write the median of rounds, and the lowest and highest of several."""
    median = f"{statistics.median(values):{form}}"
    return f"{median} ({min(values):{form}} to {max(values):{form}})" if len(values) > 1 else median


def _predict(printed: str) -> str:
    of_function, of_bare = (numbers(rf"^ +\d+ +(?:{_ANY} +){{{place}}}{_NUMBER}", printed) for place in (3, 4))
    waiting, predicting = (sum(numbers(rf"^ +\d+ +(?:{_ANY} +){{{place}}}{_NUMBER}", printed)) for place in (6, 7))
    waited = 100 * waiting / (waiting + predicting)
    return f"{spread(of_function)}; {spread(of_bare)} of the engine alone; waited for images {waited:.1f} % of the time"


def _start(printed: str) -> str:
    told = []
    for engine in ("OpenVINO", "Keras"):
        loading, first, peak = (
            numbers(rf"^{engine} .*{name}{_NUMBER}", printed)[0] for name in ("loading", "first answer", "peak")
        )
        told.append(f"{engine} {loading:.1f} s to load, {first:.1f} s to the first answer, {peak:.0f} MiB")
    return f"{'; '.join(told)}: {numbers(f'^memory by OpenVINO of that by Keras:{_NUMBER}', printed)[0]:.2f} of it"


def _gate(printed: str) -> str:
    share, memory = (
        numbers(pattern, printed)[0] for pattern in (rf"^the gate takes{_NUMBER} %", rf"and{_NUMBER} MB of a process")
    )
    return f"{share:.1f} % of the time, {memory:.0f} MB of a process"


def _memory(printed: str) -> str:
    less, more = sorted(numbers(rf"images: peak{_NUMBER} MiB", printed))
    return f"{more / less:.2f} ({more:.0f} and {less:.0f} MiB)"


def _incremental(printed: str) -> str:
    first, second = numbers(rf"^night \d:{_NUMBER} s", printed)
    return f"{second / first:.2f} ({second:.0f} s and {first:.0f} s)"


def _catalog(printed: str) -> str:
    found = re.findall(
        rf"^(\S+) +{_ANY} +(alone|spark){_NUMBER}{_NUMBER}(?:{_NUMBER}{_NUMBER}{_NUMBER})?$", printed, re.M
    )
    if not found:
        raise ValueError("no form of a catalog was printed")
    told = []
    for form, how, seconds, rate, peak, _tenth, ratio in found:
        if how == "spark":
            told.append(f"{form} {float(seconds):.0f} s by Spark ({rate} rows a second)")
        else:
            told.append(
                f"{form} {float(seconds):.0f} s in one process, memory {float(ratio):.2f} ({float(peak):.0f} MiB)"
            )
    return "; ".join(told)


def _publish(printed: str) -> str:
    rates, shares = numbers(rf"new{_NUMBER} rows/s", printed), numbers(rf"new +\d+ rows/s \({_NUMBER}", printed)
    return f"{spread(shares)}: {spread(rates, ',.0f')} rows a second"


def _departures(printed: str) -> str:
    first, night = numbers(rf"first{_NUMBER} s", printed), numbers(rf"are new{_NUMBER} s", printed)
    return f"{spread(night, '.1f')} s, where the first night took {spread(first, '.1f')} s"


def _readers(printed: str) -> str:
    took, longest = (
        numbers(rf"publishing for{_NUMBER} s", printed),
        numbers(rf"publishing for.*longest{_NUMBER} ms", printed),
    )
    return f"{longest[0] / 1000:.2f} s of the {took[0]:.0f} s"


def _queries(printed: str) -> str:
    named = {
        "current category": "current_categories of a product",
        "history": "product_history",
        "a page to review": "review_queue",
        "counts by category": "category_counts",
    }
    return ", ".join(
        f"{what} {numbers(rf'^{name}: .*ms,{_NUMBER} times', printed)[0]:.1f}" for what, name in named.items()
    )


def _review(printed: str) -> str:
    told = []
    for engine in ("sqlite", "postgresql"):
        opened = numbers(rf"^{engine}: [^,:]+, (?:surest|least_sure):{_NUMBER} ms", printed)
        written = numbers(rf"^{engine}: 60 decisions written:{_NUMBER} ms", printed)[0]
        told.append(f"{engine} {min(opened):.0f} to {max(opened):.0f} ms, and {written:.0f} ms for the decisions")
    return "; ".join(told)


def _thumbnails(printed: str) -> str:
    return ", ".join(f"{name} {numbers(rf'^{name} +{_NUMBER}', printed)[0]:.2f} s" for name in ("disk", "store"))


def _ingest(printed: str) -> str:
    times = numbers(rf"^median:{_NUMBER} times", printed)[0]
    rate = numbers(rf"^ +\d+ +{_ANY} +{_ANY} +{_ANY} +{_NUMBER}", printed)
    return f"{times:.2f} times as many; {spread(rate, '.0f')} images a second"


def _peers(printed: str) -> str:
    best = re.search(r"best peer, (\w+), takes ([\d.]+) times as long", printed)
    if best is None:
        raise ValueError("the best peer was not printed")
    return f"the best of the three, {best[1]}, takes {best[2]} times as long"


def _peer_rates(printed: str) -> str:
    rates = {name: numbers(rf"^{name} .*\s{_NUMBER}$", printed)[0] for name in ("shelfwise", "daft", "ray", "spark")}
    return ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items()) + " images a second"


def _ratio(pattern: str) -> Callable[[str], str]:
    return lambda printed: spread(numbers(pattern, printed))


_ANY = r"[\d.,]+"
ROWS: Mapping[str, Row] = {
    "predict_both": Row(
        "predict, whole step in float32, against TensorFlow's compiled function in batches of 32; both networks (224 "
        "and 299 px)",
        "predict --networks both",
        _predict,
        photos=True,
    ),
    "predict_both_bfloat16": Row(
        "the same in bfloat16",
        "predict --networks both --precision bfloat16",
        _predict,
        photos=True,
    ),
    "predict": Row(
        "the same in float32, EfficientNetB0 at 224 px alone",
        "predict --networks efficientnetb0",
        _predict,
        photos=True,
    ),
    "predict_bfloat16": Row(
        "the same in bfloat16",
        "predict --networks efficientnetb0 --precision bfloat16",
        _predict,
        photos=True,
    ),
    "start": Row(
        "start of a predicting process, and its memory, by OpenVINO and by Keras; the shipped release",
        "start",
        _start,
        photos=True,
    ),
    "gate": Row(
        "what it costs to judge which images the release knows, the shipped release",
        "gate",
        _gate,
        photos=True,
    ),
    "gate_both": Row(
        "the same, both networks at 224 and 299 px",
        "gate --networks both",
        _gate,
        photos=True,
    ),
    "memory": Row("peak memory of a predicting process, 20,000 against 2,000 images", "memory", _memory, photos=True),
    "incremental": Row(
        "night two of an unchanged catalog of 20,000 images against night one",
        "incremental --images 20000",
        _incremental,
        photos=True,
    ),
    "ingest": Row(
        "photographs that a task of ingest stores in a second of a processor, against decoding them whole",
        "ingest --images 2000",
        _ingest,
        photos=True,
    ),
    "catalog": Row(
        "read a catalog of 10,000,000 rows and check its keys; peak memory of a reader against a tenth of the rows",
        "catalog --rows 10000000 --forms csv jsonl parquet",
        _catalog,
    ),
    "catalog_sheets": Row(
        "the same for 1,000,000 rows of a feed for Google in XML, and of one XLSX sheet",
        "catalog --rows 1000000 --forms xml xlsx",
        _catalog,
    ),
    "training": Row(
        "training fed from the Petastorm dataset against the same network fed from memory",
        "training --images 256",
        _ratio(rf'"ratio":{_NUMBER}'),
    ),
    "scaling": Row(
        "two executors of one core against one",
        "scaling --images 384",
        lambda printed: f"{numbers(rf'^median ratio:{_NUMBER}', printed)[0]:.2f} times the images a second",
    ),
    "stores": Row(
        "predict from an S3 server against the local disk, both networks",
        "stores --images 192",
        _ratio(rf"^ +\d+ +{_ANY} +{_ANY}{_NUMBER}$"),
        photos=True,
    ),
    "publish": Row(
        "publish 1,000,000 new predictions in PostgreSQL against a bare COPY of the same rows",
        "publish --rows 1000000",
        _publish,
    ),
    "departures": Row(
        "publish a night in which 1 % of 1,000,000 products leave, 1 % return and 1 % are new",
        "publish --rows 1000000 --departures",
        _departures,
    ),
    "readers": Row(
        "the longest that a reader waits while 1,000,000 changed predictions are published",
        "readers --rows 1000000",
        _readers,
    ),
    "queries": Row(
        "with 10,000,000 products and 20,000,000 predictions, medians against a bare primary-key lookup",
        "queries --products 10000000",
        _queries,
    ),
    "review": Row(
        "open a page of 60 products to review among 10,000,000, with each filter, and write 60 decisions",
        "review --products 10000000",
        _review,
    ),
    "thumbnails": Row("the 60 thumbnails of a page to review", "thumbnails", _thumbnails, photos=True),
    "peers": Row(
        "a whole night of 2,000 photographs, start and all, against Daft, Ray Data and Spark's predict_batch_udf",
        "peers --images 2000",
        _peers,
        photos=True,
    ),
    "peers_bfloat16": Row(
        "the same, shelfwise in bfloat16",
        "peers --images 2000 --precision bfloat16",
        _peers,
        photos=True,
    ),
    "peers_networks": Row(
        "the same for 20,000 photographs: images a second beyond the first 5,000, read, decoded and computed",
        "peers --images 20000 --rounds 1",
        _peer_rates,
        photos=True,
    ),
}
"""By name, in the order of the table."""


def main() -> int:
    """Measure what is missing, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a directory of JPEGs; made-up ones without it")
    parser.add_argument("--kept", type=Path, default=KEPT, help="directory of what the benchmarks printed")
    parser.add_argument("--only", action="append", choices=ROWS, help="may be repeated; all without it")
    parser.add_argument("--readme", type=Path, help="page to write the table into; needs all rows")
    options = parser.parse_args()
    if options.readme and options.only:
        parser.error("--readme needs all rows: leave --only out, rows that are kept are not measured again")
    page = options.readme.read_text(encoding="utf-8") if options.readme else ""
    if options.readme and not (page.count(BEGIN) == page.count(END) == 1):
        parser.error(f"{options.readme} lacks the marks {BEGIN.strip()} and {END.strip()} around the table")
    rows = {name: ROWS[name] for name in options.only or ROWS}
    python, missing = PEERS / ".venv/bin/python", [name for name in rows if not (options.kept / f"{name}.txt").exists()]
    if not python.exists() and any(rows[name].arguments.startswith("peers ") for name in missing):
        parser.error(f"{python}, by which rows of this table are measured, does not exist; run `make peers` first")
    options.kept.mkdir(parents=True, exist_ok=True)
    lines = table({name: figure_of(name, row, options) for name, row in rows.items()}, beside=machine(options.kept))
    if options.readme:
        before, rest = page.split(BEGIN)
        options.readme.write_text(f"{before}{BEGIN}{lines}{END}{rest.split(END)[1]}", encoding="utf-8")
    else:
        print(lines, end="")
    return 0


def figure_of(name: str, row: Row, options: argparse.Namespace) -> str:
    """Return the figure of a row; its benchmark runs unless what it printed is kept."""
    file = options.kept / f"{name}.txt"
    if not file.exists():
        module, *words = row.arguments.split()
        command = [sys.executable, "-m", f"tests.benchmarks.bench_{module}", *words]
        if row.photos and options.photos:
            command += ["--photos", str(options.photos)]
        print(f"{name}: {' '.join(command[1:])}", file=sys.stderr, flush=True)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{name} ended with {done.returncode}; run the same command again to go on with it")
        file.with_suffix(".part").write_text(done.stdout, encoding="utf-8")
        file.with_suffix(".part").replace(file)
    printed = file.read_text(encoding="utf-8")
    if NO_BFLOAT16 in printed:
        return NO_BFLOAT16
    try:
        return row.figure(printed)
    except ValueError as error:
        sys.exit(f"{file} cannot be read ({error}); delete it, and run the same command again")


def machine(kept: Path) -> str:
    """Return the machine and day of the first figure; refuse to mix figures of two machines."""
    file = kept / "machine.txt"
    here = f"{stamp().partition(', ')[2]} of {cpu_model()}"
    if not file.exists():
        file.write_text(f"{here}, {stamp()[:10]}", encoding="utf-8")
    told = file.read_text(encoding="utf-8")
    if not told.startswith(here):
        sys.exit(f"{kept} has figures of another machine, {told}; give another directory with --kept")
    return told


def table(figures: Mapping[str, str], *, beside: str) -> str:
    """Return the lines of the page: a sentence on the machine, and the table."""
    lines = [
        f"Measured on {beside}, in one run of `python -m tests.benchmarks.all`; each script begins with its command:",
        "",
        "| what | command | figure |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {ROWS[name].what} | `bench_{ROWS[name].arguments}` | {figure} |" for name, figure in figures.items()]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())

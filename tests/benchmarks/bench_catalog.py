"""Rows a second and peak memory of reading a catalog of made-up products, by Spark and by the readers alone.

    python -m tests.benchmarks.bench_catalog
    python -m tests.benchmarks.bench_catalog --rows 1000000 --forms xml xlsx

Each figure comes from a process of its own, over a file of N rows and over one of a tenth of them. The ratio of their
peak memories (RSS) must stay near 1: a reader keeps a batch of rows, not the file. Memory is that of the process that
reads; with Spark the readers run in Python workers, so it is given for the readers alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from tests.peak_memory import peak_bytes

NAMES = ("product_id", "image_uri", "title", "category", "price", "stock")
Product = tuple[str, str, str, str, str, int]


def main() -> int:
    """Write the files, read each in processes of their own, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--forms", nargs="+", choices=WRITERS, default=["csv", "jsonl", "parquet"])
    parser.add_argument("--child", nargs=2, metavar=("HOW", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        how, file = options.child
        print(json.dumps(READERS[how](Path(file))))
        return 0
    from tests.benchmarks.photos import stamp

    print(f"# {stamp()}, {options.rows:,} rows")
    print("form     MB       how      seconds    rows/s   peak MiB  of a tenth  ratio")
    for form in options.forms:
        with tempfile.TemporaryDirectory() as scratch:
            few, many = (written(Path(scratch), form, rows) for rows in (options.rows // 10, options.rows))
            for how in READERS:
                print(line(form, how, few, many, options.rows), flush=True)
    return 0


def line(form: str, how: str, few: Path, many: Path, rows: int) -> str:
    """Read a file and a file of a tenth of its rows, and return a line of the table."""
    small, large = (child(how, file) for file in (few, many))
    if (small["rows"], large["rows"]) != (rows // 10, rows):
        raise SystemExit(f"{how} read {large['rows']:,} rows of {rows:,} from {many}")
    start = (
        f"{form:8s} {many.stat().st_size / 1e6:8.1f} {how:8s} {large['seconds']:8.1f} {rows / large['seconds']:9,.0f}"
    )
    if "peak_bytes" not in large:
        return start
    peaks = [figures["peak_bytes"] / 2**20 for figures in (large, small)]
    return f"{start} {peaks[0]:10.1f} {peaks[1]:11.1f} {peaks[0] / peaks[1]:6.3f}"


def child(how: str, file: Path) -> dict[str, float]:
    """Read a file in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_catalog", "--child", how, str(file)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=dict(os.environ))
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def read_alone(file: Path) -> dict[str, float]:
    """Read a file by its reader, part after part, as tasks do."""
    from jobs.catalog.files import parts_of, read_part
    from jobs.catalog.recognise import recognise

    started = time.perf_counter()
    layout = recognise(file).layout
    rows = sum(len(batch) for part in parts_of(file, layout) for batch in read_part(part, layout))
    seconds = time.perf_counter() - started
    return {"rows": rows, "seconds": seconds, "peak_bytes": peak_bytes()}


def read_by_spark(file: Path) -> dict[str, float]:
    """Read a file as a night does, its keys checked; Spark's start is not counted."""
    from jobs.ingest.catalog import read_catalog
    from jobs.spark.config import SparkConfig
    from jobs.spark.session import spark_session

    with spark_session(SparkConfig("local[*]", "4g", file.parent / "spark"), name="catalog") as spark:
        spark.range(1000).mapInArrow(lambda batches: batches, "id long").count()  # starts the Python workers
        started = time.perf_counter()
        rows = read_catalog(spark, str(file)).count()
        return {"rows": rows, "seconds": time.perf_counter() - started}


READERS: dict[str, Callable[[Path], dict[str, float]]] = {"alone": read_alone, "spark": read_by_spark}


def products(count: int) -> Iterator[Product]:
    """Make up products; their numbers follow no order, and their titles have no quotation marks."""
    colours, things = ("red", "blue", "grün", "black", "white"), ("shirt", "hat", "boots", "jacket")
    for place in range(count):
        number = place * 7_368_787 % count
        thing = things[number % len(things)]
        yield (
            f"product-{place:09d}",
            f"https://images.shop.example/{number % 1000:03d}/{number:09d}.jpg",
            f"{colours[number % len(colours)]} {thing} no. {number}",
            f"clothing > {thing}",
            f"{number % 20_000 / 100:.2f}",
            number % 50,
        )


def written(scratch: Path, form: str, rows: int) -> Path:
    """Write a catalog of so many rows in a form."""
    path = scratch / f"products-{rows}.{form}"
    WRITERS[form](path, products(rows))
    return path


def write_csv(path: Path, rows: Iterator[Product]) -> None:
    """Write CSV without quotation marks, which is read in parallel."""
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(NAMES) + "\n")
        file.writelines(",".join(map(str, row)) + "\n" for row in rows)


def write_quoted_csv(path: Path, rows: Iterator[Product]) -> None:
    """Write CSV with quotation marks, which one task reads."""
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(NAMES) + "\n")
        file.writelines(",".join(f'"{value}"' for value in row) + "\n" for row in rows)


def write_json_lines(path: Path, rows: Iterator[Product]) -> None:
    """Write an object in each line."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(dict(zip(NAMES, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)


def write_parquet(path: Path, rows: Iterator[Product]) -> None:
    """Write Parquet in row groups of 100,000 rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.int64() if name == "stock" else pa.string()) for name in NAMES])
    with pq.ParquetWriter(path, schema) as writer:
        while batch := list(islice(rows, 100_000)):
            columns: list[Any] = list(zip(*batch, strict=True))
            writer.write_table(pa.table(columns, schema=schema))


def write_xml(path: Path, rows: Iterator[Product]) -> None:
    """Write a feed for Google Merchant's shopping ads."""
    names = ("g:id", "g:image_link", "g:title", "g:product_type", "g:price", "g:stock")
    with path.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0"?><rss xmlns:g="http://base.google.com/ns/1.0"><channel>\n')
        for row in rows:
            elements = (f"<{name}>{escape(str(value))}</{name}>" for name, value in zip(names, row, strict=True))
            file.write(f"<item>{''.join(elements)}</item>\n")
        file.write("</channel></rss>\n")


def write_xlsx(path: Path, rows: Iterator[Product]) -> None:
    """Write one sheet, which holds 1,048,576 rows with its header at most."""
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    sheet = book.create_sheet("goods")
    sheet.append(NAMES)
    for row in rows:
        sheet.append(row)
    book.save(path)


WRITERS: dict[str, Callable[[Path, Iterator[Product]], None]] = {
    "csv": write_csv,
    "quoted.csv": write_quoted_csv,
    "jsonl": write_json_lines,
    "parquet": write_parquet,
    "xml": write_xml,
    "xlsx": write_xlsx,
}
"""By the form, which is the end of the file's name. A further form needs only its writer."""


if __name__ == "__main__":
    sys.exit(main())

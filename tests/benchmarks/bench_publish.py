"""Publishing against a bare COPY, and its memory, on PostgreSQL.

    python -m tests.benchmarks.bench_publish --rows 1000000
    python -m tests.benchmarks.bench_publish --rows 10000000 --memory
    python -m tests.benchmarks.bench_publish --rows 1000000 --departures
    python -m tests.benchmarks.bench_publish --rows 1000000 --against CLONE

With `--against`, another commit that is checked out in CLONE publishes as many rows of its own kind in rounds that take
turns with this one, each tree by its own code and with a server of its own.

Starts a PostgreSQL of its own with its default settings and those of `--set shared_buffers=2GB`, or uses the one of
SHELFWISE_TEST_POSTGRES_URL.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from sql.records import PREDICTION_COLUMNS, Rows
from sql.store import open_database
from tests.benchmarks.nights import batches, benchmark_server, changes, migrated, publish, seconds
from tests.sql.servers import Server


def main() -> int:
    """Run one of the measurements and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3, help="without --memory")
    parser.add_argument("--memory", action="store_true", help="of the driver, for a hundredth, a tenth and all rows")
    parser.add_argument("--departures", action="store_true", help="a night in which products leave, return and are new")
    parser.add_argument("--against", type=Path, metavar="CLONE", help="directory of another commit")
    with benchmark_server(parser) as (server, options):
        if options.against:
            measure_against(options.against, options.rows, options.repeats, options.set)
        elif options.departures:
            for _ in range(options.repeats):
                measure_departures(server, options.rows)
        elif options.memory:
            measure_memory(server, options.rows)
        else:
            measure_publish(server, options.rows, options.repeats)
    return 0


def measure_publish(server: Server, rows: int, repeats: int) -> None:
    """Rows a second of new and of unchanged predictions, over those of a bare COPY of the same rows."""
    data = list(batches(rows))
    for _ in range(repeats):
        name = server.create()
        database = migrated(server, name)
        bare = seconds(bare_copy, server.database_url(name), data)
        new = seconds(publish, database, iter(data))
        unchanged = seconds(publish, database, iter(data))
        print(
            f"{rows} rows: bare COPY {rows / bare:8.0f} rows/s, new {rows / new:8.0f} rows/s ({bare / new:.3f} of it), "
            f"unchanged {rows / unchanged:8.0f} rows/s ({bare / unchanged:.3f})"
        )
        server.drop(name)


def measure_against(clone: Path, rows: int, repeats: int, settings: Sequence[str] = ()) -> None:
    """Seconds of new predictions here, over those in a clone of another commit, in rounds that take turns."""
    here, ratios = Path(__file__).parents[2], []
    for _ in range(repeats):
        ours, theirs = (seconds_of_new(tree, rows, settings) for tree in (here, clone))
        ratios.append(ours / theirs)
        print(f"{rows} rows: new {ours:.1f} s here, {theirs:.1f} s in {clone}: {ratios[-1]:.2f} times", flush=True)
    print(f"median: {statistics.median(ratios):.2f} times the seconds")


def seconds_of_new(tree: Path, rows: int, settings: Sequence[str] = ()) -> float:
    """Run one round of this benchmark as a tree has it, and return the seconds of its new predictions."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_publish", "--rows", str(rows), "--repeats", "1"]
    command += [word for setting in settings for word in ("--set", setting)]
    printed = subprocess.run(command, cwd=tree, stdout=subprocess.PIPE, text=True, check=True).stdout
    rate = re.search(r"new +(\d+) rows/s", printed)
    if rate is None:
        sys.exit(f"the benchmark of {tree} printed no rate of new rows: {printed}")
    return rows / int(rate[1])


def measure_departures(server: Server, rows: int) -> None:
    """Seconds of a first publish, and of a night in which 1 % of the products leave, 1 % return and 1 % are new."""
    name = server.create()
    database = migrated(server, name)
    first, new = list(batches(rows)), list(batches(rows // 100, night=2, start=rows))
    leave, come_back = range(rows // 100, 2 * (rows // 100)), range(rows // 100)
    took = seconds(publish, database, first)
    publish(database, [], 1, [changes(come_back, "left", 1)])
    gone = [changes(leave, "left", 2), changes(come_back, "named", 2)]
    night = seconds(publish, database, new, 2, gone)
    again = seconds(publish, database, new, 2, gone)
    unchanged = seconds(publish, database, first)
    server.drop(name)
    print(
        f"{rows} rows: first {took:.2f} s, 1 % leave, 1 % return and 1 % are new {night:.2f} s, the same again "
        f"{again:.2f} s, first night again {unchanged:.2f} s",
        flush=True,
    )


def measure_memory(server: Server, rows: int) -> None:
    """Peak memory of a process that publishes, for a hundredth, a tenth and all of the rows."""
    for part in (rows // 100, rows // 10, rows):
        name = server.create()
        migrated(server, name)
        url = server.database_url(name)
        parent, child = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(target=publish_and_report, args=(url, part, child))
        process.start()
        peak_mib, took = parent.recv()
        process.join()
        print(f"{part:9d} rows: peak {peak_mib:6.0f} MiB, {part / took:8.0f} rows/s")
        server.drop(name)


def publish_and_report(url: str, rows: int, connection: Any) -> None:
    """Publish in this process, rows made up on the way, and send what it took."""
    took = seconds(publish, open_database(url), batches(rows))
    connection.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, took))


def bare_copy(url: str, data: list[Rows]) -> None:
    """COPY the rows into a table without any index and commit."""
    types = (
        *("text", "text", "int", "text", "date", "int", "text", "float8", "text", "json", "json", "text"),
        *("text", "text", "float8", "text"),
    )
    columns = ", ".join(f"{name} {type_}" for name, type_ in zip(PREDICTION_COLUMNS, types, strict=True))
    with psycopg.connect(url) as link:
        link.execute(f"CREATE TABLE bare ({columns})")
        link.commit()
        with link.cursor() as cursor, cursor.copy("COPY bare FROM STDIN") as copy:
            for rows in data:
                for row in rows:
                    copy.write_row(row)
        link.commit()


if __name__ == "__main__":
    sys.exit(main())

"""Stands in for what tasks start: notes each call, then prints and ends as the test has ordered.

A task starts `shelfwise ...`, or spark-submit, which starts `$SPARK_HOME/bin/spark-class`. Where STAND_IN names a
directory, `stand_in_site` hands the one over to this file, and `StandIn` writes the other. Processes import this file:
it needs the standard library alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

WAIT_SECONDS = 0.1
LONGEST_SECONDS = 600


@dataclass(frozen=True)
class Call:
    """One call of a job.

    Attributes:
        arguments: Those of `shelfwise`.
        settings: The `SHELFWISE_*` variables of its environment.
        by_spark: Whether spark-submit started it.
        began: Time in seconds since 1970.
        ended: As `began`; None while it runs, or where it was killed.
        code: Its exit code; None as `ended`.
    """

    arguments: tuple[str, ...]
    settings: dict[str, str]
    by_spark: bool
    began: float
    ended: float | None = None
    code: int | None = None


@dataclass(frozen=True)
class Order:
    """What calls are to do.

    Attributes:
        words: Arguments that a call has if the order is for it. The last order that fits a call counts.
        codes: Exit codes of the first call with its arguments, of the second, and so on; the last one for all further.
        prints: Text for stdout, unless it fails.
        says: Text for stderr.
        held: How many first calls with its arguments wait until `StandIn.let_go`.
    """

    words: tuple[str, ...] = ()
    codes: tuple[int, ...] = (0,)
    prints: str = ""
    says: str = ""
    held: int = 0


class StandIn:
    """The side of the test: gives orders and reads the notes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._orders: list[Order] = []
        (directory / "calls").mkdir(parents=True)
        program = directory / "spark" / "bin" / "spark-class"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).resolve()}" "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        self.order(prints="{}")
        self.order("query", prints="[]")

    @property
    def environment(self) -> dict[str, str]:
        """Variables that put this in the place of the jobs."""
        return {"STAND_IN": str(self.directory), "SPARK_HOME": str(self.directory / "spark")}

    def order(self, *words: str, prints: Any = "", **options: Any) -> None:
        """Order what calls with these words do; `prints` may be a JSON document."""
        text = prints if isinstance(prints, str) else json.dumps(prints)
        self._orders.append(Order(words, prints=text, **options))
        written = self.directory / "orders.new"
        written.write_text(json.dumps([asdict(order) for order in self._orders]), encoding="utf-8")
        written.replace(self.directory / "orders.json")

    def let_go(self) -> None:
        """End the waiting of the calls that are held."""
        (self.directory / "go").touch()

    def calls(self, *words: str) -> list[Call]:
        """Return the calls that have all these words, in the order of their beginning."""
        found = [Call(**{**note, "arguments": tuple(note["arguments"])}) for note in _notes(self.directory)]
        return [call for call in found if set(words) <= set(call.arguments)]


def _notes(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((directory / "calls").glob("*.json"))]


def _note(path: Path, call: Call) -> None:
    written = path.with_suffix(".new")
    written.write_text(json.dumps(asdict(call)), encoding="utf-8")
    written.replace(path)


def act(arguments: Sequence[str], *, by_spark: bool) -> int:
    """Do what is ordered for a call and return its exit code."""
    directory = Path(os.environ["STAND_IN"])
    orders = [Order(**each) for each in json.loads((directory / "orders.json").read_text(encoding="utf-8"))]
    order = [order for order in orders if set(order.words) <= set(arguments)][-1]
    earlier: int = sum(note["arguments"] == list(arguments) for note in _notes(directory))
    settings = {name: value for name, value in os.environ.items() if name.startswith("SHELFWISE_")}
    path = directory / "calls" / f"{time.time_ns()}-{os.getpid()}.json"
    call = Call(tuple(arguments), settings, by_spark, time.time())
    _note(path, call)
    until = time.time() + LONGEST_SECONDS
    while earlier < order.held and not (directory / "go").exists() and time.time() < until:
        time.sleep(WAIT_SECONDS)
    code = order.codes[min(earlier, len(order.codes) - 1)]
    _note(path, Call(call.arguments, settings, by_spark, call.began, time.time(), code))
    print(order.says, file=sys.stderr)  # fails where the task that would read it is dead
    if not code:
        print(order.prints)
    return code


def shelfwise() -> None:
    """Stand in for the `shelfwise` that this process is about to run, and end it."""
    code = act(sys.argv[1:], by_spark=False)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def spark_class(arguments: Sequence[str]) -> int:
    """Stand in for Spark's program of the same name."""
    application = next(place for place, word in enumerate(arguments) if word.endswith("shelfwise_job.py"))
    return act(arguments[application + 1 :], by_spark=True)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(spark_class(sys.argv[1:]))

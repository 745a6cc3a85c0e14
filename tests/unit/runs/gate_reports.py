"""Reports of played shards: how many images of each category are beyond the limit, and what a run decides of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from jobs.predict.reports import ShardReport
from jobs.runs.config import RunConfig
from jobs.runs.gates import RunGates, gates_of
from models.spec import KnownSpec
from tests.unit.predict.test_predict_loop import RELEASE

D1, D2, D3 = (date(2026, 11, day) for day in (1, 2, 3))
DESCRIBED = replace(RELEASE, known=KnownSpec("known.npz", "0" * 64, 1.0, 200, 1000, 1))
NIGHT = RunConfig("night", "nightly", D1, dates=(D1,))

Counts = Mapping[str, Sequence[int]]
FOREIGN: Counts = {"colour.red": [40, 40], "colour.green": [30, 20]}
FAMILIAR: Counts = {"colour.red": [1000, 10], "colour.green": [20, 0]}
GROUP: Counts = {"colour.red": [1000, 10], "colour.green": [20, 9]}


def report(counts: Counts, *, day: date = D1, number: int = 0, home: str = "/home", **more: Any) -> ShardReport:
    shard = f"{home}/images/ingest_date={day}/part-{number}.parquet"
    images = sum(scored for scored, _ in counts.values())
    values = {"gate": "computed", "by_leaf": counts, **more}
    return ShardReport(shard, "colours-1", images, 0, 0.0, 0.0, 0.0, 0.0, **values)


def gates(*reports: ShardReport, allow_shift: bool = False) -> RunGates:
    return gates_of(reports, DESCRIBED, allow_shift=allow_shift)

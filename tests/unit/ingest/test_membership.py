"""Which events a night records: the rules of full, partial and late catalogs, on one position at a time."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.ingest.full_catalogs import (
    full_catalog_names,
    keep_full_catalog,
    last_full_night,
    next_full_night,
    was_read_in_full,
)
from jobs.ingest.membership import CatalogNight, event_columns, event_of
from jobs.storage.places import Places

D1, D2, D3, D4 = (date(2026, 11, day) for day in (1, 2, 3, 4))
FULL = CatalogNight("shop", D2)
PARTIAL = CatalogNight("shop", D2, partial=True)
LATE = CatalogNight("shop", D2, full_later=D3)
LATE_PARTIAL = CatalogNight("shop", D2, partial=True, full_later=D3)


def named(day: date, ingest_no: int = 1) -> int:
    return event_of(day, ingest_no, names_it=True)


def gone(day: date, ingest_no: int = 1) -> int:
    return event_of(day, ingest_no, names_it=False)


def events(night: CatalogNight, mine: int | None = None, unnamed: int | None = None, **more: Any) -> list[Any]:
    known = mine is not None or unnamed is not None
    row = {"in_catalog": True, "is_known": known, "mine": mine, "unnamed": unnamed, **more}
    return [(event["outcome"], event["catalog_name"], event["counts_from"]) for event in night.events(row)]


NAMED, LEFT, LEFT_UNNAMED = ("named", "shop", None), ("left", "shop", None), ("left", "", None)
LEFT_LATER = ("left", "shop", "2026-11-03")


@pytest.mark.parametrize(
    ("mine", "unnamed", "expected"),
    [
        (None, None, []),  # of another catalog; Spark drops it before
        (named(D1), None, [LEFT]),
        (named(D2), None, [LEFT]),  # the night is read again with a corrected catalog
        (gone(D1), None, []),
        (named(D3), None, []),  # a delta of a later night named it
        (None, named(D1), [LEFT_UNNAMED]),
        (named(D1), named(D1), [LEFT, LEFT_UNNAMED]),
        (gone(D1), named(D1), [LEFT_UNNAMED]),
        (None, named(D3), []),
    ],
)
def test_what_a_full_catalog_does_not_name_leaves(mine: int | None, unnamed: int | None, expected: list[Any]) -> None:
    assert events(FULL, mine, unnamed, in_catalog=False) == expected


@pytest.mark.parametrize(
    ("night", "mine", "more", "expected"),
    [
        (FULL, None, {}, []),  # unknown: what is stored of it is the event
        (FULL, None, {"is_known": True}, [NAMED]),  # another catalog named it first
        (FULL, None, {"unnamed": named(D1), "is_known": True}, [NAMED]),
        (FULL, named(D1), {}, []),
        (FULL, gone(D1), {}, [NAMED]),
        (FULL, gone(D2), {}, [NAMED]),  # the night is read again with a corrected catalog
        (FULL, named(D3), {}, []),
        (PARTIAL, None, {}, []),
        (PARTIAL, None, {"is_known": True}, [NAMED]),
        (PARTIAL, named(D1), {}, [NAMED]),  # a full night of D1 that is read again removes it not
        (PARTIAL, named(D2), {}, []),
        (PARTIAL, gone(D1), {}, [NAMED]),
        (PARTIAL, named(D3), {}, []),
        (LATE, None, {}, [LEFT_LATER]),
        (LATE, None, {"is_known": True}, [LEFT_LATER]),
        (LATE, gone(D1), {}, [LEFT_LATER]),
        (LATE, gone(D3, 0), {}, []),
        (LATE, gone(D4), {}, []),
        (LATE, named(D1), {}, []),
        (LATE, named(D3), {}, []),
        (LATE_PARTIAL, None, {}, [LEFT_LATER]),
        (LATE_PARTIAL, named(D1), {}, []),
        (LATE_PARTIAL, gone(D1), {}, [LEFT_LATER]),
    ],
)
def test_what_a_catalog_names(night: CatalogNight, mine: int | None, more: dict[str, Any], expected: list[Any]) -> None:
    assert events(night, mine, **more) == expected


def test_only_a_full_catalog_that_is_not_late_removes() -> None:
    assert [night.removes for night in (FULL, PARTIAL, LATE, LATE_PARTIAL)] == [True, False, False, False]


def test_the_latest_event_is_the_greatest_number() -> None:
    in_order = [gone(D1, 3), named(D1, 4), gone(D2, 0), named(D2, 1), gone(D2, 2), named(D3, 1)]
    assert sorted(in_order) == in_order


def test_events_of_a_file_are_those_of_the_catalog_and_those_without_a_name() -> None:
    outcomes = ["rejected", "unchanged", "named", "left", "left", "named"]
    table = pa.table(
        {
            "ingest_no": pa.array([2] * 6, pa.int32()),
            "catalog_name": ["shop", "shop", "shop", "shop", "other", None],
            "outcome": outcomes,
            "counts_from": [None, None, None, "2026-11-03", None, None],
        }
    )
    found = {name: column.to_pylist() for name, column in event_columns(table, D1, "shop").items()}
    assert found["mine"] == [named(D1, 2), named(D1, 2), named(D1, 2), gone(D3, 0), None, None]
    assert found["unnamed"] == [None] * 5 + [named(D1, 2)]
    images = table.select(["ingest_no", "catalog_name"])
    assert event_columns(images, D1, "other")["mine"].to_pylist() == [None] * 4 + [named(D1, 2), None]


def test_a_night_is_late_if_the_catalog_was_read_in_full_for_a_later_one(tmp_path: Path) -> None:
    places = Places(tmp_path)
    assert next_full_night(places, D1, "shop") is None
    for day in (D2, D4):
        keep_full_catalog(places, day, "shop")
    keep_full_catalog(places, D3, "outlet")
    assert [next_full_night(places, day, "shop") for day in (D1, D2, D3, D4)] == [D2, D4, D4, None]
    assert [last_full_night(places, day, "shop") for day in (D1, D2, D3, D4)] == [None, D2, D2, D4]
    assert (was_read_in_full(places, "outlet"), was_read_in_full(places, "delta")) == (True, False)
    assert full_catalog_names(places) == ["outlet", "shop"]
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "catalogs").rglob("*.parquet")}
    keep_full_catalog(places, D4, "shop")
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "catalogs").rglob("*.parquet")} == files

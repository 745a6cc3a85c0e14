"""The report's figures and page, on both engines; and what it asks of a database of any size."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobs.errors import RunFailed, UsageError
from jobs.report.job import write
from jobs.storage.places import Places
from sql.retract import retract_run
from sql.store import ProductDatabase
from tests.report_nights import Answer, Nights
from tests.sql.runs import combine_by
from tests.unit.storage.test_whole_files import reader

SHIRT, SNEAKER = "apparel.shirt", "footwear.sneaker"


@pytest.fixture
def nights(database: ProductDatabase, tmp_path: Path) -> Nights:
    made = Nights(database, Places(tmp_path / "home"), {SHIRT: "Apparel > Shirt", SNEAKER: "Footwear > Sneaker"})
    made.night([Answer("a", SHIRT, 0.95), Answer("b", SHIRT, 0.5, "review"), Answer("c", SNEAKER, 0.99)])
    return made


def test_the_figures_of_a_night(nights: Nights) -> None:
    answers = [Answer("a", SNEAKER, 0.85), Answer("b", SHIRT, 0.4, "review"), Answer("d", None, 0.01, "unknown")]
    run_id = nights.night(answers, number=1, rejections=[("e", "missing", "there is no such file")])
    done = write(nights.database, nights.places, run_id)
    assert (done["run_id"], done["state"], done["images"], done["rejected"]) == (run_id, "published", 3, 1)
    assert {name: done["counts"][name] for name in ("auto", "review", "unknown", "moved", "first_answered")} == {
        "auto": 1,
        "review": 1,
        "unknown": 1,
        "moved": 1,
        "first_answered": 1,
    }
    assert done["rejected_by_reason"] == {"missing": 1}
    assert done["waiting"] == {"auto": 2, "review": 1, "unknown": 1}
    assert done["seconds"] == {"ingest": 60.0, "predict": 120.0, "whole": 240.0}
    assert done["confidence_histograms"]["auto"][17] == 1
    shares = {share["category_id"]: (share["share"], share["reference_share"]) for share in done["categories"]}
    assert shares[SHIRT] == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    page = Path(done["report"])
    assert page == nights.places.home / "reports" / f"{run_id}.html"
    assert page.stat().st_size == done["report_bytes"]
    assert done["pictures"] == 2, "of a and b; d has no category and is not in review"


def test_the_report_of_an_older_night_does_not_change_after_the_next_one(nights: Nights) -> None:
    run_id = nights.night([Answer("a", SNEAKER, 0.85)], number=1)
    before = write(nights.database, nights.places, run_id)
    nights.night([Answer("a", SHIRT, 0.9), Answer("c", SHIRT, 0.9)], number=2)
    after = write(nights.database, nights.places, run_id)
    now = {"waiting": None, "report_bytes": None}  # what waits now is of now
    assert {**after, **now} == {**before, **now}


def test_the_error_for_an_unknown_run_lists_existing_runs(nights: Nights, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run 'nightly-2020-01-01'; the latest are nightly-2026-11-01"):
        write(nights.database, nights.places, "nightly-2020-01-01")
    with pytest.raises(UsageError, match="letters, digits"):
        write(nights.database, nights.places, "../outside")
    (tmp_path / "file").touch()
    with pytest.raises(RunFailed, match=r"cannot be written to .*; name another place with --output"):
        write(nights.database, nights.places, "nightly-2026-11-01", tmp_path / "file" / "page.html")


def test_a_report_is_written_into_a_pipe_and_through_a_link(nights: Nights, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with reader(tmp_path / "pipe") as received:
        done = write(nights.database, nights.places, "nightly-2026-11-01", tmp_path / "pipe")
    assert len(received[0]) == done["report_bytes"] > 1000
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "link").symlink_to(tmp_path / "page.html")
    write(nights.database, nights.places, "nightly-2026-11-01", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "page.html").stat().st_size == done["report_bytes"]


def test_the_examples_are_found_by_the_products_key(nights: Nights) -> None:
    from sql.named_queries import find_query

    engine = nights.database.engine
    explain = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
    ids: sa.BindParameter[Any] = sa.bindparam("product_ids", expanding=True)
    statement = sa.text(explain + find_query("current_of_products").statement).bindparams(ids)
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET enable_seqscan = off")  # this table is small in this test alone
        plan = "\n".join(str(row) for row in connection.execute(statement, {"product_ids": ["a", "b"]}))
    assert "pk_product_categories" in plan or "sqlite_autoindex_product_categories" in plan, plan


def test_the_report_of_a_retracted_night_says_who_took_it_back(nights: Nights) -> None:
    answers = [Answer("a", SNEAKER, 0.85), Answer("d", SHIRT, 0.4, "review")]
    run_id = nights.night(answers, number=1)
    later = nights.night([Answer("e", SHIRT, 0.9)], number=2)
    why = "the photographs of <b>two</b> suppliers were swapped"
    retract_run(nights.database, run_id, by="ada", why=why, combine_by=combine_by)
    done = write(nights.database, nights.places, run_id)
    assert (done["state"], done["verdict"], done["headline"]) == ("published", "retracted", "The night was retracted")
    assert done["sentence"].startswith("ada took it back on ")
    assert why in done["sentence"]
    assert done["images"] == 2, "what it did is still told"
    page = Path(done["report"]).read_text(encoding="utf-8")
    assert "two&lt;/b&gt; suppliers were swapped" in page
    assert "shelfwise query without_answer" in page
    assert f"shelfwise query run_highlights --param run_id={run_id}" not in page
    of_later = write(nights.database, nights.places, later)
    assert {row["category_id"]: row["reference_images"] for row in of_later["categories"]} == {SHIRT: 2, SNEAKER: 1}
    assert run_id not in Path(of_later["report"]).read_text(encoding="utf-8")

"""Progress counts what waits, who decides, how often people agree, and who looks closely."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sql.named_queries import run_query
from sql.overrides import Override, set_overrides
from sql.review.progress import Caught, Pace, progress
from sql.review.records import PlantedAnswer
from sql.review.writing import write_page
from sql.schema.releases import categories
from sql.store import ProductDatabase
from tests.sql.review.waiting import change, choose, fill, shown
from tests.sql.runs import BOOT, OUTLET, SHIRT

SINCE, MOMENT = datetime(2026, 11, 2, tzinfo=UTC), datetime(2026, 11, 2, 14, 30, tzinfo=UTC)


@pytest.fixture
def shop(database: ProductDatabase) -> ProductDatabase:
    fill(database)
    return database


def test_progress_shows_what_waits_and_what_people_did(shop: ProductDatabase) -> None:
    first, second, *_ = shown(shop)
    write_page(
        shop,
        [choose(first), choose(second, "set", BOOT)],
        decided_by="ada",
        came_by="page",
        page_id="1",
        planted=[PlantedAnswer("boot", SHIRT, BOOT, accepted=False), PlantedAnswer("t", SHIRT, BOOT, accepted=True)],
        at_utc=MOMENT,
    )
    found = progress(shop, since=SINCE)
    assert (found.waiting[0].category_id, found.waiting[0].count) == (SHIRT, 2)
    assert found.waiting[0].since_utc == datetime(2026, 11, 1, 2, tzinfo=UTC)
    assert found.pace == (Pace("ada", "2026-11-02 14", 2),)
    (agreement,) = found.agreement
    assert (agreement.release_id, agreement.category_id, agreement.decisions, agreement.accepted) == (
        "release-1",
        SHIRT,
        2,
        1,
    )
    assert found.planted == (Caught("ada", 2, 1, 0, 0),)
    assert [run.run_id for run in found.runs] == ["nightly-2026-11-01"]
    assert found.runs[0].counts["images"] == 1


def test_who_chooses_a_category_below_a_suggested_group_agrees(shop: ProductDatabase) -> None:
    with shop.engine.begin() as connection:
        connection.execute(
            categories.insert().values(
                category_id="apparel.tops", category_path="Apparel > Tops", taxonomy_version="taxonomy-1"
            )
        )
    for name in ("s0", "s1"):
        change(shop, name, category_id="apparel.tops")
    set_overrides(shop, [Override("s0", SHIRT), Override("s1", OUTLET)], decided_by="ada", at_utc=MOMENT)
    (agreement,) = progress(shop, since=SINCE).agreement
    assert (agreement.category_id, agreement.decisions, agreement.accepted) == ("apparel.tops", 2, 1)
    [row] = run_query(shop, "acceptance_rate").rows
    assert row[:6] == ("release-1", "apparel.tops", "Apparel > Tops", 2, 1, 0.5)

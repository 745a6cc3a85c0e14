"""Planted products: none is told apart on a page, what is answered decides nothing, and Progress counts it."""

from __future__ import annotations

import random
from pathlib import Path

from sql.schema.tables import metadata
from sql.store import ProductDatabase
from tests.review_site import (
    BOOT,
    SHIRT,
    SHIRTS,
    Answer,
    Client,
    Site,
    page_id_of,
    products_on,
    publish,
    review_site,
    rows,
    sent,
)

HOSTILE = "<script>alert(1)</script>"


def test_one_product_in_fifty_is_planted_and_decides_nothing(demo: ProductDatabase, tmp_path: Path) -> None:
    publish(demo, [Answer(f"many-{number:04d}", SHIRT, 0.5) for number in range(1200)], night=1)
    before = {row["product_id"]: row for row in rows(demo, "product_categories") if row["status"] == "auto"}
    shown = planted = 0
    with review_site(demo, tmp_path, chance=random.Random(5)) as site:
        client = site.client()
        for _ in range(20):
            page = client.get(f"{SHIRTS}&size=60")
            names = products_on(page)
            opened = site.services.desk("ada").page(page_id_of(page))
            assert opened is not None
            known = sorted(opened.planted)
            assert [opened.planted[place].item for place in known] == [opened.items[place] for place in known]
            assert {item.review_reason for item in opened.items} == {"below_threshold"}
            sure = [item.confidence or 0 for item in opened.items]
            assert sure == sorted(sure, reverse=True), "neither order nor figures tell which are planted"
            shown, planted = shown + len(names), planted + len(known)
            assert len(names) == 60
            assert "known_category" not in page.text
            assert "planted" not in page.text
            client.send("/page", sent(page_id_of(page), wrong=tuple(known[:1])))
            assert "Nothing is marked" in client.get("/focus").text, "a planted product asks for no decision"
    assert 12 <= planted <= 36, "24 of 1,200 are expected"
    answers = rows(demo, "planted_answers")
    assert len(answers) == planted
    assert {row["accepted"] for row in answers} == {True, False}
    assert {row["shown_category_id"] for row in answers} == {SHIRT}
    assert len({row["known_category_id"] for row in answers}) > 1, "some are shown wrongly"
    assert len(rows(demo, "overrides")) == shown - planted
    after = {row["product_id"]: row for row in rows(demo, "product_categories") if row["status"] == "auto"}
    assert after == before


def test_taking_a_page_back_takes_its_planted_answers_back(demo: ProductDatabase, tmp_path: Path) -> None:
    class Always(random.Random):
        def random(self) -> float:
            return 0.0 if self.getrandbits(3) == 0 else 0.9

    with review_site(demo, tmp_path, chance=Always(1)) as site:
        client = site.client()
        client.send("/page", sent(page_id_of(client.get(SHIRTS))))
        assert rows(demo, "planted_answers")
        client.send("/back", {})
        assert rows(demo, "planted_answers") == []


def test_progress_shows_who_catches_the_planted_ones(ada: Client, site: Site, demo: ProductDatabase) -> None:
    with demo.engine.begin() as connection:
        for number in range(4):
            row = {"product_id": f"known-{number}", "shown_category_id": SHIRT, "known_category_id": BOOT}
            told = {"accepted": number == 0, "answered_by": HOSTILE, "answered_at_utc": site.clock(), "page_id": "p"}
            connection.execute(metadata.tables["planted_answers"].insert(), {**row, **told})
    page = ada.get("/progress")
    assert "40 products wait" in page.text
    assert "<script>alert" not in page.text
    assert "(75%)" in page.text

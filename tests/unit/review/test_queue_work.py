"""Which products a page of the queue has: of the first category with free ones, and planted ones that nothing tells."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from jobs.review.open_pages import OpenPage
from sql.overrides import Override, set_overrides
from sql.review.progress import progress
from sql.store import ProductDatabase
from tests.review_site import (
    BOOT,
    PULLOVER,
    SHIRT,
    TAXONOMY,
    TOPS,
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


class OneInFive(random.Random):
    """Chance by which many products are planted."""

    def random(self) -> float:
        """Return less than the share for one in five."""
        return 0.0 if self.getrandbits(8) < 51 else 0.9


def opened_by(site: Site, person: str, page_id: str) -> OpenPage:
    """Return a page as the server remembers it."""
    found = site.services.desk(person).page(page_id)
    assert found is not None
    return found


def test_a_page_opens_although_the_first_twenty_categories_are_with_others(
    demo: ProductDatabase, tmp_path: Path
) -> None:
    few = {f"few.c{number:02d}": f"Few > {number:02d}" for number in range(25)}
    waits = [Answer(f"few-{number:02d}", f"few.c{number:02d}", 0.5) for number in range(25)]
    publish(demo, waits, night=1, taxonomy={**TAXONOMY, "few": "Few", **few})
    with review_site(demo, tmp_path) as site:
        maria, ada = site.client(logged_in_as="maria"), site.client()
        for category_id in [*few][:20]:
            assert len(products_on(maria.get(f"/queue?below=few&in={category_id}"))) == 1
        page = ada.get("/queue?below=few")
        assert products_on(page) == ["few-20"]
        for _ in range(5):
            ada.send("/page", sent(page_id_of(page)))
            page = ada.get("/queue?below=few")
        assert "Nothing waits here" in page.text
        assert "Other people look at the 20 that wait" in page.text


def test_a_new_answer_of_a_group_is_decided_one_by_one(ada: Client, demo: ProductDatabase) -> None:
    """It counted as right on the page, and Enter put it off for an hour."""
    page = ada.get(f"/queue?in={SHIRT}")
    names = products_on(page)
    news = [
        Answer(names[0], TOPS, 0.6, reason="taxonomy", content="B"),
        Answer(names[1], PULLOVER, 0.6, content="B"),
    ]
    publish(demo, news, night=1)
    back = ada.get(ada.send("/page", sent(page_id_of(page))).json["next"])
    assert products_on(back) == names[:2]
    assert back.text.count('aria-pressed="true"') == 1, "the one whose suggestion is a group"
    done = ada.send("/page", sent(page_id_of(back), wrong=(0,)))
    assert (done.json["decided"], done.json["marked"]) == (1, 1)
    assert f"<bdi>{names[0]}</bdi>" in ada.get("/focus").text


def test_one_product_in_fifty_is_planted_on_pages_of_a_group_too(demo: ProductDatabase, tmp_path: Path) -> None:
    publish(demo, [Answer(f"many-{n:04d}", TOPS, 0.5, reason="taxonomy") for n in range(1200)], night=1)
    planted = 0
    with review_site(demo, tmp_path, chance=random.Random(5)) as site:
        client = site.client()
        for _ in range(20):
            page = client.get(f"/queue?in={TOPS}&size=60")
            opened = opened_by(site, "ada", page_id_of(page))
            planted += len(opened.planted)
            assert {item.category_id for item in opened.items} == {TOPS}
            assert {item.review_reason for item in opened.items} == {"taxonomy"}
            client.send("/page", sent(page_id_of(page), leaves={str(place): SHIRT for place in range(60)}))
    assert 12 <= planted <= 36, "24 of 1,200 are expected"
    answers = rows(demo, "planted_answers")
    assert len(answers) == planted
    assert {row["shown_category_id"] for row in answers} == {TOPS}
    [told] = progress(demo, since=datetime.now().astimezone() - timedelta(days=1)).planted
    assert told.shown_rightly + told.shown_wrongly == planted
    assert told.accepted == told.shown_rightly == sum(str(row["known_category_id"]).startswith(TOPS) for row in answers)
    assert planted / 4 <= told.shown_rightly <= planted * 3 / 4, "half of them are shown rightly"


@pytest.mark.parametrize("address", [f"/queue?in={SHIRT}", f"/queue?in={TOPS}"])
def test_what_has_no_picture_is_not_planted(demo: ProductDatabase, tmp_path: Path, address: str) -> None:
    """It would say "no picture at hand" among pictures, and so be known for a planted one."""
    with review_site(demo, tmp_path, chance=OneInFive(1)) as site:
        opened = opened_by(site, "ada", page_id_of(site.client().get(address)))
        assert opened.planted
        site.pictures.gone |= {str(row["product_id"]) for row in rows(demo, "product_categories")}
        site.services.leases.release("ada", [item.product_id for item in opened.items])
        again = opened_by(site, "maria", page_id_of(site.client(logged_in_as="maria").get(address)))
        assert again.items
        assert again.planted == {}


@pytest.mark.parametrize(("words", "are_planted"), [("", True), ("plain+article", False)])
def test_a_planted_product_is_not_told_by_a_title_without_the_words_of_the_filter(
    demo: ProductDatabase, tmp_path: Path, words: str, are_planted: bool
) -> None:
    with review_site(demo, tmp_path, chance=OneInFive(1)) as site:
        page = site.client().get(f"/queue?in={TOPS}&title={words}")
        assert bool(opened_by(site, "ada", page_id_of(page)).planted) == are_planted


def test_an_example_of_each_category_stands_beside_the_name_of_a_group(
    site: Site, ada: Client, demo: ProductDatabase
) -> None:
    set_overrides(demo, [Override("article-00002", PULLOVER)], decided_by="maria")
    page = ada.get(f"/queue?in={TOPS}")
    assert 'alt="Example of Apparel &gt; Tops &gt; Pullover"' in page.text
    assert page.text.count('alt="Example of Apparel &gt; Tops &gt; Shirt"') == 1
    assert "Example of Footwear" not in page.text
    shirts = ada.get(f"/queue?in={SHIRT}")
    assert shirts.text.count('alt="Example of Apparel &gt; Tops &gt; Shirt"') > 1


def test_examples_do_not_hold_the_products_up(site: Site, ada: Client) -> None:
    """Where a picture lies may have to be searched for seconds, and all of a batch are read before one is shown."""
    page = ada.get(f"/queue?in={SHIRT}")
    examples = page.text.count('alt="Example of')
    item = opened_by(site, "ada", page_id_of(page)).items[0].picture
    assert item is not None
    assert site.services.gallery.thumbnail((item.product_id, item.image_no, item.image_sha256))
    assert site.pictures.read == [len(products_on(page))]
    assert examples


def test_progress_counts_the_unknown_and_says_what_it_leaves_out(
    ada: Client, site: Site, demo: ProductDatabase
) -> None:
    unknown = [Answer(f"unknown-{number}", None, 0.1, "unknown", "foreign_image") for number in range(3)]
    publish(demo, unknown, night=1)
    page = ada.get("/progress")
    assert "40 products wait, and 3 more <a" in page.text
    assert len(products_on(ada.get("/queue?status=unknown"))) == 3
    assert "earlier hours" not in page.text
    publish(demo, [Answer(f"known-{number}", SHIRT, 0.999, "auto") for number in (40, 41)], night=2)
    for hour in range(42):
        at_utc = site.clock() - timedelta(hours=hour)
        name = f"article-{hour:05d}" if hour < 40 else f"known-{hour}"
        set_overrides(demo, [Override(name, BOOT)], decided_by="maria", at_utc=at_utc)
    assert "And 2 earlier hours." in ada.get("/progress").text

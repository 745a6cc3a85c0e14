"""What is sent of a page that is old, was sent before, or shows what is no longer so."""

from __future__ import annotations

import html

import sqlalchemy as sa

from jobs.review.open_pages import OpenPage, Outcome
from sql.overrides import Override, set_overrides
from sql.review.records import QueueItem
from sql.schema.tables import metadata
from sql.store import ProductDatabase
from tests.review_site import (
    BOOT,
    SHIRT,
    SHIRTS,
    SNEAKER,
    Answer,
    Client,
    Site,
    hidden_in,
    page_id_of,
    products_on,
    publish,
)

PRODUCT = "article-00002"


def decided_by(database: ProductDatabase) -> list[tuple[str, str]]:
    """Return (decided_by, action) of each decision, in order."""
    table = metadata.tables["overrides"]
    with database.engine.connect() as connection:
        rows = connection.execute(sa.select(table.c.decided_by, table.c.action).order_by(table.c.override_id))
        return [(row.decided_by, row.action) for row in rows]


def sent(page_id: str, *, wrong: tuple[int, ...] = (), leaves: dict[str, str] | None = None) -> dict[str, object]:
    """Return what the script sends of a page."""
    return {"page_id": page_id, "wrong": list(wrong), "leaves": leaves or {}}


def test_only_the_decision_that_was_seen_is_cleared(ada: Client, demo: ProductDatabase) -> None:
    set_overrides(demo, [Override(PRODUCT, SNEAKER)], decided_by="jon")
    opened = hidden_in(ada.get(f"/product?id={PRODUCT}"))
    set_overrides(demo, [Override(PRODUCT, BOOT)], decided_by="maria")
    refused = ada.form("/product/clear", **opened)
    assert refused.status == 409
    assert "maria decided: Footwear &gt; Closed &gt; Boot. Nothing was cleared" in refused.text
    assert decided_by(demo) == [("jon", "set"), ("maria", "set")]
    assert ada.form("/product/clear", **hidden_in(ada.get(f"/product?id={PRODUCT}"))).status == 303
    assert decided_by(demo)[-1] == ("ada", "clear")


def test_another_person_s_agreement_is_not_cleared_unseen(ada: Client, demo: ProductDatabase) -> None:
    set_overrides(demo, [Override(PRODUCT, SNEAKER)], decided_by="jon")
    opened = hidden_in(ada.get(f"/product?id={PRODUCT}"))
    set_overrides(demo, [Override(PRODUCT, SNEAKER)], decided_by="maria")
    refused = ada.form("/product/clear", **opened)
    assert (refused.status, "maria decided: Footwear &gt; Closed &gt; Sneaker." in refused.text) == (409, True)


def test_a_decision_is_not_cleared_by_who_has_not_seen_the_new_picture(ada: Client, demo: ProductDatabase) -> None:
    set_overrides(demo, [Override(PRODUCT, SNEAKER)], decided_by="jon")
    opened = hidden_in(ada.get(f"/product?id={PRODUCT}"))
    publish(demo, [Answer(PRODUCT, SHIRT, 0.5, content="B")], night=1)
    refused = ada.form("/product/clear", **opened)
    assert (refused.status, "This product changed after you opened its page." in refused.text) == (409, True)


def test_a_page_that_is_older_than_its_lease_is_sent_after_a_new_one_was_opened(
    site: Site, ada: Client, demo: ProductDatabase
) -> None:
    old = ada.get(SHIRTS)
    site.clock.forward(minutes=11)
    new = ada.get(SHIRTS)
    assert page_id_of(new) != page_id_of(old)
    assert ada.send("/page", sent(page_id_of(old))).json["decided"] == len(products_on(old))
    faster = ada.send("/page", sent(page_id_of(new))).json
    assert (faster["decided"], faster["next"].startswith("/queue/again")) == (0, True), "what is decided is shown"
    assert len(decided_by(demo)) == len(products_on(old))


def test_the_page_after_the_one_that_was_taken_back_can_still_be_sent(ada: Client, demo: ProductDatabase) -> None:
    publish(demo, [Answer(f"many-{number:04d}", SHIRT, 0.5) for number in range(60)], night=1)
    first = ada.get(SHIRTS)
    ada.send("/page", sent(page_id_of(first)))
    following = ada.get(SHIRTS)
    assert ada.send("/back", {}).status == 200
    assert products_on(ada.get(SHIRTS)) == products_on(first)
    assert ada.send("/page", sent(page_id_of(following))).json["decided"] == len(products_on(following))


def test_many_pages_of_focus_do_not_push_out_an_open_page_of_the_queue(ada: Client) -> None:
    opened = ada.get(SHIRTS)
    for _ in range(110):
        ada.get(f"/focus?product={PRODUCT}")
    assert ada.send("/page", sent(page_id_of(opened))).json["decided"] == len(products_on(opened))


def test_a_page_that_is_not_remembered_is_refused_with_both_reasons(ada: Client) -> None:
    refused = ada.send("/page", sent("gone"))
    assert refused.status == 410
    assert "was started again, or you have opened very many pages since" in refused.json["error"]


def test_open_pages_are_remembered_up_to_a_number_of_products(site: Site) -> None:
    desk = site.services.desk("ada")
    item = QueueItem("p", "", SHIRT, "", 0.5, "review", "", 1, None, "seen")
    pages = [desk.keep(OpenPage(f"{number}", site.clock(), [item] * 60, "/queue")) for number in range(101)]
    assert [desk.page(page.page_id) is not None for page in pages] == [False, *[True] * 100]
    for page in pages[1:]:
        page.outcome = Outcome(0, 0, "/queue")
    more = [desk.keep(OpenPage(f"more-{number}", site.clock(), [item], "/focus")) for number in range(200)]
    assert all(desk.page(page.page_id) for page in more)
    assert sum(desk.page(page.page_id) is not None for page in pages) == 100


def test_what_another_tab_sends_of_the_same_page_is_not_written_and_the_person_is_told(ada: Client) -> None:
    page = ada.get(SHIRTS)
    first = ada.send("/page", sent(page_id_of(page), wrong=(0,))).json
    assert ada.send("/page", sent(page_id_of(page), wrong=(0,))).json == first
    assert "was sent before" not in ada.get("/focus").text, "the same again, as by a second press of the key"
    assert ada.send("/page", sent(page_id_of(page), wrong=(1, 2))).json == first
    assert "what you chose on it now was not written" in ada.get("/focus").text


def test_what_another_tab_decides_in_focus_is_not_written_and_the_person_is_told(
    ada: Client, demo: ProductDatabase
) -> None:
    page = ada.get(f"/focus?product={PRODUCT}")
    told = {"page_id": page_id_of(page), "action": "set"}
    for category_id in (BOOT, BOOT, SNEAKER):
        ada.send("/focus", {**told, "category_id": category_id})
    assert decided_by(demo) == [("ada", "set")]
    assert ada.get(f"/product?id={PRODUCT}").text.count("what you chose on it now was not written") == 1


def test_taking_a_page_back_tells_which_decisions_stay(ada: Client, demo: ProductDatabase) -> None:
    page = ada.get(SHIRTS)
    names = products_on(page)
    ada.send("/page", sent(page_id_of(page)))
    set_overrides(demo, [Override(names[0], BOOT)], decided_by="maria")
    back = ada.send("/back", {}).json
    notes = html.unescape(ada.get(back["next"]).text)
    assert f"Taken back: {len(names) - 1} decisions. 1 decision not, because somebody decided" in notes
    assert f"cleared the product since: '{names[0]}'." in notes

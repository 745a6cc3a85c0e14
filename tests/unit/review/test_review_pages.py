"""What the pages show and write, by their routes: marks, leases, planted products, taking back, and bad input."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from sql.overrides import Override, set_overrides
from sql.store import ProductDatabase
from tests.review_site import (
    BOOT,
    PULLOVER,
    SHIRT,
    SHIRTS,
    SNEAKER,
    TAXONOMY,
    TOPS,
    Answer,
    Client,
    Site,
    hidden_in,
    page_id_of,
    products_on,
    publish,
    review_site,
    rows,
    sent,
)

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>{{ 7919 * 6007 }}'


def test_a_page_accepts_what_is_not_marked_and_the_rest_goes_to_focus(ada: Client, demo: ProductDatabase) -> None:
    page = ada.get(SHIRTS)
    names = products_on(page)
    assert len(names) == 8
    answer = ada.send("/page", sent(page_id_of(page), wrong=(1, 3)))
    assert answer.json == {"decided": 6, "marked": 2, "next": f"/queue?status=review&order=surest&size=48&in={SHIRT}"}
    decided = rows(demo, "overrides")
    assert {row["product_id"] for row in decided} == set(names) - {names[1], names[3]}
    assert {(row["action"], row["came_by"], row["decided_by"], row["category_id"]) for row in decided} == {
        ("accept", "page", "ada", SHIRT)
    }
    focus = ada.get("/focus")
    assert f"<bdi>{names[1]}</bdi>" in focus.text
    done = ada.send("/focus", {"page_id": page_id_of(focus), "action": "set", "category_id": BOOT, "why": " a boot "})
    assert done.json == {"decided": 1, "next": "/focus"}
    focus = ada.get("/focus")
    assert f"<bdi>{names[3]}</bdi>" in focus.text
    none = ada.send("/focus", {"page_id": page_id_of(focus), "action": "none"})
    assert none.json["next"].startswith("/queue")
    last = rows(demo, "overrides")[-2:]
    assert [(row["action"], row["category_id"], row["why"], row["came_by"]) for row in last] == [
        ("set", BOOT, "a boot", "focus"),
        ("none", None, None, "focus"),
    ]


def test_a_replayed_page_is_written_once(ada: Client, demo: ProductDatabase) -> None:
    page_id = page_id_of(ada.get(SHIRTS))
    first = ada.send("/page", sent(page_id))
    again = ada.send("/page", sent(page_id, wrong=(0, 1)))
    assert first.json == again.json
    assert len(rows(demo, "overrides")) == first.json["decided"]


def test_a_page_of_a_group_asks_for_the_leaf_and_leaves_the_rest(ada: Client, demo: ProductDatabase) -> None:
    page = ada.get(f"/queue?in={TOPS}")
    names = products_on(page)
    answer = ada.send("/page", sent(page_id_of(page), wrong=(3,), leaves={"0": PULLOVER, "1": SHIRT, "2": ""}))
    assert (answer.json["decided"], answer.json["marked"]) == (3, 1)
    decided = {row["product_id"]: (row["action"], row["category_id"]) for row in rows(demo, "overrides")}
    assert decided == {names[0]: ("set", PULLOVER), names[1]: ("set", SHIRT), names[2]: ("accept", TOPS)}
    following = ada.get(ada.get(answer.json["next"]).headers["location"])
    assert f"{len(names) - 4} products were left undecided" in following.text
    assert not set(products_on(following)) & set(names), "they are not asked for again at once"
    ada.form("/queue/skipped")
    assert set(products_on(ada.get(f"/queue?in={TOPS}"))) == set(names[4:])


def test_z_takes_the_last_page_back_with_its_marks(ada: Client, demo: ProductDatabase) -> None:
    page = ada.get(SHIRTS)
    names = products_on(page)
    page_id = page_id_of(page)
    ada.send("/page", sent(page_id, wrong=(2,)))
    back = ada.send("/back", {})
    assert back.status == 200
    again = ada.get(back.json["next"])
    assert products_on(again) == names
    assert again.text.count('aria-pressed="true"') == 1
    assert "Taken back: 7 decisions" in again.text
    assert "Nothing is marked" in ada.get("/focus").text
    with demo.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM product_categories WHERE decided")).scalar() == 0
    replayed = ada.send("/page", sent(page_id))
    assert (replayed.status, "was taken back" in replayed.json["error"]) == (409, True)
    assert ada.send("/back", {}).status == 409


def test_a_focus_decision_can_be_taken_back(ada: Client) -> None:
    page = ada.get(SHIRTS)
    ada.send("/page", sent(page_id_of(page), wrong=(0, 1)))
    first = products_on(page)[0]
    ada.send("/focus", {"page_id": page_id_of(ada.get("/focus")), "action": "set", "category_id": BOOT})
    assert ada.send("/back", {}).json["next"] == "/focus"
    assert f"<bdi>{first}</bdi>" in ada.get("/focus").text


def test_the_second_person_gets_the_next_products(site: Site, ada: Client, demo: ProductDatabase) -> None:
    publish(demo, [Answer(f"many-{number:04d}", SHIRT, 0.5) for number in range(100)], night=1)
    maria = site.client(logged_in_as="maria")
    pages = [products_on(client.get(SHIRTS)) for client in (maria, ada)]
    assert [len(names) for names in pages] == [48, 48]
    assert len({*pages[0], *pages[1]}) == 96


def test_a_page_is_leased_to_one_person(site: Site, ada: Client) -> None:
    maria = site.client(logged_in_as="maria")
    hers = products_on(maria.get(SHIRTS))
    mine = products_on(ada.get(SHIRTS))
    assert len(hers) == 8
    assert not set(hers) & set(mine)
    assert products_on(maria.get(SHIRTS)) == hers, "loaded again, the page is the same"
    site.clock.forward(minutes=11)
    assert products_on(ada.get(SHIRTS)) == hers


def test_where_somebody_was_faster_just_those_products_come_back(ada: Client, demo: ProductDatabase) -> None:
    page = ada.get(SHIRTS)
    names = products_on(page)
    set_overrides(demo, [Override(names[0], SNEAKER)], decided_by="maria")
    publish(demo, [Answer(names[1], PULLOVER, 0.6, content="B")], night=1)
    answer = ada.send("/page", sent(page_id_of(page)))
    assert answer.json["decided"] == 6
    back = ada.get(answer.json["next"])
    assert products_on(back) == names[:2]
    assert "Somebody was faster" in back.text
    assert "A person decided meanwhile: Footwear &gt; Closed &gt; Sneaker." in back.text
    assert "It got a new answer meanwhile." in back.text
    done = ada.send("/page", sent(page_id_of(back)))
    assert done.json["decided"] == 1, "the other person's decision is not repeated"
    latest = {row["product_id"]: (row["category_id"], row["decided_by"]) for row in rows(demo, "overrides")}
    assert latest[names[0]] == (SNEAKER, "maria")
    assert latest[names[1]] == (PULLOVER, "ada")


@pytest.mark.parametrize(
    "query",
    [
        "status=gone",
        "reason=none",
        "order=random",
        "size=1000",
        "size=-1",
        "size=x",
        "title=%00",
        "in=%00",
        "below=%00",
    ],
)
def test_a_filter_that_is_none_is_one_sentence(ada: Client, query: str) -> None:
    answer = ada.get(f"/queue?{query}")
    assert answer.status == 422
    assert "That did not work" in answer.text


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("below=apparel.tops", 40),
        ("below=apparel.tops.shirt", 8),
        ("below=footwear", 0),
        ("run=nightly-2026-11-01", 40),
        ("run=other", 0),
        ("reason=taxonomy", 16),
        ("title=plain+article", 30),
        ("title=nothing", 0),
        ("status=auto", 40),
        ("in=no.such.category", 40),
        ("order=least_sure", 40),
        ("title=%25", 0),
        ("below=a'b", 0),
    ],
)
def test_filters_show_what_they_name(ada: Client, query: str, count: int) -> None:
    seen: set[str] = set()
    for category in (*TAXONOMY, ""):
        page = ada.get(f"/queue?{query}&in={category}") if "in=" not in query else ada.get(f"/queue?{query}")
        assert page.status in (200, 303), "where nothing waits, the next category is opened"
        seen |= set(products_on(page))
    assert len(seen) == count or "in=" in query


def test_hostile_titles_products_and_categories_are_shown_as_text(demo: ProductDatabase, tmp_path: Path) -> None:
    named = f"../{HOSTILE}&a=b#c?d"
    taxonomy = {**TAXONOMY, "zz": HOSTILE, "zz.y": f"{HOSTILE} > {HOSTILE}"}
    publish(demo, [Answer(named, "zz.y", 0.5, title=HOSTILE)], night=1, taxonomy=taxonomy)
    with review_site(demo, tmp_path) as site:
        client = site.client()
        paths = (
            "/queue?in=zz.y",
            f"/focus?product={quote(named, safe='')}",
            f"/product?id={quote(named, safe='')}",
            "/product?q=script",
            "/progress",
            f"/product?q={quote(HOSTILE)}",
            "/queue?title=script",
        )
        for path in paths:
            page = client.get(path)
            assert page.status in (200, 303), path
            assert "<script>alert" not in page.text, path
            assert "<img src=x" not in page.text, path
            assert f"{7919 * 6007}" not in page.text, path
        page = client.get("/queue?in=zz.y")
        assert client.send("/page", sent(page_id_of(page))).json["decided"] == 1
        assert rows(demo, "overrides")[0]["product_id"] == named


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/page", "{"),
        ("/page", "[]"),
        ("/page", "null"),
        ("/page", "[" * 100_000),
        ("/page", '{"page_id": 1}'),
        ("/page", '"' + "x" * 10**5 + '"'),
        ("/page", '{"page_id": "x", "wrong": [' + "1," * 300 + '1], "leaves": {}}'),
        ("/focus", '{"page_id": "x", "action": "delete"}'),
        ("/focus", '{"page_id": "x", "action": "accept"}'),
        ("/focus", '{"page_id": "x", "action": "none", "why": "\\ud800"}'),
    ],
)
def test_a_request_that_no_page_sends_is_one_sentence(ada: Client, path: str, body: str) -> None:
    answer = ada("POST", path, body, accept="application/json", content_type="application/json")
    assert answer.status == 422
    assert answer.json == {"error": "The request is not one that these pages send; load the page again."}


def test_what_a_page_does_not_have_is_refused_and_nothing_is_written(ada: Client, demo: ProductDatabase) -> None:
    page_id = page_id_of(ada.get(SHIRTS))
    for body, status, sentence in (
        (sent("gone"), 410, "Nothing was decided; open the queue again"),
        (sent(page_id, wrong=(99,)), 422, "names products that it does not have"),
        (sent(page_id, leaves={"0": "no.such"}), 409, "The taxonomy has no category 'no.such' (any more)"),
        (sent(page_id, leaves={"-1": SHIRT}), 422, "names products that it does not have"),
    ):
        answer = ada.send("/page", body)
        assert (answer.status, sentence in answer.json["error"]) == (status, True), answer.text
    assert rows(demo, "overrides") == []
    assert ada.send("/page", sent(page_id)).json["decided"] == 8, "the page can still be sent"


def test_another_person_s_page_is_not_known(site: Site, ada: Client) -> None:
    page_id = page_id_of(ada.get(SHIRTS))
    assert site.client(logged_in_as="maria").send("/page", sent(page_id)).status == 410


def test_a_taxonomy_that_changed_while_the_page_was_open_costs_only_that_page(
    ada: Client, demo: ProductDatabase
) -> None:
    focus = ada.get("/focus?product=article-00000")
    page_id = page_id_of(focus)
    missing = ada.send("/focus", {"page_id": page_id, "action": "set", "category_id": "apparel.new"})
    assert (missing.status, "choose another one" in missing.json["error"]) == (409, True)
    publish(demo, [Answer("other")], night=1, taxonomy={**TAXONOMY, "apparel.new": "Apparel > New"})
    found = ada.send("/focus", {"page_id": page_id, "action": "set", "category_id": "apparel.new"})
    assert found.json["decided"] == 1, "a category that is new is found at once"


def test_a_reason_that_cannot_be_stored_is_one_sentence(ada: Client) -> None:
    page_id = page_id_of(ada.get("/focus?product=article-00000"))
    answer = ada.send("/focus", {"page_id": page_id, "action": "none", "why": "a\0b"})
    assert (answer.status, "cannot be stored" in answer.json["error"]) == (422, True)


@pytest.mark.parametrize("path", ["/product?id=gone", "/focus?product=gone", "/product?id=" + "x" * 1000])
def test_a_product_that_is_gone_is_one_sentence(ada: Client, path: str) -> None:
    answer = ada.get(path)
    assert answer.status == 404
    assert "The database does not know product" in answer.text


def test_the_categories_are_searched_by_any_part_of_their_path(ada: Client) -> None:
    assert ada.get("/categories?q=tops+shi", accept="application/json").json[0] == [SHIRT, "Apparel > Tops > Shirt"]
    assert ada.get("/categories?q=", accept="application/json").json == []
    assert ada.get("/categories?q=%00", accept="application/json").status == 422


def test_a_decision_is_cleared_on_the_product_s_page(ada: Client, demo: ProductDatabase) -> None:
    set_overrides(demo, [Override("article-00002", SNEAKER)], decided_by="maria")
    page = ada.get("/product?id=article-00002")
    assert "maria" in page.text
    assert "Clear the decision" in page.text
    assert ada.form("/product/clear", **hidden_in(page), why="wrong shoe").status == 303
    last = rows(demo, "overrides")[-1]
    assert (last["action"], last["decided_by"], last["why"], last["came_by"]) == ("clear", "ada", "wrong shoe", "focus")
    again = ada.form("/product/clear", **hidden_in(page))
    assert (again.status, "nothing was cleared" in again.text) == (409, True)


def test_a_database_that_goes_away_loses_nothing_of_the_page(
    ada: Client, site: Site, demo: ProductDatabase, tmp_path: Path
) -> None:
    page_id = page_id_of(ada.get(SHIRTS))
    path, away = tmp_path / "shelfwise.db", tmp_path / "away.db"
    shutil.copy(path, away)
    path.write_bytes(b"this is no database" * 100)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    failed = ada.send("/page", sent(page_id, wrong=(0,)))
    assert failed.status == 503
    assert "Nothing of this page was written; try again." in failed.json["error"]
    assert ada.get("/queue").status == 503
    assert "The database failed" in ada.get("/progress").text
    path.unlink()
    shutil.copy(away, path)
    assert ada.send("/page", sent(page_id, wrong=(0,))).json == {
        "decided": 7,
        "marked": 1,
        "next": f"/queue?status=review&order=surest&size=48&in={SHIRT}",
    }
    assert len(rows(demo, "overrides")) == 7


def test_a_report_is_shown_without_scripts(ada: Client, tmp_path: Path) -> None:
    (tmp_path / "nightly-2026-11-01.html").write_text("<style>p{}</style><p>good</p>", encoding="utf-8")
    assert "/report?run=nightly-2026-11-01" in ada.get("/progress").text
    report = ada.get("/report?run=nightly-2026-11-01")
    assert report.status == 200
    assert "sandbox" in report.headers["content-security-policy"]
    assert "script-src" not in report.headers["content-security-policy"]
    for wrong in ("other", "..%2Fpeople", "%00", "a/b"):
        assert ada.get(f"/report?run={wrong}").status == 404

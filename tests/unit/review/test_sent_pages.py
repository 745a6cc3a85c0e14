"""What is sent of a page that is old, was sent before, or shows what is no longer so."""

from __future__ import annotations

import sqlalchemy as sa

from sql.overrides import Override, set_overrides
from sql.schema.tables import metadata
from sql.store import ProductDatabase
from tests.review_site import BOOT, SHIRT, SNEAKER, Answer, Client, hidden_in, publish

PRODUCT = "article-00002"


def decided_by(database: ProductDatabase) -> list[tuple[str, str]]:
    """Return (decided_by, action) of each decision, in order."""
    table = metadata.tables["overrides"]
    with database.engine.connect() as connection:
        rows = connection.execute(sa.select(table.c.decided_by, table.c.action).order_by(table.c.override_id))
        return [(row.decided_by, row.action) for row in rows]


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

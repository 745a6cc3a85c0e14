"""The command line on PostgreSQL: a night, a shop's own table, a person's decision, from nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import SmallShop
from tests.end_to_end.conftest import Shelfwise
from tests.sql.servers import FORGETFUL, NoServerError, started_server

pytestmark = pytest.mark.usefixtures("one_spark")


@pytest.fixture
def url() -> Iterator[str]:
    """URL of an empty database; without any server the test fails and says so."""
    try:
        with started_server(FORGETFUL) as server:
            name = server.create()
            yield server.database_url(name)
            server.drop(name)
    except NoServerError as error:
        pytest.fail(str(error), pytrace=False)


def test_a_night_over_a_shops_own_table(
    shelfwise: Shelfwise, shop: SmallShop, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add_many(["a", "b", "c"])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA shop")
        connection.execute("CREATE TABLE shop.articles (sku text PRIMARY KEY, photo text)")
        for (product_id, _), uri in shop.rows.items():
            path = os.fspath(shop.directory / uri)
            connection.execute("INSERT INTO shop.articles VALUES (%s, %s)", (product_id, path))
    monkeypatch.setenv("SHELFWISE_DATABASE_URL", url)
    monkeypatch.setenv("SHELFWISE_PRODUCTS_TABLE", "shop.articles")
    monkeypatch.setenv("SHELFWISE_PRODUCTS_COLUMNS", '{"product_id": "sku", "image_uri": "photo"}')
    refused = shelfwise("nightly", "--catalog", "products", "--run-date", "2026-11-01")
    assert (refused.code, "shelfwise db upgrade" in refused.err) == (1, True)
    assert shelfwise("db", "upgrade").code == 0
    done = shelfwise("nightly", "--catalog", "products", "--run-date", "2026-11-01", "--json")
    assert done.code == 0, done.err
    assert done.json["publish"]["products_changed"] == 3
    again = shelfwise("nightly", "--catalog", "products", "--run-date", "2026-11-01", "--json").json
    assert (again["ingest"]["images_unchanged"], again["publish"]["products_changed"]) == (3, 0)
    assert shelfwise("override", "set", "b", "apparel.tops.shirt", "--by", "ada").code == 0
    rows = shelfwise("query", "current_categories", "--format", "json").json
    assert {row["product_id"]: row["status"] == "manual" for row in rows} == {"a": False, "b": True, "c": False}
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM shop.articles").fetchone() == (3,)
        assert connection.execute("SELECT count(*) FROM products").fetchone() == (0,)

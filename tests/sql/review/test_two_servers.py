"""Two people who decide the same thousand products at once, on two servers that know nothing of each other's leases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import sqlalchemy as sa

from sql.store import ProductDatabase
from tests.review_site import SHIRT, Answer, Site, page_id_of, products_on, publish, review_site

_COUNTS = sa.text("""
SELECT
    (SELECT count(*) FROM product_categories WHERE status = 'manual' AND decided) AS decided,
    (SELECT count(*) FROM product_categories WHERE status <> 'manual') AS others,
    (SELECT count(*) FROM overrides) AS history,
    (SELECT count(DISTINCT product_id) FROM overrides) AS products
""")


def work(site: Site, person: str) -> int:
    """Accept pages until nothing waits; return how many products were decided."""
    client, decided = site.client(logged_in_as=person), 0
    address = f"/queue?in={SHIRT}&size=60"
    while products_on(page := client.get(address)):
        answer = client.send("/page", {"page_id": page_id_of(page), "wrong": [], "leaves": {}})
        assert answer.status == 200, answer.text
        decided += answer.json["decided"]
    return decided


def test_two_people_who_decide_the_same_thousand_products_leave_one_decision_each(
    database: ProductDatabase, tmp_path: Path
) -> None:
    publish(database, [Answer(f"p{number:04d}", SHIRT, round(0.4 + number / 2000, 4)) for number in range(1000)])
    with (
        review_site(database, tmp_path, by="ada") as one,
        review_site(database, tmp_path, by="maria") as other,
        ThreadPoolExecutor(2) as threads,
    ):
        decided = list(threads.map(work, (one, other), ("ada", "maria")))
    with database.engine.connect() as connection:
        counts = connection.execute(_COUNTS).mappings().one()
    assert sum(decided) == 1000
    assert dict(counts) == {"decided": 1000, "others": 0, "history": 1000, "products": 1000}

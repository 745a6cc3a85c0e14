"""Leases of products to people."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from jobs.review.leases import Leases
from tests.review_site import Clock


def test_a_product_is_on_one_person_s_page_for_ten_minutes() -> None:
    clock = Clock()
    leases = Leases(clock)
    assert leases.take("ada", ["p1", "p2"]) == {"p1", "p2"}
    assert leases.take("maria", ["p2", "p3"]) == {"p3"}
    assert leases.of_others("maria") == {"p1", "p2"}
    assert leases.of_others("ada") == {"p3"}
    clock.forward(minutes=9.9)
    assert leases.take("ada", ["p1"]) == {"p1"}, "whose page it is may go on"
    clock.forward(minutes=0.2)
    assert leases.take("maria", ["p1", "p2"]) == {"p2"}
    leases.release("maria", ["p1", "p2"])
    assert leases.of_others("ada") == set()
    assert leases.of_others("maria") == {"p1"}, "nobody ends another one's lease"


def test_two_people_who_take_the_same_products_at_once_share_them() -> None:
    leases = Leases(Clock())
    names = [f"p{number}" for number in range(1000)]
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda person: leases.take(str(person), names), range(8)))
    assert sum(map(len, taken)) == 1000
    assert set().union(*taken) == set(names)

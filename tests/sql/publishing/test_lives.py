"""Any sequence of nights, backfills, retractions, decisions and allowed pictures leaves what a model in Python says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sql.records import ReleaseRecord
from sql.store import ProductDatabase, open_database
from tests.extent import extent
from tests.sql import runs
from tests.sql.ingested import BROKEN, Dataset
from tests.sql.life_model import SHARED
from tests.sql.lives import CATEGORY_IDS, RELEASES, Lives, empty, expected, found

Step = tuple[str, dict[str, Any]]
"""Name of a method of `Lives`, and its arguments. Another kind of step is one more method there and line in `STEPS`."""

PRODUCTS = ("p", "q")
POSITIONS = [(product, image_no) for product in PRODUCTS for image_no in range(3)]
CATALOGS = st.dictionaries(st.sampled_from(POSITIONS), st.sampled_from(["A", "B", "C", SHARED, BROKEN]), max_size=5)
NIGHTS = st.integers(0, 4)
HELD = st.sampled_from([None, None, "foreign_group", "foreign_night"])
ONE_OF_RELEASES: st.SearchStrategy[ReleaseRecord] = st.sampled_from(list(RELEASES.values()))


def step(name: str, /, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    """Make steps of one kind."""
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


READ = step(
    "read",
    name=st.sampled_from(["shop", "shop", "outlet", ""]),
    night=NIGHTS,
    catalog=CATALOGS,
    partial=st.booleans(),
    title=st.sampled_from(["old", "new"]),
    publish=st.sampled_from([1, 1, 0]),
    held=HELD,
)
STEPS = st.one_of(
    READ,
    READ,
    READ,
    step("publish", night=NIGHTS, held=HELD),
    step("backfill", release=ONE_OF_RELEASES, nights=st.sets(NIGHTS, min_size=1), force=st.booleans(), held=HELD),
    step("promote", release=ONE_OF_RELEASES),
    step("retract", number=st.integers(0, 5)),
    step("decide", product=st.sampled_from(PRODUCTS), category_id=st.sampled_from([*CATEGORY_IDS, None])),
    step("clear", product=st.sampled_from(PRODUCTS)),
    step("allow"),
)
SEQUENCES = st.lists(STEPS, min_size=1, max_size=12)

# The releases are sure of most of these pictures.
FEW = st.dictionaries(st.sampled_from([("q", 0), ("q", 0), ("q", 1)]), st.sampled_from("ABCE"), min_size=1, max_size=2)
FIRST = step("read", name=st.just("shop"), night=st.just(0), catalog=FEW)
CHANGE = step("read", name=st.just("shop"), night=st.integers(1, 4), catalog=FEW, partial=st.booleans())
DECIDE = step("decide", product=st.just("q"), category_id=st.sampled_from([*CATEGORY_IDS, None, None]))
DECIDED = st.tuples(FIRST, DECIDE, CHANGE, st.lists(st.one_of(CHANGE, CHANGE, DECIDE, STEPS), max_size=8)).map(
    lambda parts: [*parts[:3], *parts[3]]
)
"""Sequences in which people decide early, and pictures change afterwards."""


OLDER_PICTURE: list[Step] = [
    ("read", {"name": "shop", "night": 0, "catalog": {("p", 0): SHARED}}),
    ("read", {"name": "shop", "night": 1, "catalog": {("p", 0): SHARED, ("p", 1): "A", ("q", 0): SHARED}}),
]
"""A night in which a product waits for a picture that an earlier one has predicted."""

PREDICTED_TWICE: list[Step] = [
    ("read", {"name": "shop", "night": 0, "catalog": {("p", 0): SHARED}, "held": "foreign_night"}),
    ("backfill", {"release": runs.RELEASE, "nights": {0}, "force": False}),
    OLDER_PICTURE[1],
]
"""The same, where two earlier runs have predicted that picture, and the first has held it back."""

WRITTEN_AGAIN: list[Step] = [
    ("read", {"name": "shop", "night": 0, "catalog": {("p", 0): "A", ("p", 1): "A", ("q", 0): SHARED}}),
    ("read", {"name": "shop", "night": 0, "catalog": {("p", 0): SHARED, ("p", 1): "A", ("q", 0): SHARED}}),
]
"""The first of these nights is read twice more, so that it predicts the picture anew."""


HELD_IN_TURN: list[Step] = [("backfill", {"release": runs.RELEASE, "nights": {0}, "held": "foreign_night"})]
"""A run that predicts the older picture again, and holds it back for a reason of its own."""


@pytest.fixture
def of_all_examples(url: str) -> Iterator[ProductDatabase]:
    """One database for all examples of a test, which each of them empties."""
    database = open_database(url)
    yield database
    database.engine.dispose()


@settings(
    max_examples=extent(20, of_all=600),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(SEQUENCES | DECIDED)
@example([*OLDER_PICTURE, ("retract", {"number": 0}), ("allow", {})])
@example(
    [*OLDER_PICTURE, ("read", {"name": "shop", "night": 2, "catalog": {("p", 0): "A"}}), ("retract", {"number": 1})]
)
@example([*PREDICTED_TWICE, ("retract", {"number": 0}), ("retract", {"number": 1})])
@example([*PREDICTED_TWICE, ("retract", {"number": 0}), ("allow", {})])
@example([*OLDER_PICTURE, *HELD_IN_TURN, ("retract", {"number": 1}), ("retract", {"number": 0}), ("allow", {})])
@example([*OLDER_PICTURE, *WRITTEN_AGAIN, ("retract", {"number": 0}), ("allow", {})])
@example([*OLDER_PICTURE, *WRITTEN_AGAIN, ("allow", {}), ("retract", {"number": 0})])
def test_any_sequence_of_steps_leaves_what_the_model_says(of_all_examples: ProductDatabase, steps: list[Step]) -> None:
    database = of_all_examples
    empty(database)
    lives = Lives(database)
    for name, arguments in steps:
        getattr(lives, name)(**arguments)
        assert found(database) == expected(lives.model), (name, arguments)


@settings(
    max_examples=extent(8, of_all=300),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(SEQUENCES | DECIDED, st.integers(0, 4))
def test_publishing_a_run_again_changes_no_row(of_all_examples: ProductDatabase, steps: list[Step], night: int) -> None:
    database = of_all_examples
    empty(database)
    lives = Lives(database)
    for name, arguments in steps:
        getattr(lives, name)(**arguments)
    lives.publish(night)
    before = runs.dump(database)
    lives.publish(night)
    assert runs.dump(database) == before


@settings(max_examples=extent(100, of_all=3000), deadline=None)
@given(st.lists(READ, max_size=8))
def test_reading_a_night_again_adds_no_row(steps: list[Step]) -> None:
    """The part of ingest that the tests of the database play."""
    dataset = Dataset()
    for _, arguments in steps:
        arguments = {name: value for name, value in arguments.items() if name not in ("publish", "held")}
        dataset.read(**arguments)
        assert dataset.read(**arguments) == 0

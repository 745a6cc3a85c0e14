"""When the images of a category or of a whole night are foreign: by hand-computed counts, and for any counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.answers.groups import (
    GROUP_SHARE,
    ImageCount,
    foreign_groups,
    foreign_whole,
    lower_bound,
    without_scores,
)


def tail(count: ImageCount, share: float) -> float:
    """Return the probability of at least so many foreign images if each is foreign with probability `share`."""
    n = count.images

    def log_chance(k: int) -> float:
        ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        return ways + k * math.log(share) + (n - k) * math.log(1 - share)

    return math.fsum(math.exp(log_chance(k)) for k in range(count.foreign, n + 1))


@pytest.mark.parametrize(("images", "fewest"), [(4, 4), (5, 4), (20, 8), (70, 17), (2000, 244)])
def test_one_category_is_foreign_from_its_fewest_images_on(images: int, fewest: int) -> None:
    assert foreign_groups({"a": ImageCount(images, fewest)}) == ["a"]
    assert foreign_groups({"a": ImageCount(images, fewest - 1)}) == []


@pytest.mark.parametrize("images", [0, 1, 2, 3])
def test_three_images_prove_nothing_of_a_category(images: int) -> None:
    assert foreign_groups({"a": ImageCount(images, images)}) == []


def test_the_bound_of_flawless_counts_is_a_root_of_what_is_left_to_chance() -> None:
    assert lower_bound(ImageCount(0, 0)) == lower_bound(ImageCount(5, 0)) == 0
    assert lower_bound(ImageCount(3, 3)) == 0.1
    assert lower_bound(ImageCount(10, 10)) == pytest.approx(0.001**0.1)
    assert lower_bound(ImageCount(10, 10), looked_at=5) == pytest.approx(0.0002**0.1)


@pytest.mark.parametrize("count", [ImageCount(5, 4), ImageCount(20, 8), ImageCount(70, 17), ImageCount(2000, 244)])
@pytest.mark.parametrize("looked_at", [1, 10, 500])
def test_the_bound_is_the_share_at_which_the_count_is_only_just_chance(count: ImageCount, looked_at: int) -> None:
    bound = lower_bound(count, looked_at=looked_at)
    assert tail(count, bound) == pytest.approx(0.001 / looked_at, rel=1e-6)


def test_categories_with_images_share_the_certainty() -> None:
    alone, others = {"a": ImageCount(20, 8)}, {str(number): ImageCount(1) for number in range(9)}
    assert foreign_groups({**alone, **{name: ImageCount() for name in others}}) == ["a"], "nothing was looked at there"
    assert foreign_groups({**alone, **others}) == []
    assert foreign_groups({**others, "a": ImageCount(20, 9)}) == ["a"]


@pytest.mark.parametrize("count", [ImageCount(4, 4), ImageCount(5, 4), ImageCount(20, 8), ImageCount(2000, 244)])
def test_foreign_images_of_other_categories_do_not_open_the_gate_of_a_category(count: ImageCount) -> None:
    """Each single one of them would be looked at with the category, and 4 of 5 is only just enough for one."""
    others = {str(number): ImageCount(number, number) for number in range(1, 9)}
    assert "a" in foreign_groups({"a": count, **others})
    assert foreign_groups({"a": count, "1": ImageCount(1, 1)}) == ["a"]


@pytest.mark.parametrize(
    ("images", "fewest"), [(0, None), (1, None), (5, None), (9, None), (10, 10), (70, 49), (2000, 1070)]
)
def test_a_whole_night_is_foreign_from_its_fewest_images_on(images: int, fewest: int | None) -> None:
    def night(foreign: int) -> Mapping[str, ImageCount]:
        """Spread the images over two categories, which does not matter."""
        half, some = images // 2, foreign // 2
        return {"a": ImageCount(half, min(some, half)), "b": ImageCount(images - half, foreign - min(some, half))}

    if fewest is None:
        assert not foreign_whole(night(images))
    else:
        assert foreign_whole(night(fewest))
        assert not foreign_whole(night(fewest - 1))
    assert not foreign_whole({})


@pytest.mark.parametrize(
    ("images", "without", "closed"),
    [
        *((0, 0, False), (1, 0, False), (1, 1, True), (2, 1, False), (3, 3, True)),
        *((4, 3, False), (5, 4, True), (20, 7, False), (20, 8, True), (2000, 243, False), (2000, 244, True)),
    ],
)
def test_the_gate_of_a_night_is_closed_if_all_or_surely_many_images_have_no_score(
    images: int, without: int, closed: bool
) -> None:
    assert without_scores(images, without) is closed


def test_one_foreign_image_in_a_hundred_is_no_news() -> None:
    counts = {f"c{number}": ImageCount(1000, 10) for number in range(100)}
    assert foreign_groups(counts) == []
    assert not foreign_whole(counts)


ONLY_JUST = [ImageCount(5, 4), ImageCount(20, 8), ImageCount(20, 9), ImageCount(70, 17), ImageCount(2000, 244)]
COUNTS = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.sampled_from(ONLY_JUST)
    | st.integers(1, 300).flatmap(lambda images: st.builds(ImageCount, st.just(images), st.integers(0, images))),
    min_size=1,
)


@settings(max_examples=40)
@given(COUNTS, st.data())
def test_more_foreign_images_never_let_a_foreign_group_pass(counts: dict[str, ImageCount], data: st.DataObject) -> None:
    """Whether they come in categories that have images or in others, and whether they are new or were known before."""
    worse = dict(counts)
    for name in data.draw(st.lists(st.sampled_from("abcdefghijkl"), min_size=1, max_size=6, unique=True)):
        before = counts.get(name, ImageCount())
        more, new = data.draw(st.integers(0, before.within)), data.draw(st.integers(0, 50))
        worse[name] = ImageCount(before.images + new, before.foreign + more + new)
    assert set(foreign_groups(counts)) <= set(foreign_groups(worse))
    assert foreign_whole(worse) or not foreign_whole(counts)


@settings(max_examples=40)
@given(COUNTS, st.randoms())
def test_the_order_of_categories_does_not_matter(counts: dict[str, ImageCount], random: Random) -> None:
    names = list(counts)
    random.shuffle(names)
    shuffled = {name: counts[name] for name in names}
    found = foreign_groups(shuffled)
    assert set(found) == set(foreign_groups(counts))
    assert found == [name for name in names if name in found], "in the order of the mapping"
    assert foreign_whole(shuffled) == foreign_whole(counts)


@settings(max_examples=40)
@given(COUNTS)
def test_a_group_is_foreign_only_if_its_count_is_no_chance_at_the_allowed_share(counts: dict[str, ImageCount]) -> None:
    looked_at = max(sum(count.foreign < count.images for count in counts.values()), 1)
    for name, count in counts.items():
        chance = tail(count, GROUP_SHARE)
        if chance != pytest.approx(0.001 / looked_at, rel=1e-6):
            assert (name in foreign_groups(counts)) is (chance < 0.001 / looked_at)

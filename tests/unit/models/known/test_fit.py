"""The limit of what a release knows, by hand; which images are kept; and what gives no limit."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.known.fit import (
    FILE_BYTES,
    LEAST_LIMIT,
    MOST_PIXELS,
    MOST_REFERENCES,
    Examples,
    FittedKnown,
    TooFewImages,
    _pixels,
    _raw_limit,
    drawn,
    fit_known,
    limit_of,
    sizes,
)
from models.known.images import KnownImages, read_known
from models.known.score import VERSION, network_part, pixel_images
from models.networks.pixels import PIXELS, STATISTICS


def examples(count: int, *, seed: int, per_product: int = 1, prefix: str = "", widths: int = 8) -> Examples:
    """Return played images of two networks: each product is a point, and its images lie around it."""
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(count // per_product + 1, widths))
    features = {
        name: np.stack([places[i // per_product] + 0.05 * rng.normal(size=widths) for i in range(count)]).astype("f4")
        for name in ("efficientnetb0", "xception")
    }
    products = [f"{prefix}p{number // per_product}" for number in range(count)]
    return Examples(features, products, [f"{prefix}c{number}" for number in range(count)])


def permuted(given: Examples, order: np.ndarray) -> Examples:
    features = {name: each[order] for name, each in given.features.items()}
    return Examples(features, [given.products[i] for i in order], [given.contents[i] for i in order])


def joined(one: Examples, other: Examples) -> Examples:
    features = {name: np.concatenate([each, other.features[name]]) for name, each in one.features.items()}
    return Examples(features, [*one.products, *other.products], [*one.contents, *other.contents])


def description(fitted: FittedKnown) -> KnownImages:
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "known.h5").write_bytes(fitted.content)
        return read_known(Path(scratch, "known.h5"))


def with_pixels(given: Examples, *, seed: int, spread: float = 0.1) -> Examples:
    rng = np.random.default_rng(seed)
    statistics = (0.5 + spread * rng.normal(size=(len(given.products), STATISTICS))).astype("f4")
    return replace(given, features={**given.features, PIXELS: statistics})


@pytest.mark.parametrize(
    ("count", "rank"), [(1, 1), (20, 20), (98, 98), (99, 99), (100, 100), (198, 198), (199, 198), (999, 990)]
)
def test_the_limit_is_the_99_percent_rank_of_one_score_more(count: int, rank: int) -> None:
    scores = np.arange(1, count + 1, dtype=float)
    assert limit_of(np.random.default_rng(1).permutation(scores)) == rank


def test_the_entry_and_the_file_of_a_description(tmp_path: Path) -> None:
    learned, calibrating = examples(300, seed=1, prefix="a"), examples(199, seed=2, prefix="b")
    fitted = fit_known(learned, calibrating)
    (tmp_path / "known.h5").write_bytes(fitted.content)
    known = read_known(tmp_path / "known.h5")
    assert (fitted.spec.calibrated_on, fitted.spec.references, fitted.spec.version) == (199, 300, VERSION)
    assert fitted.spec.sha256 == hashlib.sha256(fitted.content).hexdigest()
    assert (known.limit, fitted.spec.file) == (fitted.spec.limit, "known.h5")
    assert known.scores(calibrating.features) == pytest.approx(fitted.scores, abs=1e-6)  # rounded by the place of a row
    assert sorted(fitted.scores)[197] == 1.0, "one of 199 is above the 198th"
    assert (fitted.scores > 1).sum() == 1
    for name, network in known.networks.items():
        distances = network.distances(calibrating.features[name])
        assert (np.median(distances), np.std(distances)) == pytest.approx((network.middle, network.spread))


def test_features_that_no_learned_image_has_are_beyond_the_limit() -> None:
    learned, calibrating = examples(400, seed=1, prefix="a"), examples(200, seed=2, prefix="b")
    for given in (learned, calibrating):
        for features in given.features.values():
            features[:, 4:] = 0
    foreign = {name: np.eye(8, dtype="f4")[4:] * 9 for name in learned.features}
    assert (description(fit_known(learned, calibrating)).scores(foreign) > 1).all()


def test_the_order_of_the_images_does_not_matter() -> None:
    learned, calibrating = examples(300, seed=1, per_product=3), examples(120, seed=2, prefix="b")
    rng = np.random.default_rng(9)
    one = fit_known(learned, calibrating)
    other = fit_known(permuted(learned, rng.permutation(300)), permuted(calibrating, rng.permutation(120)))
    assert one.content == other.content
    assert one.spec == other.spec


def test_images_are_drawn_evenly_over_products_and_by_seed() -> None:
    products = ["large"] * 100 + [f"p{number}" for number in range(10)] + ["two", "two"]
    contents = [f"c{number}" for number in range(len(products))]
    rows = drawn(products, contents, most=20)
    assert Counter(products[row] for row in rows)["large"] == 8
    assert {products[row] for row in rows} == set(products)
    assert Counter(products[row] for row in rows)["two"] == 2
    assert rows == drawn(products, contents, most=20)
    assert set(rows) != set(drawn(products, contents, most=20, seed=8))


def test_a_content_is_drawn_once() -> None:
    assert len(drawn(["a", "b", "b"], ["same", "same", "other"])) == 2
    assert drawn(["b", "a"], ["same", "same"]) == [1], "for the first product"


def test_neighbours_of_the_same_product_or_content_do_not_count() -> None:
    """Each product has three nearly equal images. If these counted, every calibrating image would be near."""
    learned = examples(90, seed=4, per_product=3)
    alone = fit_known(learned, learned)
    others = fit_known(learned, replace(learned, products=[f"other {n}" for n in range(90)], contents=["x"] * 90))
    assert np.median([_middle(alone, name) for name in learned.features]) > 1.2 * np.median(
        [_middle(others, name) for name in learned.features]
    )
    copies = fit_known(learned, replace(learned, products=[f"other {n}" for n in range(90)]))
    assert copies.spec.limit != others.spec.limit, "the picture itself does not count under another product"


def test_pixels_help_where_the_networks_are_in_doubt_but_never_decide_alone() -> None:
    learned = with_pixels(examples(300, seed=1, prefix="a"), seed=11)
    calibrating = with_pixels(examples(200, seed=2, prefix="b"), seed=12)
    fitted = fit_known(learned, calibrating)
    known = description(fitted)
    assert known.pixels is not None
    assert known.scores(calibrating.features) == pytest.approx(fitted.scores, abs=1e-6)  # rounded by the place of a row
    strange = np.full((200, STATISTICS), 0.0, np.float32)
    by_networks = network_part(
        known.networks,
        {name: each.distances(calibrating.features[name]) for name, each in known.networks.items()},
        known.spread,
    )
    assert np.std(by_networks) == pytest.approx(1), "what the cap is measured in"
    scores = known.scores({**calibrating.features, PIXELS: strange})
    assert (scores[by_networks <= np.median(by_networks)] < 1).all(), "usual to the networks"
    assert (fitted.scores > 1).sum() == 1
    assert (scores > 1).sum() > 1, "what is in doubt is foreign now"
    bare = description(fit_known(examples(300, seed=1, prefix="a"), examples(200, seed=2, prefix="b")))
    assert bare.pixels is None


@pytest.mark.parametrize(
    ("tail", "least"), [(0.0, LEAST_LIMIT), *((tail, 0.0) for tail in (0.1, 0.5, 1.0, 2.0, 4.0, 8.0))]
)
def test_the_cap_of_the_pixels_is_below_what_an_image_that_is_usual_to_the_networks_lacks_to_the_limit(
    tail: float, least: float
) -> None:
    """However narrow the networks' scores are, and whatever the pixels of the calibrating images."""
    rng = np.random.default_rng(int(10 * tail))
    statistics = (0.5 + 0.1 * rng.normal(size=(500, STATISTICS))).astype("f4")
    networks = np.minimum(rng.normal(size=500), tail)
    pixels, added = _pixels(statistics, statistics, networks, least=least)
    limit = _raw_limit(networks + added, least=least)
    assert pixels is None or (0 < pixels.cap <= MOST_PIXELS)
    assert (0.0 if pixels is None else pixels.cap) + np.median(networks) < limit
    assert pixels is not None, "a cap is found"
    assert (pixels.cap == MOST_PIXELS) == (limit - np.median(networks) > MOST_PIXELS) or pixels.cap < MOST_PIXELS


def test_all_pixels_that_are_equal_describe_them_too() -> None:
    statistics = np.full((50, STATISTICS), 0.5, np.float32)
    assert np.isfinite(pixel_images(statistics).distances(statistics + 0.1)).all()
    learned = with_pixels(examples(50, seed=1, prefix="a"), seed=1, spread=0)
    assert fit_known(learned, learned).spec.limit > 0


def _middle(fitted: FittedKnown, name: str) -> float:
    return description(fitted).networks[name].middle


def test_a_content_under_two_products_excludes_both() -> None:
    """Reference c0 belongs to p0 and q; an image of q must not be compared with the other image of p0's picture."""
    from models.known.fit import _excluded

    learned = Examples({}, ["p0", "q", "p1", "q"], ["c0", "c0", "c1", "c2"])
    calibrating = Examples({}, ["q", "p1", "new"], ["c9", "c8", "c0"])
    assert [each.tolist() for each in _excluded(learned, [0, 2, 3], calibrating)] == [[0, 2], [1], [0, 2]]


def test_one_image_a_product_gives_a_limit() -> None:
    given = examples(60, seed=5)
    fitted = fit_known(given, given)
    assert fitted.spec.calibrated_on == fitted.spec.references == 60
    assert fitted.scores.max() == 1.0, "of fewer than 99 the largest"


def test_fewer_than_20_calibrating_images_give_none() -> None:
    with pytest.raises(TooFewImages, match=r"^19 images calibrate where at least 20 are needed for the limit"):
        fit_known(examples(50, seed=1, prefix="a"), examples(19, seed=2))
    fit_known(examples(50, seed=1, prefix="a"), examples(20, seed=2))


def test_features_that_tell_nothing_give_one_sentence() -> None:
    learned, calibrating = examples(50, seed=1, prefix="a"), examples(30, seed=2, prefix="b")
    equal = replace(learned, features={**learned.features, "xception": np.ones((50, 8), np.float32)})
    with pytest.raises(ValueError, match=r"^the features of xception are equal for all learned images"):
        fit_known(equal, calibrating)
    with pytest.raises(ValueError, match=r"^xception has 8 features of learned and 9 of calibrating images"):
        fit_known(
            learned,
            replace(calibrating, features={**calibrating.features, "xception": np.ones((30, 9), np.float32)}),
        )
    with pytest.raises(ValueError, match="do not fit each other"):
        fit_known(learned, replace(calibrating, features={"xception": calibrating.features["xception"]}))
    one = replace(learned, products=["one"] * 50)
    with pytest.raises(ValueError, match=r"^all learned images are of one product"):
        fit_known(one, one)


def test_images_without_finite_features_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """One picture that overflows a network once took the description from the release, which then knew every image."""
    learned, calibrating = examples(50, seed=1, prefix="a"), examples(30, seed=2, prefix="b")
    learned.features["efficientnetb0"][2, 1] = np.nan
    learned.features["xception"][3, 0] = np.inf
    calibrating.features["xception"][[7, 9]] = np.nan
    fitted = fit_known(learned, calibrating)
    assert [line.getMessage() for line in caplog.records] == [
        "2 of 50 learned and 2 of 30 calibrating images have features that are not finite, so they are left out of the "
        "description of the images that the release knows"
    ]
    kept, others = [*range(2), *range(4, 50)], [place for place in range(30) if place not in (7, 9)]
    expected = fit_known(permuted(learned, np.array(kept)), permuted(calibrating, np.array(others)))
    assert (fitted.content, fitted.spec) == (expected.content, expected.spec)
    assert (fitted.spec.references, fitted.spec.calibrated_on) == (48, 28)
    assert np.isnan(fitted.scores[[7, 9]]).all()
    assert fitted.scores[others].tolist() == expected.scores.tolist()


def test_without_enough_finite_features_there_is_no_description(caplog: pytest.LogCaptureFixture) -> None:
    learned, calibrating = examples(50, seed=1, prefix="a"), examples(30, seed=2, prefix="b")
    calibrating.features["xception"][:11, 2] = np.nan
    with pytest.raises(TooFewImages, match=r"^19 images with finite features, of 30, calibrate where at least 20 are"):
        fit_known(learned, calibrating)
    learned.features["xception"][:, 2] = np.inf
    with pytest.raises(ValueError, match=r"^none of 50 learned images has finite features"):
        fit_known(learned, examples(30, seed=2, prefix="b"))
    assert not caplog.records, "one sentence"


def test_copies_of_the_same_pictures_give_a_limit_that_is_no_rounding() -> None:
    """A shop with a few pictures under many products: the learned ones are known, and nothing else is."""
    learned = examples(20, seed=1)
    many = learned
    for _ in range(14):
        many = joined(many, learned)
    copies = replace(many, products=[f"p{n}" for n in range(300)], contents=[f"c{n}" for n in range(300)])
    fitted = fit_known(copies, copies)
    assert LEAST_LIMIT <= fitted.spec.limit < 5
    known = description(fitted)
    assert (known.scores(learned.features) <= 1).all()
    assert (known.scores(examples(20, seed=2).features) > 10).all()
    same = {name: np.repeat(each[:2], 150, axis=0) for name, each in learned.features.items()}
    assert fit_known(replace(copies, features=same), replace(copies, features=same)).spec.limit == pytest.approx(
        LEAST_LIMIT + 0.1
    )


@pytest.mark.parametrize("copied", [0.0, 0.9], ids=["usual", "most are copies"])
def test_bad_pictures_do_not_move_the_limit_from_its_rank(copied: float) -> None:
    """Five of 1,000 calibrating images are like nothing: the standard deviation is that of these five."""
    rng = np.random.default_rng(3)

    def around(count: int, prefix: str, *, copies: int = 0) -> Examples:
        points = np.tile(np.eye(10, 12), (count // 10, 1)) + 0.04 * rng.normal(size=(count, 12)) * (np.arange(12) < 10)
        points[:copies] = np.tile(np.eye(10, 12), (count // 10, 1))[:copies]
        numbers = [f"{prefix}{number}" for number in range(count)]
        return Examples({name: points.astype("f4") for name in ("efficientnetb0", "xception")}, numbers, numbers)

    learned = around(600, "a", copies=300 if copied else 0)
    calibrating = around(1_000, "b", copies=int(1_000 * copied))
    for features in calibrating.features.values():
        features[-5:] = np.eye(12)[11]
    fitted = fit_known(learned, calibrating)
    assert sorted(fitted.scores)[990] == 1.0, "the 991st of 1,000"
    assert (fitted.scores > 1).sum() == 9
    assert (fitted.scores[-5:] > 10).all()


@pytest.mark.parametrize("widths", [[1280], [1280, 2048], [2048, 1280, 2560], [2560] * 8, [16_384] * 3])
def test_the_file_stays_below_four_megabytes(widths: list[int]) -> None:
    dimensions, references = sizes(widths)
    arrays = sum(4 * w + 2 * w * min(dimensions, w) + references * min(dimensions, w) + 4 * dimensions for w in widths)
    assert arrays < FILE_BYTES - 50_000
    assert references >= 100
    assert references <= MOST_REFERENCES


def test_two_networks_of_the_shipped_release_have_all_references() -> None:
    assert sizes([1280, 2048]) == (128, MOST_REFERENCES)


def test_a_written_file_is_as_large_as_was_computed() -> None:
    given = examples(2_000, seed=6, widths=500)
    fitted = fit_known(given, examples(100, seed=7, prefix="b", widths=500))
    assert fitted.spec.references == 2_000
    arrays = 2 * (4 * 500 + 2 * 500 * 128 + 2_000 * 128 + 4 * 128)
    assert 0 < len(fitted.content) - arrays < 50_000

"""The file of the images that a release knows: the same after reading, and refused in one sentence if not ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from models.known.images import MOST_BYTES, KnownImages, read_known
from models.known.score import VERSION, network_images, pixel_images
from models.networks.pixels import STATISTICS

RNG = np.random.default_rng(5)
LEARNED = {"xception": RNG.normal(size=(40, 12)), "efficientnetb0": RNG.normal(size=(40, 8))}
LEARNED["pixels"] = RNG.uniform(size=(40, STATISTICS))
FEATURES = {name: values.astype(np.float32) for name, values in LEARNED.items()}


@pytest.fixture
def known() -> KnownImages:
    networks = {name: network_images(each, dimensions=6) for name, each in FEATURES.items() if name != "pixels"}
    return KnownImages(networks, pixel_images(FEATURES["pixels"]), spread=1.5, low=-3.0, limit=2.5)


@pytest.fixture
def file(known: KnownImages, tmp_path: Path) -> Path:
    path = tmp_path / "known.h5"
    path.write_bytes(known.content())
    return path


def test_a_file_gives_the_same_scores_in_the_networks_order(known: KnownImages, file: Path) -> None:
    read = read_known(file)
    assert list(read.networks) == ["xception", "efficientnetb0"]
    assert (read.spread, read.low, read.limit) == (1.5, -3.0, 2.5)
    assert read.widths == {"xception": 12, "efficientnetb0": 8, "pixels": STATISTICS}
    assert read.scores(FEATURES).tolist() == known.scores(FEATURES).tolist()
    assert known.content() == file.read_bytes() == read.content()


def test_a_score_is_in_units_of_the_limit(known: KnownImages) -> None:
    doubled = replace(known, limit=5.0)
    assert doubled.scores(FEATURES) == pytest.approx(known.scores(FEATURES) / 2)


def test_an_image_whose_features_are_not_finite_has_no_score_and_the_others_have_theirs(known: KnownImages) -> None:
    broken = {name: each.copy() for name, each in FEATURES.items()}
    broken["xception"][3, 1] = np.inf
    broken["efficientnetb0"][7, 0] = np.nan
    broken["pixels"][8:10, 2] = [np.inf, np.nan]
    scores = known.scores(broken)
    assert np.flatnonzero(np.isnan(scores)).tolist() == [3, 7, 8, 9]
    assert np.delete(scores, [3, 7, 8, 9]) == pytest.approx(np.delete(known.scores(FEATURES), [3, 7, 8, 9]))


def test_an_image_is_described_in_eight_bits_as_the_references_are(known: KnownImages) -> None:
    """One network after the other, in their order; what is not finite is no direction."""
    learned = np.hstack([network.references for network in known.networks.values()])
    scores, descriptors = known.described(FEATURES)
    assert scores.tolist() == known.scores(FEATURES).tolist()
    assert descriptors.dtype == np.int8
    assert descriptors.shape == learned.shape
    assert np.abs(descriptors.astype(int) - learned).max() <= 1, "the projection is rounded after they were learned"
    far = {name: np.where(np.arange(40)[:, None] == 3, np.nan, each * 50) for name, each in FEATURES.items()}
    _, described = known.described({name: each.astype(np.float32) for name, each in far.items()})
    assert not described[3].any()
    assert np.abs(described.astype(int)).max() <= 127


def test_a_description_without_pixels_needs_none(known: KnownImages, tmp_path: Path) -> None:
    (tmp_path / "known.h5").write_bytes(replace(known, pixels=None).content())
    read = read_known(tmp_path / "known.h5")
    assert read.pixels is None
    networks = {name: each for name, each in FEATURES.items() if name != "pixels"}
    assert np.isfinite(read.scores(networks)).all()
    with pytest.raises(ValueError, match="described by 14 features of pixels"):
        known.scores(networks)


def test_no_score_is_below_0(known: KnownImages) -> None:
    assert replace(known, low=1e6).scores(FEATURES).tolist() == [0.0] * 40


@pytest.mark.parametrize("features", [{}, {**FEATURES, "xception": FEATURES["efficientnetb0"]}])
def test_features_of_other_networks_are_refused(known: KnownImages, features: Any) -> None:
    with pytest.raises(ValueError, match="described by 12 features of xception"):
        known.scores(features)


def replaced_pixels(name: str, array: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[f"pixels/{name}"]
        file[f"pixels/{name}"] = array

    return change


def set_attribute(name: str, value: Any, group: str = "/") -> Callable[[h5py.File], None]:
    return lambda file: file[group].attrs.__setitem__(name, value)


def replaced(name: str, array: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[f"xception/{name}"]
        file[f"xception/{name}"] = array

    return change


def linked(file: h5py.File) -> None:
    del file["xception/mean"]
    file["xception/mean"] = h5py.ExternalLink("/etc/passwd", "/")


def soft(file: h5py.File) -> None:
    del file["xception/mean"]
    file["xception/mean"] = h5py.SoftLink("/efficientnetb0/mean")


def huge(file: h5py.File) -> None:
    del file["xception/references"]
    file.create_dataset("xception/references", (2**40, 6), np.int8, compression="gzip", chunks=(1024, 6))


def virtual(file: h5py.File) -> None:
    del file["xception/mean"]
    layout = h5py.VirtualLayout((12,), np.float32)
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (12,))
    file.create_virtual_dataset("xception/mean", layout)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (set_attribute("version", VERSION + 1), f"version {VERSION + 1} where {VERSION} was expected; upgrade"),
        (set_attribute("version", "new"), "cannot be read"),
        (set_attribute("neighbours", 10), "10 neighbours where 3"),
        (set_attribute("low", float("inf")), "the low inf where a number was expected"),
        (set_attribute("spread", 0.0), "the spread 0.0 where a number above 0"),
        (set_attribute("cap", -1.0, "pixels"), "the cap -1.0 where a number above 0"),
        (set_attribute("middle", float("nan"), "pixels"), "the middle nan"),
        (replaced_pixels("mean", np.zeros(13, np.float32)), "where 14 statistics were expected"),
        (replaced_pixels("unit", np.zeros(14, np.float32)), "a unit in pixels that is not above 0"),
        (replaced_pixels("whitening", np.full((14, 14), np.inf, np.float32)), "numbers in pixels that are none"),
        (replaced_pixels("whitening", np.zeros((14, 14))), "float64 in pixels/whitening where float32"),
        (set_attribute("limit", float("nan")), "the limit nan where a number above 0"),
        (set_attribute("limit", 0.0), "the limit 0.0"),
        (set_attribute("spread", -1.0, "xception"), "the spread -1.0"),
        (set_attribute("place", "first", "xception"), "cannot be read"),
        (replaced("mean", np.zeros(12)), "float64 in xception/mean where float32 was expected"),
        (replaced("mean", np.zeros(11, np.float32)), "which do not fit each other"),
        (replaced("mean", np.full(12, np.nan, np.float32)), "numbers in xception that are none"),
        (replaced("references", np.zeros((40, 5), np.int8)), "which do not fit each other"),
        (replaced("references", np.zeros((39, 6), np.int8)), "another number of references for each network"),
        (replaced("references", np.zeros((0, 6), np.int8)), "which do not fit each other"),
        (replaced("references", np.zeros(40, np.int8)), "arrays of the shapes"),
        (huge, "claims arrays of over"),
        (linked, "nothing of its own at 'mean'"),
        (soft, "nothing of its own at 'mean'"),
        (virtual, "keeps xception/mean outside of itself"),
        (lambda file: file.__delitem__("xception/scale"), "nothing of its own at 'scale'"),
        (lambda file: file.__setitem__("more", 1), "no group of arrays at 'more'"),
        (lambda file: file.clear(), "describes 0 networks"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_in_one_sentence(
    file: Path, change: Callable[[h5py.File], None], sentence: str
) -> None:
    with h5py.File(file, "r+") as opened:
        change(opened)
    with pytest.raises(ValueError, match=sentence) as refused:
        read_known(file)
    assert str(refused.value).startswith(str(file))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\x89HDF\r\n\x1a\n" + b"x" * 500])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "known.h5").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read"):
        read_known(tmp_path / "known.h5")


def test_a_file_that_is_cut_off_is_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(ValueError, match="cannot be read"):
        read_known(file)


def test_a_file_that_is_too_large_is_not_opened(tmp_path: Path) -> None:
    with (tmp_path / "known.h5").open("wb") as sparse:
        sparse.truncate(MOST_BYTES + 1)
    with pytest.raises(ValueError, match=r"has 67,108,865 bytes, and at most 67,108,864 are read"):
        read_known(tmp_path / "known.h5")

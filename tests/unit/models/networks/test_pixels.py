"""Statistics of pixels, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from models.networks.pixels import STATISTICS, pixel_statistics

RNG = np.random.default_rng(1)


def test_the_statistics_of_a_plain_picture_are_its_colour() -> None:
    images = np.zeros((1, 71, 71, 3), np.uint8)
    images[..., 0], images[..., 1] = 255, 51
    grey = (1 + 0.2) / 3
    expected = [1, 0.2, 0, 0, 0, 0, 1, 0, 0, 0, grey, 0, 0, 0]
    assert pixel_statistics(images)[0] == pytest.approx(expected, abs=1e-5)


def test_black_and_white_stripes() -> None:
    images = np.zeros((1, 32, 32, 3), np.uint8)
    images[:, :, ::2] = 255
    found = pixel_statistics(images)[0]
    assert found[:8] == pytest.approx([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0, 0], abs=1e-6)
    assert found[8:10] == pytest.approx([0, 1], abs=1e-6), "downwards nothing changes, to the right everything"
    assert found[12:] == pytest.approx([0.5, 0.5], abs=1e-6), "half is dark and half is bright"


def test_the_border_is_that_of_the_picture() -> None:
    images = np.full((1, 32, 32, 3), 255, np.uint8)
    images[:, 1:-1, 1:-1] = 0
    assert pixel_statistics(images)[0][10:12] == pytest.approx([1, 0], abs=1e-6)
    images[:] = 0
    images[:, :, 0] = 255
    assert pixel_statistics(images)[0][10] == pytest.approx((1 + 1 + 32) / 128), "left, with both corners again"


def test_of_a_large_picture_every_second_pixel_is_looked_at() -> None:
    images = np.zeros((1, 64, 64, 3), np.uint8)
    images[:, 1::2] = 255
    assert pixel_statistics(images)[0][:12].tolist() == [0] * 12


@pytest.mark.parametrize("side_px", [16, 56, 71, 224])
def test_the_statistics_do_not_depend_on_the_batch_and_little_on_the_size(side_px: int) -> None:
    coarse = RNG.integers(0, 256, (150, 8, 8, 3)).astype(np.uint8)
    images = coarse.repeat(side_px // 8 + 1, axis=1).repeat(side_px // 8 + 1, axis=2)[:, :side_px, :side_px]
    found = pixel_statistics(images)
    assert found.shape == (150, STATISTICS)
    assert found.dtype == np.float32
    assert found[100].tolist() == pixel_statistics(images[100:101])[0].tolist()
    assert ((found >= 0) & (found <= 1)).all()


def test_no_image_has_no_statistics() -> None:
    assert pixel_statistics(np.zeros((0, 71, 71, 3), np.uint8)).shape == (0, STATISTICS)

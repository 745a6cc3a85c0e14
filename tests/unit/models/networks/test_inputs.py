"""From JPEG bytes to each network's input: sizes, colours, ranges, and both networks from the same bytes."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.networks.inputs import decode_square, network_input, to_square
from models.spec import NetworkSpec

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def encode(pixels: NDArray[np.uint8], quality: int = 100) -> bytes:
    """Return a JPEG of RGB pixels."""
    done, encoded = cv2.imencode(
        ".jpg",
        cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
    )
    assert done
    return bytes(encoded.tobytes())


def plain(colour: tuple[int, int, int], height_px: int = 32, width_px: int = 48) -> NDArray[np.uint8]:
    return np.full((height_px, width_px, 3), colour, np.uint8)


def network(architecture: str, input_px: int) -> NetworkSpec:
    return NetworkSpec(architecture, input_px, "w.h5", "0" * 64, 1.0)


class TestDecodeSquare:
    @pytest.mark.parametrize("colour", [RED, GREEN, BLUE, (250, 128, 114)])
    def test_colours_come_out_as_rgb(self, colour: tuple[int, int, int]) -> None:
        decoded = decode_square(encode(plain(colour)), 24)
        assert decoded.shape == (24, 24, 3)
        assert np.abs(decoded.astype(int) - colour).max() <= 2

    def test_the_left_half_stays_left_and_the_top_stays_on_top(self) -> None:
        pixels = plain((0, 0, 0), 40, 60)
        pixels[:20, :30], pixels[20:, 30:] = RED, BLUE
        decoded = decode_square(encode(pixels), 40).astype(int)
        for (row, column), colour in {(5, 5): RED, (5, 34): (0, 0, 0), (34, 5): (0, 0, 0), (34, 34): BLUE}.items():
            assert np.abs(decoded[row, column] - colour).max() <= 12

    @pytest.mark.parametrize("data", [b"", b"<html>", b"\xff\xd8\xff\xe0", encode(plain(RED))[:60]])
    def test_bytes_that_are_not_a_jpeg_raise_value_error(self, data: bytes) -> None:
        with pytest.raises(ValueError, match=rf"expected a JPEG, received {len(data)} bytes"):
            decode_square(data, 24)

    def test_a_header_of_four_billion_pixels_raises_value_error(self) -> None:
        data = bytearray(encode(plain(RED)))
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = b"\xff\x00\xff\x00"
        with pytest.raises(ValueError, match="expected a JPEG"):
            decode_square(bytes(data), 24)

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(st.integers(2, 600), st.integers(0, 255)), min_size=1, max_size=4))
    def test_damaged_bytes_give_an_image_or_raise_value_error(self, changes: list[tuple[int, int]]) -> None:
        data = bytearray(encode(plain((10, 200, 30), 16, 16)))
        for at, value in changes:
            data[at % len(data)] = value
        frame = data.find(b"\xff\xc0")
        if frame >= 0:
            data[frame + 5 : frame + 9] = b"\x00\x10\x00\x10"  # a large canvas is slow and tried above
        try:
            assert decode_square(bytes(data), 8).shape == (8, 8, 3)
        except ValueError as error:
            assert "expected a JPEG" in str(error)


class TestToSquare:
    def test_an_image_of_the_right_size_is_returned_unchanged(self) -> None:
        pixels = plain(RED, 24, 24)
        assert to_square(pixels, 24) is pixels

    def test_enlarging_is_bilinear(self) -> None:
        pixels = np.array([[[0] * 3, [100] * 3]] * 2, np.uint8)
        # Pixel centres of 4 over 2: 0.25, 0.75, 1.25, 1.75; between the two centres 0.5 and 1.5 a straight line.
        assert to_square(pixels, 4)[0, :, 0].tolist() == [0, 25, 75, 100]

    def test_shrinking_to_less_than_half_averages_all_pixels(self) -> None:
        pixels = np.zeros((6, 6, 3), np.uint8)
        pixels[0, 0], pixels[0, 5], pixels[5, 0] = 90, 180, 45  # each in a block of nine with eight zeros
        assert to_square(pixels, 2)[..., 0].tolist() == [[10, 20], [5, 0]]

    @pytest.mark.parametrize("shape", [(600, 10), (10, 600), (600, 50), (600, 300)])
    def test_stripes_along_a_long_side_are_averaged_though_the_short_side_grows(self, shape: tuple[int, int]) -> None:
        """A thin image was once sampled: of 600 rows on 60, nine of ten were never looked at."""
        pixels = np.zeros((*shape, 3), np.uint8)
        if shape[0] > shape[1]:
            pixels[::5] = 250
        else:
            pixels[:, ::5] = 250
        assert np.abs(to_square(pixels, 60).astype(int) - 50).max() <= 1

    @given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(0, 255))
    def test_any_size_of_one_colour_stays_that_colour(self, height: int, width: int, side: int, value: int) -> None:
        square = to_square(np.full((height, width, 3), value, np.uint8), side)
        assert square.shape == (side, side, 3)
        assert (square == value).all()


class TestNetworkInput:
    def batch(self, side_px: int) -> NDArray[np.uint8]:
        random = np.random.default_rng(2)
        return random.integers(0, 256, (2, side_px, side_px, 3), np.uint8)

    def test_efficientnet_gets_0_to_255_and_xception_gets_minus_1_to_1_of_the_same_bytes(self) -> None:
        batch = self.batch(71)
        efficientnet = np.asarray(network_input(batch, network("efficientnetb0", 71)))
        xception = np.asarray(network_input(batch, network("xception", 71)))
        assert efficientnet.dtype == xception.dtype == np.float32
        np.testing.assert_array_equal(efficientnet, batch)
        np.testing.assert_allclose((xception + 1) * 127.5, batch, atol=1e-4)
        assert (xception.min(), xception.max()) == (-1, 1)

    def test_a_smaller_network_sees_the_same_picture_smaller(self) -> None:
        batch = self.batch(71)
        small = np.asarray(network_input(batch, network("efficientnetb0", 56)))
        also_small = np.asarray(network_input(batch, network("xception", 56)))
        assert small.shape == (2, 56, 56, 3)
        for seen, pixels in zip(small, batch, strict=True):
            by_opencv = cv2.resize(pixels.astype(np.float32), (56, 56), interpolation=cv2.INTER_LINEAR)
            np.testing.assert_allclose(seen, by_opencv, atol=0.01)
        np.testing.assert_allclose((also_small + 1) * 127.5, small, atol=1e-3)

    def test_an_image_of_the_input_size_is_not_resized(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from keras import ops

        def never(*_: Any, **__: Any) -> Any:
            raise AssertionError("resized without need")

        monkeypatch.setattr(ops.image, "resize", never)
        network_input(self.batch(32), network("xception", 32))

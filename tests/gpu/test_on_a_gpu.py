"""What only a GPU can show: half precision answers the same and pays, the batch grows, and memory is not all taken."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.networks.inputs import to_square
from models.release import SHIPPED, Release, load_release
from models.serving.predictor import EnsemblePredictor
from models.serving.tuning import SMALLEST_BATCH, agreement, find_batch_size
from models.spec import Images, Predictions

COUNT = 4000


@pytest.fixture(scope="module")
def release() -> Release:
    """The shipped release: trained networks, whose choices are not toss-ups."""
    return load_release(SHIPPED)


@pytest.fixture(scope="module")
def sample(release: Release) -> Images:
    """Smooth shapes on plain grounds, as different from one another as articles are."""
    random = np.random.default_rng(5)
    found = []
    for _ in range(COUNT):
        picture = np.zeros((48, 48, 3), np.uint8)
        centre = tuple(int(value) for value in random.integers(12, 36, 2))
        axes = tuple(int(value) for value in random.integers(4, 22, 2))
        cv2.ellipse(
            picture, centre, axes, int(random.integers(0, 180)), 0, 360, (int(random.integers(90, 255)),) * 3, -1
        )
        found.append(to_square(cv2.GaussianBlur(picture, (5, 5), 0).astype(np.uint8), release.decode_px))
    return np.stack(found)


def test_half_precision_makes_the_same_first_choices(release: Release, sample: Images) -> None:
    full, half = (EnsemblePredictor(release, SHIPPED, precision=each) for each in ("float32", "mixed_float16"))
    shares = [
        agreement(full.predict(sample[start : start + 500]), half.predict(sample[start : start + 500]))
        for start in range(0, COUNT, 500)
    ]
    assert np.mean(shares) >= 0.999


def test_the_batch_grows_on_a_gpu(release: Release) -> None:
    assert find_batch_size(EnsemblePredictor(release, SHIPPED, precision="mixed_float16")) > SMALLEST_BATCH


def test_a_batch_beyond_the_memory_is_halved(release: Release, tmp_path: Path) -> None:
    from jobs.predict.inference import Inference

    class Greedy(EnsemblePredictor):
        """Takes as much memory as a batch of several thousand large images would."""

        def predict(self, images: Images) -> Predictions:
            if len(images) > 64:
                from keras import ops

                ops.convert_to_numpy(ops.sum(ops.ones((1 << 17, 1 << 21), "float32")))
            return super().predict(images)

    inference = Inference(Greedy(release, SHIPPED))
    answer = inference.answer(np.zeros((128, release.decode_px, release.decode_px, 3), np.uint8))
    assert answer.errors == ("",) * 128
    assert inference.limit == 64


def test_memory_is_taken_as_it_is_needed() -> None:
    import keras

    if keras.backend.backend() != "tensorflow":
        pytest.skip(f"only TensorFlow tells how it takes memory; Keras computes by {keras.backend.backend()}")
    import tensorflow as tf

    assert all(tf.config.experimental.get_memory_growth(gpu) for gpu in tf.config.list_physical_devices("GPU"))

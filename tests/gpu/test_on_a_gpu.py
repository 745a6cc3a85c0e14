"""What only a GPU can show: half precision answers the same and pays, the batch grows, and memory is not all taken."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.networks.inputs import to_square
from models.release import SHIPPED, Release, load_release
from models.serving.predictor import EnsemblePredictor
from models.serving.tuning import SMALLEST_BATCH, find_batch_size
from models.spec import Images, Predictions

COUNT, PART = 4000, 500
TOSS_UP = 0.03
"""Two categories whose confidences differ less may change places in half precision."""


@pytest.fixture(scope="module")
def release() -> Release:
    """The shipped release: networks that were trained."""
    return load_release(SHIPPED)


@pytest.fixture(scope="module")
def sample(release: Release) -> Images:
    """Smooth shapes on plain grounds: no articles, so that some lie between two categories."""
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


def test_half_precision_makes_the_same_first_choices_but_where_two_categories_are_equally_likely(
    release: Release, sample: Images
) -> None:
    full, half = (EnsemblePredictor(release, SHIPPED, precision=each) for each in ("float32", "mixed_float16"))
    parts = [sample[start : start + PART] for start in range(0, COUNT, PART)]
    expected, found = (
        np.concatenate([predictor.predict(part).confidences for part in parts]) for predictor in (full, half)
    )
    different = expected.argmax(axis=1) != found.argmax(axis=1)
    second, first = np.sort(expected[different], axis=1)[:, -2:].T
    assert (first - second < TOSS_UP).all()
    assert different.mean() < 0.005


def test_the_batch_grows_on_a_gpu(release: Release) -> None:
    predictor = EnsemblePredictor(release, SHIPPED, precision="mixed_float16")
    # JAX compiles for every size, so that larger ones would take minutes here.
    assert find_batch_size(predictor, largest=4 * SMALLEST_BATCH) > SMALLEST_BATCH


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

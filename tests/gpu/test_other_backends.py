"""The training on an accelerator's own backend: what comes back answers in TensorFlow as it did there."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
LOAD = """
import sys
import keras, numpy as np
model = keras.saving.load_model(sys.argv[1], compile=False)
images = np.random.default_rng(3).uniform(0, 255, (4, 32, 32, 3)).astype("float32")
np.save(sys.argv[2], keras.ops.convert_to_numpy(model(images)))
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_network_that_was_trained_on_another_backend_answers_the_same_in_tensorflow(
    backend: str, tmp_path: Path
) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"needs {backend}, which this environment has not")
    random = np.random.default_rng(3)
    arrays: dict[str, Any] = {
        name: random.integers(0, 256, (count, 32, 32, 3), np.uint8)
        for name, count in (("squares", 24), ("held_out_squares", 8))
    }
    arrays |= {"labels": np.arange(24) % 3, "held_out_labels": np.arange(8) % 3}
    np.savez(tmp_path / "arrays.npz", **arrays)
    words = ["--arrays", "arrays.npz", "--network", "efficientnetb0", "--input-px", "32", "--epochs", "1"]
    _run(tmp_path, backend, "-m", "models.train_arrays", *words, "--work-dir", "work", "--output", "b0.keras")
    for name in (backend, "tensorflow"):
        _run(tmp_path, name, "-c", LOAD, "b0.keras", f"{name}.npy")
    there, here = np.load(tmp_path / f"{backend}.npy"), np.load(tmp_path / "tensorflow.npy")
    assert np.ptp(here) > 0
    np.testing.assert_allclose(here, there, atol=1e-3)


def _run(directory: Path, backend: str, *words: str) -> None:
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *words], cwd=directory, env=environment, check=True, timeout=280)

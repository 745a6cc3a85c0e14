"""Training from arrays alone: what it leaves, and that it needs neither Spark nor TensorFlow to be read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.registry import ARCHITECTURES, architecture
from models.train_arrays import main, read_arrays
from tests import tiny_network

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def tiny_architecture() -> Iterator[None]:
    """Make the tiny network known."""
    ARCHITECTURES[tiny_network.NAME] = "tests.tiny_network"
    yield
    del ARCHITECTURES[tiny_network.NAME]


def write(path: Path, **left_out: None) -> Path:
    labels = np.arange(40) % 2
    squares = np.zeros((40, 16, 16, 3), np.uint8)
    squares[np.arange(40), ..., labels * 2] = 200
    arrays = {"squares": squares, "labels": labels, "held_out_squares": squares[:10], "held_out_labels": labels[:10]}
    np.savez(path, **{name: array for name, array in arrays.items() if name not in left_out})
    return path


def test_its_weights_are_those_of_the_architecture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays, output = write(tmp_path / "a.npz"), tmp_path / "out.weights.h5"
    words = ["--network", "tiny", "--input-px", "16", "--epochs", "2", "--learning-rate", "0.02", "--batch-size", "8"]
    place = ["--arrays", str(arrays), "--work-dir", str(tmp_path / "work"), "--output", str(output)]
    assert main([*words, *place]) == 0
    assert "best epoch" in capsys.readouterr().out
    architecture("tiny").build(input_px=16, categories=2).load_weights(output)


def test_a_missing_array_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lacks held_out_squares, uint8, with a label each"):
        read_arrays(write(tmp_path / "a.npz", held_out_labels=None), batch_size=8, seed=1)


def test_no_spark_and_no_tensorflow_is_imported_for_it() -> None:
    absent = "pyspark petastorm tensorflow pyarrow pandas sqlalchemy click"
    modules = "models.train_arrays, models.recipe, models.train_fashion_mnist"
    code = f"import sys\nfor name in {absent.split()}: sys.modules[name] = None\nimport {modules}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""Training from arrays alone: what it leaves, and that it needs neither Spark nor TensorFlow to be read."""

from __future__ import annotations

import errno
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.dataset.parts import part_of
from jobs.errors import RunFailed, UsageError
from jobs.storage.places import Places
from jobs.training import export as arrays_file
from jobs.training.export import ArraysConfig
from jobs.training.selection import Selection
from models.networks.origin import origin_of
from models.networks.registry import ARCHITECTURES, INPUT_PX, architecture
from models.train_arrays import main, read_arrays
from models.training.arrays import Arrays
from models.training.recipe import Batch
from tests import tiny_network
from tests.labelled import LEAVES, RED, write_labelled
from tests.programs import exit_code, offer_networks

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def tiny_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the tiny network known."""
    monkeypatch.setitem(ARCHITECTURES, tiny_network.NAME, "tests.tiny_network")
    monkeypatch.setitem(INPUT_PX, tiny_network.NAME, (16, 16))
    offer_networks(main, [tiny_network.NAME], monkeypatch)


def write(path: Path, **left_out: None) -> Path:
    labels = np.arange(40) % 2
    squares = np.zeros((40, 16, 16, 3), np.uint8)
    squares[np.arange(40), ..., labels * 2] = 200
    arrays: dict[str, Any] = {
        "squares": squares,
        "labels": labels,
        "held_out_squares": squares[:10],
        "held_out_labels": labels[:10],
    }
    np.savez(path, **{name: array for name, array in arrays.items() if name not in left_out})
    return path


def test_the_trained_weights_fit_the_architecture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays, output = write(tmp_path / "a.npz"), tmp_path / "out.weights.h5"
    words = ["--network", "tiny", "--input-px", "16", "--epochs", "2", "--learning-rate", "0.02", "--batch-size", "8"]
    place = ["--arrays", str(arrays), "--work-dir", str(tmp_path / "work"), "--output", str(output)]
    assert exit_code(main, [*words, *place]) == 0
    assert "best epoch" in capsys.readouterr().out
    architecture("tiny").build(input_px=16, categories=2).load_weights(output)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"labels": np.arange(40) % 3, "category_ids": np.array(["a", "b"])}, "labels of squares go from 0 to 2"),
        ({"held_out_labels": np.full(10, -1)}, "labels of held_out_squares go from -1 to -1"),
        ({"labels": np.full(40, 0.5)}, "whole numbers from 0"),
        (
            {"held_out_squares": np.zeros((10, 9, 16, 3), np.uint8)},
            r"held_out_squares of shape \(10, 9, 16, 3\); expected",
        ),
        ({"squares": np.zeros((0, 16, 16, 3), np.uint8), "labels": np.zeros(0, int)}, "at least one"),
    ],
)
def test_arrays_that_cannot_be_trained_on_give_one_sentence(
    change: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with np.load(write(tmp_path / "a.npz")) as held:
        np.savez(tmp_path / "b.npz", **{**held, **change})
    with pytest.raises(ValueError, match=sentence):
        read_arrays(tmp_path / "b.npz", batch_size=8, seed=1)


def test_squares_of_another_size_than_the_input_give_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Serving makes the input of the image itself, in one step; of a larger square it would be another input."""
    words = ["--network", "tiny", "--input-px", "20", "--work-dir", str(tmp_path / "work"), "--output", "a.keras"]
    assert exit_code(main, [*words, "--arrays", str(write(tmp_path / "a.npz"))]) == 1
    assert "holds squares of 16 px and the network's input is 20 px; write them with" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--head-epochs", "2"], "starts from nothing is trained whole; leave --head-epochs"),
        (["--unfreeze-from", "block2a"], "starts from nothing is trained whole; leave --head-epochs"),
        (["--epochs", "0"], "with 0 epochs nothing is trained"),
    ],
)
def test_contradicting_epoch_options_are_refused(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--arrays", "a.npz", "--work-dir", str(tmp_path), "--output", "a.keras"]
    assert exit_code(main, ["--network", "tiny", "--input-px", "16", *place, *words]) == 2
    assert sentence in capsys.readouterr().err


def test_a_training_that_does_not_fit_into_memory_resumes_with_smaller_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = Arrays.batches

    def batches(self: Arrays, epoch: int) -> Iterator[Batch]:
        if epoch == 2 and self.batch_size == 8:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9663676416 bytes.")
        return plain(self, epoch)

    monkeypatch.setattr(Arrays, "batches", batches)
    work, output = tmp_path / "work", tmp_path / "out.weights.h5"
    words = ["--network", "tiny", "--input-px", "16", "--epochs", "3", "--arrays", str(write(tmp_path / "a.npz"))]
    words += ["--work-dir", str(work), "--output", str(output)]
    assert exit_code(main, [*words, "--batch-size", "8"]) == 1
    sentence = (
        "tiny with so many images a step does not fit the memory; run the same command with a smaller --batch-size"
    )
    told = capsys.readouterr().err
    assert f"{sentence}: the 2 epochs before are kept in {work}\n" in told
    assert "epoch 2:" in told
    assert exit_code(main, [*words, "--batch-size", "4"]) == 0
    assert re.findall(r"epoch (\d):", capsys.readouterr().err) == ["3"]


def test_other_errors_of_a_training_are_not_reported_as_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def batches(self: Arrays, epoch: int) -> Iterator[Batch]:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(Arrays, "batches", batches)
    words = ["--network", "tiny", "--input-px", "16", "--arrays", str(write(tmp_path / "a.npz"))]
    with pytest.raises(ZeroDivisionError):
        exit_code(main, [*words, "--work-dir", str(tmp_path / "work"), "--output", str(tmp_path / "a.keras")])


def test_a_missing_array_gives_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lacks held_out_squares, uint8, with a label each"):
        read_arrays(write(tmp_path / "a.npz", held_out_labels=None), batch_size=8, seed=1)


def test_a_network_can_be_trained_from_exported_arrays(tmp_path: Path) -> None:
    """From ingested products to arrays, to a whole network in one file that any Keras loads."""
    products = [(f"product-{number:03d}", LEAVES[number % 3], [number % 3]) for number in range(90)]
    write_labelled(Places(tmp_path), [*products, ("product-broken", RED, [-1])])
    target = tmp_path / "out" / "colours.npz"
    done = arrays_file.run(ArraysConfig(Selection(Places(tmp_path)), target, 16))
    parts = [part_of(product_id) for product_id, _, _ in products]
    assert (done["images"], done["held_out_images"]) == (parts.count("train"), parts.count("validation"))
    assert sorted(path.name for path in target.parent.iterdir()) == ["colours.classes.csv", "colours.npz"]
    with np.load(target, allow_pickle=False) as held:
        assert held["category_ids"].tolist() == sorted(LEAVES)
        squares, labels = held["squares"], held["labels"]
        brightest = {LEAVES.index(sorted(LEAVES)[label]) for label in labels}
        assert brightest == {0, 1, 2}
        for square, label in zip(squares, labels, strict=True):
            assert square.mean(axis=(0, 1)).argmax() == LEAVES.index(sorted(LEAVES)[label])
    rows = (target.parent / "colours.classes.csv").read_text().splitlines()
    assert rows == ["cold.blue,Cold > Blue", "cold.green,Cold > Green", "warm.red,Warm > Red"]
    words = ["--network", "tiny", "--input-px", "16", "--epochs", "12", "--learning-rate", "0.03", "--batch-size", "8"]
    place = ["--arrays", str(target), "--work-dir", str(tmp_path / "work"), "--output", str(tmp_path / "tiny.keras")]
    assert exit_code(main, [*words, *place]) == 0
    assert origin_of(tmp_path / "tiny.keras")["train_images"] == done["images"]
    import keras

    model = keras.saving.load_model(tmp_path / "tiny.keras", compile=False)
    answers = np.asarray(model(squares.astype(np.float32) / 127.5 - 1)).argmax(axis=1)
    assert (answers == labels).mean() > 0.9


def test_an_export_that_cannot_be_written_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    products = [(f"product-{number:03d}", LEAVES[number % 3], [number % 3]) for number in range(90)]
    write_labelled(Places(tmp_path), products)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(RunFailed, match="No space left on device"):
        arrays_file.run(ArraysConfig(Selection(Places(tmp_path)), tmp_path / "out" / "colours.npz", 16))
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(UsageError, match=r"does not end in \.npz"):
        arrays_file.run(ArraysConfig(Selection(Places(tmp_path)), tmp_path / "out" / "colours.zip", 16))


def test_no_file_is_written_through_a_memory_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk that is SIGBUS, which ends the process without a word."""
    modes: list[str] = []

    class Mapped(np.memmap):
        def __new__(cls, *words: Any, **named: Any) -> Any:
            modes.append(named.get("mode") or words[2])
            return super().__new__(cls, *words, **named)

    monkeypatch.setattr(np, "memmap", Mapped)
    products = [(f"product-{number:03d}", LEAVES[number % 3], [number % 3]) for number in range(90)]
    write_labelled(Places(tmp_path), products)
    arrays_file.run(ArraysConfig(Selection(Places(tmp_path)), tmp_path / "colours.npz", 16))
    assert modes == ["r", "r"]


def test_decoded_squares_that_cannot_be_written_leave_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    products = [(f"product-{number:03d}", LEAVES[number % 3], [number % 3]) for number in range(90)]
    write_labelled(Places(tmp_path), products)
    opened, target = Path.open, tmp_path / "out"

    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def full(path: Path, mode: str = "r", *options: Any, **named: Any) -> Any:
        return Full() if target in path.parents and mode == "wb" else opened(path, mode, *options, **named)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(RunFailed, match=r"colours.npz cannot be written \(No space left on device\); free some space"):
        arrays_file.run(ArraysConfig(Selection(Places(tmp_path)), target / "colours.npz", 16))
    assert list(target.iterdir()) == []


def test_a_file_without_arrays_gives_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.npz").write_text("no arrays")
    words = ["--network", "tiny", "--input-px", "16", "--work-dir", str(tmp_path), "--output", "a.keras"]
    assert exit_code(main, [*words, "--arrays", str(tmp_path / "a.npz")]) == 1
    assert "write it with `shelfwise export-arrays`" in capsys.readouterr().err
    assert exit_code(main, [*words[:-1], "a.onnx", "--arrays", "a.npz"]) == 2
    assert "Error: --output a.onnx must end in .keras or .weights.h5\n" in capsys.readouterr().err


def test_train_arrays_imports_neither_spark_nor_tensorflow() -> None:
    absent = "pyspark petastorm tensorflow pyarrow pandas sqlalchemy pydantic rich"
    modules = "models.train_arrays, models.train_fashion_mnist, "
    modules += "models.training.loop, models.training.phases, models.training.starts"
    # Keras itself needs one of three backends, of which only TensorFlow may be here; of it no name may be used.
    keras = "sys.modules['keras'] = mock.MagicMock()"
    code = f"import sys\nfrom unittest import mock\nfor name in {absent.split()}: sys.modules[name] = None\n{keras}\n"
    done = subprocess.run([sys.executable, "-c", f"{code}import {modules}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""Archives and descriptions of others that would unpack, read or run too much: refused before anything is unpacked."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from models.foreign import archives
from models.foreign.archives import check_archive
from models.foreign.expected import read_expected
from models.foreign.files import foreign_file, refuse_code
from models.foreign.hdf5 import opened
from models.release import ReleaseError

EMPTY = json.dumps({"class_name": "Functional", "config": {"layers": []}})


def archive(path: Path, entries: list[tuple[str, bytes]], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as file:
        for name, content in [("config.json", EMPTY.encode()), *entries]:
            file.writestr(name, content)
    return path


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SMALL", 10_000)
    monkeypatch.setattr(archives, "MOST_UNPACKED", 300_000)


@pytest.mark.usefixtures("small_bounds")
@pytest.mark.parametrize(
    ("entries", "how", "sentence"),
    [
        ([(f"{number}", b"") for number in range(100)], zipfile.ZIP_STORED, "it has 101 entries, and at most 100"),
        ([("model.weights.h5", b"0" * 200_000)], zipfile.ZIP_DEFLATED, r"its \d+ bytes unpack to 200,05\d"),
        ([("assets/words", b"0" * 200_000)], zipfile.ZIP_DEFLATED, r"its \d+ bytes unpack to 200,05\d"),
        ([("a", b"0" * 200_000), ("b", b"0" * 200_000)], zipfile.ZIP_STORED, "its entries take 400,05"),
        ([("model.weights.h5", b"00")], zipfile.ZIP_BZIP2, "compressed in another way"),
        ([("../shelfwise.json", b"")], zipfile.ZIP_STORED, r"its entry '\.\./shelfwise\.json' leads out of it"),
        ([("/etc/x", b"")], zipfile.ZIP_STORED, "its entry '/etc/x' leads out of it"),
        ([("config.json", b"{}")], zipfile.ZIP_STORED, r"two entries named 'config\.json'"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_that_claims_too_much_is_refused_before_it_is_unpacked(
    entries: list[tuple[str, bytes]], how: int, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path / "theirs.keras", entries, how)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(ReleaseError, match=sentence):
        foreign_file(path)
    with pytest.raises(ReleaseError, match=sentence), opened(path):
        pass


@pytest.mark.parametrize("told", [10, 199_999])
def test_an_entry_that_holds_more_than_the_archive_says_is_refused(told: int, tmp_path: Path) -> None:
    """By its own sizes it is small, so only counting shows it."""
    path = archive(tmp_path / "theirs.keras", [("model.weights.h5", b"0" * 200_000)])
    content = path.read_bytes()
    path.write_bytes(content.replace((200_000).to_bytes(4, "little"), told.to_bytes(4, "little")))
    with pytest.raises(ReleaseError, match=rf"'model\.weights\.h5' holds more than the {told:,} bytes it says"):
        foreign_file(path)


def test_an_ordinary_archive_is_read_compressed_or_not(tmp_path: Path) -> None:
    for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        weights = np.random.default_rng(1).normal(size=50_000).tobytes()
        path = archive(tmp_path / f"{how}.keras", [("metadata.json", b"{}"), ("model.weights.h5", weights)], how)
        with zipfile.ZipFile(path) as file:
            check_archive(file)
        refuse_code(foreign_file(path))


def test_arrays_of_equal_numbers_compressed_in_hdf5_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "SMALL", 10_000)
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file.create_dataset("kernel", data=np.zeros((1000, 1000), np.float32), compression="gzip")
    refused = pytest.raises(ReleaseError, match=r"bytes unpack to 4,000,000, as no trained weights do")
    with refused, opened(tmp_path / "theirs.h5"):
        pass


def test_expected_answers_that_unpack_to_far_more_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SMALL", 10_000)
    np.savez_compressed(tmp_path / "e.npz", images=np.zeros((16, 64, 64, 3), np.uint8), answers=np.zeros((16, 4)))
    with pytest.raises(ReleaseError, match=r"does not hold the arrays images and answers \(its .* unpack to"):
        read_expected(tmp_path / "e.npz", input_px=64, categories=4)


@pytest.mark.parametrize("module", ["keras", "keras.layers", None])
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("layers.Lambda", "holds a Lambda layer"),
        (["Lambda"], r"\"\['Lambda'\]\" where the name of a layer was expected"),
        (None, "'None' where the name of a layer was expected"),
        ("layers.Dense", "holds 'layers.Dense', which is no layer of an image network"),
        ("src.ops.numpy.Add", "which is no layer"),
        ("__typespec__", "which is no layer"),
        *((name, f"holds '{name}', which is no layer of an image network") for name in ("TFSMLayer", "function")),
        *((name, "which is no layer") for name in ("TorchModuleWrapper", "JaxLayer", "FlaxLayer", "StringLookup")),
        *((name, "which is no layer") for name in ("IntegerLookup", "TextVectorization", "Pipeline")),
    ],
)
@pytest.mark.parametrize("version", ["3.15.0", "2.15.0"])
def test_only_layers_of_image_networks_pass_whatever_keras_would_say(
    name: Any, sentence: str, module: str | None, version: str, tmp_path: Path
) -> None:
    part = {"class_name": name, "config": {"name": "mine"}, "registered_name": None}
    part |= {"module": module} if module else {}
    nested = {"class_name": "Dense", "config": {"units": 3, "kernel_initializer": part}, "module": "keras.layers"}
    for layer in (part, nested):
        config = {"class_name": "Functional", "config": {"layers": [layer]}}
        path = tmp_path / "theirs.keras"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("config.json", json.dumps(config))
            file.writestr("metadata.json", json.dumps({"keras_version": version}))
        with pytest.raises(ReleaseError, match=sentence):
            refuse_code(foreign_file(path))

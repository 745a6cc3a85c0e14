"""The features kept in the home: what is computed once, what a kill leaves, and files that cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from jobs.dataset.labels import LabelledImage, labelled_images
from jobs.errors import RunFailed
from jobs.evaluation.config import EvaluateConfig
from jobs.storage.places import Places
from jobs.training import features
from jobs.training.features import FeatureKey, FeatureStore, add_features, usable
from models.spec import Images
from tests.labelled import BLUE, GREEN, RED, write_labelled

KEY = FeatureKey("tiny", "ab" * 32, 16, 16, "own", "tensorflow")
COLOURS = [(f"p{number}", (RED, GREEN, BLUE)[number % 3], [number % 3]) for number in range(12)]


class MeanColour:
    """Features without a network: the mean of each channel."""

    width, side_px = 3, 16

    def __init__(self, *, stop_after: int = 99, error: BaseException | None = None) -> None:
        self.computed, self._stop_after, self._error = 0, stop_after, error or KeyboardInterrupt()

    def __call__(self, images: Images) -> NDArray[np.float32]:
        """Return the mean colour of each image."""
        if self.computed >= self._stop_after:
            raise self._error
        self.computed += len(images)
        return np.asarray(images.mean(axis=(1, 2)), np.float32)


def store_in(home: Path, key: FeatureKey = KEY) -> FeatureStore:
    return FeatureStore(key.directory(Places(home)), key, 3)


def compute(
    home: Path, store: FeatureStore, *, by: MeanColour | None = None, watch: Callable[[int], None] = lambda done: None
) -> tuple[int, Sequence[LabelledImage]]:
    """Add the features of all labelled images; return how many were computed, and the images."""
    extractor, images = by or MeanColour(), labelled_images(Places(home))
    add_features(store, images, lambda: extractor, EvaluateConfig(Places(home), batch_size=4), lambda total: watch)
    return extractor.computed, images


def test_features_are_computed_once_and_found_by_content(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), COLOURS)
    assert compute(tmp_path, store_in(tmp_path))[0] == 12
    again = store_in(tmp_path)
    count, images = compute(tmp_path, again)
    assert count == 0
    contents = [image.image_sha256 for image in reversed(images)]
    loaded = again.load(contents)
    assert loaded.dtype == np.float32
    expected = [(RED, GREEN, BLUE).index(image.category_id) for image in reversed(images)]
    np.testing.assert_array_equal(loaded.argmax(axis=1), expected)
    of_two = FeatureStore(KEY.directory(Places(tmp_path)), KEY, 3, last_width=2)
    np.testing.assert_array_equal(of_two.load_last(contents), loaded[:, :2])
    np.testing.assert_array_equal(again.load_last(contents), loaded)
    write_labelled(Places(tmp_path), [("new", RED, [0, 1])], version=1)
    assert compute(tmp_path, store_in(tmp_path))[0] == 2, "only the new images"


def test_a_picture_of_several_products_is_computed_once(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), [*COLOURS[:1], ("q", RED, [0]), ("r", RED, [0])], content="same")
    store = store_in(tmp_path)
    assert compute(tmp_path, store)[0] == 1
    assert store.load(["same", "same"]).shape == (2, 3)


def test_a_killed_run_keeps_what_it_has_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "FILE_ROWS", 4)
    write_labelled(Places(tmp_path), COLOURS)
    with pytest.raises(KeyboardInterrupt):
        compute(tmp_path, store_in(tmp_path), by=MeanColour(stop_after=8))
    files = sorted(KEY.directory(Places(tmp_path)).iterdir())
    assert [file.name[-14:] for file in files] == ["000004.parquet"] * 2
    assert compute(tmp_path, store_in(tmp_path))[0] == 4


def test_what_is_computed_since_the_last_file_is_written_when_a_run_is_interrupted(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), COLOURS)
    with pytest.raises(KeyboardInterrupt):
        compute(tmp_path, store_in(tmp_path), by=MeanColour(stop_after=4))
    assert compute(tmp_path, store_in(tmp_path))[0] == 8


def test_images_that_do_not_decode_are_left_out(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), [*COLOURS, ("broken", RED, [-1])])
    seen: list[int] = []
    store = store_in(tmp_path)
    count, images = compute(tmp_path, store, watch=seen.append)
    assert (count, seen[-1], len(images)) == (12, 13, 13)
    assert {image.product_id for image in images} - {image.product_id for image in usable(images, {"tiny": store})} == {
        "broken"
    }


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, architecture="xception"),
        replace(KEY, backbone_sha256="cd" * 32),
        replace(KEY, input_px=32),
        replace(KEY, decode_px=32),
        replace(KEY, preprocessing="0-1"),
        replace(KEY, engine="jax"),
        replace(KEY, precision="bfloat16"),
        replace(KEY, version=2),
    ],
)
def test_features_of_another_key_are_not_taken(other: FeatureKey, tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), COLOURS)
    compute(tmp_path, store_in(tmp_path))
    assert store_in(tmp_path, other).contents() == set()
    assert other.directory(Places(tmp_path)) != KEY.directory(Places(tmp_path))


def damaged(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("change", "reason"), [(damaged, "Parquet magic bytes not found"), (lambda content: b"", "Parquet file size is 0")]
)
def test_a_half_written_file_is_named_and_computed_again(
    change: Callable[[bytes], bytes], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_labelled(Places(tmp_path), COLOURS)
    compute(tmp_path, store_in(tmp_path))
    [file] = KEY.directory(Places(tmp_path)).iterdir()
    file.write_bytes(change(file.read_bytes()))
    assert compute(tmp_path, store_in(tmp_path))[0] == 12
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith(f"{file} cannot be used (")
    assert reason in line
    assert line.endswith("it is deleted, and its features are computed again")
    assert compute(tmp_path, store_in(tmp_path))[0] == 0


def test_a_file_of_another_version_is_named_and_computed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_labelled(Places(tmp_path), COLOURS)
    compute(tmp_path, store_in(tmp_path))
    [file] = KEY.directory(Places(tmp_path)).iterdir()
    table = pq.read_table(file)
    for schema in (table.schema.with_metadata({b"shelfwise.features": b"{}"}), table.schema.remove_metadata()):
        pq.write_table(table.cast(schema), file)
        assert compute(tmp_path, store_in(tmp_path))[0] == 12
        assert f"{file} cannot be used (another version wrote it)" in caplog.text
        caplog.clear()


def test_a_file_with_other_columns_or_another_width_is_computed_again(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), COLOURS)
    compute(tmp_path, store_in(tmp_path))
    [file] = KEY.directory(Places(tmp_path)).iterdir()
    pq.write_table(pq.read_table(file).rename_columns(["content", "features"]), file)
    assert store_in(tmp_path).contents() == set()
    compute(tmp_path, store_in(tmp_path))
    assert FeatureStore(KEY.directory(Places(tmp_path)), KEY, 4).contents() == set()


def chunk_of(file: Path, column: int) -> range:
    """Return where the bytes of a column lie in a file of one row group."""
    chunk = pq.read_metadata(file).row_group(0).column(column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    return range(start, start + chunk.total_compressed_size)


def overwrite(file: Path, position: int, count: int = 1) -> None:
    """Turn all bits of some bytes of a file over."""
    content = bytearray(file.read_bytes())
    content[position : position + count] = bytes(byte ^ 0xFF for byte in content[position : position + count])
    file.write_bytes(content)


def test_a_file_with_damaged_features_is_named_and_computed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its footer and its other column are sound: it counted as good, and each run failed over it in the same way."""
    write_labelled(Places(tmp_path), COLOURS)
    store = store_in(tmp_path)
    _, images = compute(tmp_path, store)
    contents = [image.image_sha256 for image in images]
    expected = store.load(contents)
    [file] = KEY.directory(Places(tmp_path)).iterdir()
    overwrite(file, pq.read_metadata(file).row_group(0).column(1).data_page_offset + 8, 16)
    with pytest.raises(RunFailed, match=rf"{file.name} cannot be read any longer; run the same command again"):
        store.load(contents)
    again = store_in(tmp_path)
    assert compute(tmp_path, again)[0] == 12
    assert f"{file} cannot be used (" in caplog.text
    np.testing.assert_array_equal(again.load(contents), expected)
    caplog.clear()
    assert compute(tmp_path, store_in(tmp_path))[0] == 0
    assert "cannot be used" not in caplog.text


@pytest.mark.parametrize("column", [0, 1])
def test_no_flipped_byte_becomes_a_feature_or_another_image(column: int, tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), COLOURS)
    store = store_in(tmp_path)
    _, images = compute(tmp_path, store)
    contents = [image.image_sha256 for image in images]
    expected, [file] = store.load(contents), KEY.directory(Places(tmp_path)).iterdir()
    sound, found = file.read_bytes(), 0
    positions = chunk_of(file, column)
    for position in positions:
        overwrite(file, position)
        damaged_store = store_in(tmp_path)
        if damaged_store.contents():  # the byte means nothing to a reader
            assert damaged_store.contents() == set(contents), position
            np.testing.assert_array_equal(damaged_store.load(contents), expected, err_msg=str(position))
        else:
            found += 1
            assert not file.exists()
        file.write_bytes(sound)
    assert found > len(positions) / 2


def test_a_file_that_vanishes_meanwhile_fails_the_run_in_one_sentence(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), COLOURS)
    store = store_in(tmp_path)
    _, images = compute(tmp_path, store)
    [file] = KEY.directory(Places(tmp_path)).iterdir()
    file.unlink()
    with pytest.raises(RunFailed, match=rf"{file.name} cannot be read any longer; run the same command again"):
        store.load([image.image_sha256 for image in images])


def test_a_batch_that_does_not_fit_the_memory_gives_one_sentence(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), COLOURS)
    full = MeanColour(stop_after=4, error=MemoryError("ResourceExhaustedError: OOM when allocating tensor"))
    with pytest.raises(RunFailed, match=r"^4 images at once do not fit the memory; .* smaller --batch-size, what is"):
        compute(tmp_path, store_in(tmp_path), by=full)
    assert compute(tmp_path, store_in(tmp_path))[0] == 8

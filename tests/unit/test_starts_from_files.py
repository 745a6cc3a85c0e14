"""What a training starts from: files with and without a head, and files that do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.registry import ARCHITECTURES, INPUT_PX, architecture
from models.release import ReleaseError
from models.spec import NetworkSpec
from models.starts import fill
from tests import tiny_network
from tests.labelled import LEAVES


@pytest.fixture(autouse=True)
def tiny_architecture() -> Iterator[None]:
    """Make the tiny network known."""
    ARCHITECTURES[tiny_network.NAME], INPUT_PX[tiny_network.NAME] = "tests.tiny_network", (16, 16)
    yield
    del ARCHITECTURES[tiny_network.NAME], INPUT_PX[tiny_network.NAME]


def test_a_backbone_comes_from_files_with_and_without_a_head(tmp_path: Path) -> None:
    network = NetworkSpec(tiny_network.NAME, 16, "w", "", 1.0)
    tiny = architecture(tiny_network.NAME)
    for number, source in enumerate((tiny.backbone(input_px=16), tiny.build(input_px=16, categories=7))):
        path = tmp_path / f"{number}.weights.h5"
        source.save_weights(path)
        model = tiny.build(input_px=16, categories=3)
        fill(model, network, str(path), category_ids=LEAVES, taxonomy_version="t")
        np.testing.assert_array_equal(
            np.array(model.get_layer("block2a_conv").kernel), np.array(source.get_layer("block2a_conv").kernel)
        )


@pytest.mark.parametrize("kind", ["shape", "text", "absent"])
def test_weights_that_do_not_fit_are_a_sentence(kind: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    import keras

    path = tmp_path / "theirs.weights.h5"
    if kind == "shape":
        inputs = keras.Input((16, 16, 3))
        keras.Model(inputs, keras.layers.Conv2D(9, 5)(inputs)).save_weights(path)
    if kind == "text":
        path.write_text("no weights")
    model = architecture(tiny_network.NAME).build(input_px=16, categories=3)
    before = model.get_weights()
    recwarn.clear()
    with pytest.raises(ReleaseError, match=r"theirs\.weights\.h5"):
        fill(model, NetworkSpec("tiny", 16, "w", "", 1.0), str(path), category_ids=LEAVES, taxonomy_version="t")
    assert not recwarn.list, "Keras's lists of layers are for nobody's eyes"
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)

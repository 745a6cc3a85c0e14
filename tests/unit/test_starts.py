"""What a network starts from: keras's own weights in a local file."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from models.registry import architecture
from models.spec import NetworkSpec
from models.starts import fill


def test_imagenet_weights_of_a_file_are_scaled_as_keras_scales_those_that_it_downloads(tmp_path: Path) -> None:
    """`keras.applications` divides by the roots of (0.229, 0.224, 0.225) twice, the second time by no weight."""
    network = NetworkSpec("efficientnetb0", 32, "w", "", 1.0)
    b0 = architecture("efficientnetb0")
    mean, deviation = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
    for number, (stored, expected) in enumerate(((deviation, deviation), (np.full(3, 0.252, np.float32), 0.252**0.5))):
        source = b0.backbone(input_px=32)
        [held] = [layer for layer in source.layers if isinstance(layer, keras.layers.Normalization)]
        held.set_weights([mean, stored, np.zeros((), held.get_weights()[2].dtype)])
        source.save_weights(tmp_path / f"{number}.weights.h5")
        model = b0.build(input_px=32, categories=2)
        fill(model, network, str(tmp_path / f"{number}.weights.h5"), category_ids=("a", "b"), taxonomy_version="t")
        [own] = [layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)]
        pixels = np.full((1, 4, 4, 3), 0.8, np.float32)
        np.testing.assert_allclose(np.array(own(pixels))[0, 0, 0], (0.8 - mean) / expected, rtol=1e-4)

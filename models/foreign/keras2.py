"""Read the weights of a network layer by layer from the files that Keras 2 wrote, as arrays.

Two layouts exist. HDF5 files name the arrays of each layer in its attribute `weight_names`; a nested model is one layer
there. `.keras` archives number the layers of each class in each model, `layers/dense_1/vars/0`; Keras 2.12 and 2.13
have `_layer_checkpoint_dependencies` in the place of `layers`, and count some layers twice.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.foreign.files import ForeignFile, LayerConfig
from models.foreign.hdf5 import MOST_BYTES, opened
from models.networks.backbones import StoredLayer
from models.release import ReleaseError

# In the order of Keras 3; a nested model in an HDF5 file has all trained arrays of its layers first.
_ORDER = (
    *("kernel", "depthwise_kernel", "pointwise_kernel", "bias", "alpha", "gamma", "beta"),
    *("moving_mean", "moving_variance", "mean", "variance", "count"),
)
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
_NEVER_WITHOUT = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense", "BatchNormalization", "PReLU")
"""Classes whose layers have arrays in every network. Others have them by their options, or none."""


def read_layers(file: ForeignFile, layers: Sequence[LayerConfig]) -> list[StoredLayer]:
    """Read the weights of all layers that a file describes; nothing is built.

    Args:
        file: An HDF5 file, or a `.keras` archive of Keras 2.
        layers: Its layers, as `layer_configs` returns them.

    Returns:
        The layers in order, those of nested models in the place of these.

    Raises:
        ReleaseError: If the weights are not where Keras puts them; the message names the version and what to do.
    """
    with opened(file.path, file.writer) as hdf5:
        try:
            arrays = _Arrays()
            if any(name in hdf5 for name in _CONTAINERS):
                found = list(_by_class(hdf5, layers, arrays))
            else:
                found = list(_by_name(hdf5.get("model_weights", hdf5), layers, arrays))
            if without := [layer for layer in found if layer.kind in _NEVER_WITHOUT and not layer.weights]:
                raise KeyError(f"no arrays of {without[0].kind} {without[0].name[:80]!r}")
            return found
        except KeyError as error:
            raise ReleaseError(
                f"{file.path} was written by {file.writer}, and the weights of its layers are not where Keras 2 puts "
                f"them ({error.args[0]}); load it with that version and save the model with model.save('....h5')"
            ) from error


class _Arrays:
    """Reads arrays of one file, which together must not take more memory than a network does.

    A file may name one large array many times.
    """

    def __init__(self) -> None:
        self._left = MOST_BYTES

    def array(self, dataset: Any) -> NDArray[Any]:
        """Read an array of numbers; half precision becomes float32."""
        if dataset.dtype.kind not in "fiu":
            raise KeyError(f"numbers were expected, {str(dataset.dtype)[:80]} was found")
        self._left -= 8 * dataset.size
        if self._left < 0:
            raise KeyError(f"over {MOST_BYTES:,} bytes are named")
        return np.asarray(dataset, np.int64 if dataset.dtype.kind in "iu" else np.float32)


def _by_name(weights: Any, layers: Sequence[LayerConfig], read: _Arrays) -> Iterator[StoredLayer]:
    """Yield the layers of an HDF5 file, whose groups have the names of the outer layers."""
    for layer in layers:
        group = weights.get(layer.name)
        arrays: dict[str, dict[str, NDArray[Any]]] = defaultdict(dict)
        for name in () if group is None else _names(group, "weight_names"):
            scope, _, short = name.rpartition("/")
            owner = scope.rpartition("/")[2] if layer.inner is not None else layer.name
            arrays[owner][short.partition(":")[0]] = read.array(group[name])
        for each in layer.flat():
            yield StoredLayer(each.name, each.kind, each.options, _ordered(arrays.get(each.name, {})))


def _names(group: Any, attribute: str) -> list[str]:
    """Read a list of names from the attributes of a group; a long one is in parts: `weight_names0`, ..."""
    if attribute in group.attrs:
        parts = [group.attrs[attribute]]
    else:
        parts = []
        while (name := f"{attribute}{len(parts)}") in group.attrs:
            parts.append(group.attrs[name])
    return [name.decode() if isinstance(name, bytes) else str(name) for part in parts for name in part]


def _ordered(arrays: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    """Return the arrays of a layer in the order of Keras 3; others, such as states of random numbers, are left out."""
    return tuple(arrays[name] for name in _ORDER if name in arrays)


def _by_class(model: Any, layers: Sequence[LayerConfig], read: _Arrays) -> Iterator[StoredLayer]:
    """Yield the layers of a model in a `.keras` archive, whose groups are numbered by class, in the layers' order."""
    container: Any = next((model[name] for name in _CONTAINERS if name in model), {})
    of_class: dict[str, list[LayerConfig]] = defaultdict(list)
    for layer in layers:
        of_class["functional" if layer.kind == "Model" else _snake_case(layer.kind)].append(layer)
    groups = {}
    for kind, members in of_class.items():
        numbered = _numbered(container, kind)
        if numbered and len(numbered) != len(members):
            raise KeyError(f"{len(members)} layers {kind} and {len(numbered)} groups of arrays")
        groups.update({id(layer): group for layer, group in zip(members, numbered, strict=False)})
    for layer in layers:
        group = groups.get(id(layer), {})
        if layer.inner is not None:
            yield from _by_class(group, layer.inner, read)
            continue
        arrays = group.get("vars", {})
        places = sorted((name for name in arrays if name.isdecimal()), key=int)
        yield StoredLayer(layer.name, layer.kind, layer.options, tuple(read.array(arrays[name]) for name in places))


def _numbered(container: Any, kind: str) -> list[Any]:
    """Return the groups of a class, in the order of their numbers."""
    names = [name for name in container if re.fullmatch(rf"{re.escape(kind)}(_\d+)?", name)]
    return [container[name] for name in sorted(names, key=lambda name: int(name[len(kind) + 1 :] or 0))]


def _snake_case(kind: str) -> str:
    """Return the name of a class as Keras writes it in the names of groups: `p_re_lu`."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()

"""Write files as Keras 2 wrote them, by hand with h5py, from networks of today's Keras.

The names of groups and attributes are those of tf_keras 2.21, whose saving code is that of Keras 2.15.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np

VERSION = "2.15.0"


def write_hdf5(model: Any, path: Path, **changes: Any) -> None:
    """Write a whole network as `model.save("....h5")` of Keras 2 does; `changes` replace attributes of the file."""
    with h5py.File(path, "w") as file:
        attributes = {"keras_version": VERSION, "backend": "tensorflow", "model_config": json.dumps(described(model))}
        file.attrs.update({name: text for name, text in {**attributes, **changes}.items() if text is not None})
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [layer.name for layer in model.layers]
        for layer in model.layers:
            _write_layer(group.create_group(layer.name), layer)


def write_archive(model: Any, path: Path, *, container: str = "layers", version: str = VERSION) -> None:
    """Write a whole network as `model.save("....keras")` of Keras 2 does.

    Args:
        model: Network to write.
        path: File to write.
        container: `layers`, or `_layer_checkpoint_dependencies` as before 2.14, where each layer is named twice.
        version: Version of Keras.
    """
    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        _write_model(file, model, container)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version, "date_saved": "2024-01-01@00:00:00"}))
        archive.writestr("config.json", json.dumps(described(model)))
        archive.writestr("model.weights.h5", held.getvalue())


def described(model: Any) -> dict[str, Any]:
    """Return the configuration of a network in the form of Keras 2."""
    layers = []
    for layer in model.layers:
        if getattr(layer, "layers", None):
            layers.append({**described(layer), "name": layer.name, "inbound_nodes": []})
            continue
        options = {"name": layer.name, **layer.get_config()}
        if "negative_slope" in options and type(layer).__name__ == "LeakyReLU":
            options["alpha"] = options.pop("negative_slope")
        layers.append({"class_name": type(layer).__name__, "config": options, "name": layer.name, "inbound_nodes": []})
    config = {"name": model.name, "layers": layers}
    return {"module": "keras.src.engine.functional", "class_name": "Functional", "config": config}


def _write_layer(group: Any, layer: Any) -> None:
    """Write the arrays of a layer or of a nested model, the trained ones first."""
    inner = _leaves(layer)
    pairs = [(each, weight) for each in inner for weight in each.weights]
    pairs.sort(key=lambda pair: any(pair[1] is weight for weight in pair[0].non_trainable_weights))
    names = []
    for each, weight in pairs:
        name = f"{each.name}/{weight.name}:0"
        group.create_dataset(name, data=np.asarray(weight))
        names.append(name.encode())
    for start in range(0, max(1, len(names)), 100):
        suffix = str(start // 100) if len(names) > 100 else ""  # a long list is in several attributes
        group.attrs[f"weight_names{suffix}"] = names[start : start + 100]


def _write_model(group: Any, model: Any, container: str) -> None:
    """Write the arrays of a model's layers into groups that are numbered by class."""
    group.create_group("vars")
    inside, used = group.create_group(container), Counter[str]()
    for layer in model.layers:
        kind = _snake_case(type(layer).__name__)
        number, used[kind] = used[kind], used[kind] + 1
        if container != "layers" and _has_weights(layer):
            used[kind] += 1  # it comes again under a second name, which takes a number and writes nothing
        place = inside.create_group(f"{kind}_{number}" if number else kind)
        if getattr(layer, "layers", None):
            _write_model(place, layer, container)
            continue
        arrays = place.create_group("vars")
        for position, weight in enumerate(layer.get_weights()):
            arrays[str(position)] = weight


def _leaves(layer: Any) -> list[Any]:
    return [leaf for each in layer.layers for leaf in _leaves(each)] if getattr(layer, "layers", None) else [layer]


def _has_weights(layer: Any) -> bool:
    return any(leaf.weights for leaf in _leaves(layer))


def _snake_case(name: str) -> str:
    words = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", words).lower()

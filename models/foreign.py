"""Import a network that others trained: convert a `.keras` file to the weights of one of our architectures.

The configuration in the file is checked before anything is built. Only layers of Keras itself are accepted: no Lambda
layer, no custom object, no function. The rebuilt network must then give the same answers as the original.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from models.heads import ForeignHead, described, folded, head_of
from models.networks.backbones import HEAD, ForeignWeights, copy_backbone, every_layer, weighted_layers
from models.networks.inputs import RANGES, network_input, to_square
from models.networks.registry import ARCHITECTURES, INPUT_PX, architecture
from models.release import ReleaseError
from models.spec import Images, NetworkSpec

TOLERANCE = 1e-3
"""Largest difference of a confidence between the original and the rebuilt network."""

SMALLEST_SPREAD = 0.01
"""Smallest difference of some confidence between samples with which the comparison is meaningful."""

SAMPLES = 16
"""Number of generated samples."""

# Modules with Keras's layers and their parts; functions such as keras.utils.get_file are not among them.
_MODULES = (
    "keras",
    "keras.layers",
    "keras.models",
    "keras.initializers",
    "keras.regularizers",
    "keras.constraints",
    "keras.dtype_policies",
    "keras.src.models.functional",
    "keras.src.models.sequential",
    "keras.src.engine.functional",
    "keras.src.engine.sequential",
    "keras.src.ops.numpy",
)
_FAMILY_LAYER = {"efficientnet": "stem_conv", "xception": "block14_sepconv2"}


@dataclass(frozen=True)
class ForeignNetwork:
    """A foreign network: its `.keras` file, with the properties that the file does not contain.

    Attributes:
        path: Path of the `.keras` file.
        input_px: Side of the square input, in pixels.
        categories: Number of categories.
        preprocessing: Value range of the input in training, a key of `models.networks.inputs.RANGES`.
        ends_in: Kind of the output, `logits` or `softmax`.
    """

    path: Path
    input_px: int
    categories: int
    preprocessing: str = "own"
    ends_in: str = "softmax"


def rebuild(foreign: ForeignNetwork, samples: Images | None = None) -> tuple[NetworkSpec, Any]:
    """Rebuild a foreign network as one of our architectures, and check that it gives the same answers.

    A network in half precision is compared in float32, so that its rounding does not count as a difference.

    Args:
        foreign: The file and its properties.
        samples: Images for the comparison, uint8 (batch, height_px, width_px, 3); None generates some.

    Returns:
        The specification of the network, without SHA-256, and the keras.Model to logits.

    Raises:
        ReleaseError: If the file is refused, has an unknown architecture, or gives other answers after rebuilding; the
            message names what to do.
    """
    refuse_code(foreign.path)
    original = _loaded(foreign)
    name, rebuilt = _rebuilt(original, foreign)
    squares = generated_samples(foreign.input_px) if samples is None else samples
    squares = np.stack([to_square(square, foreign.input_px) for square in squares])
    spec = NetworkSpec(name, foreign.input_px, f"{name}.weights.h5", "", 1.0, foreign.preprocessing)
    expected = np.asarray(original(network_input(squares, spec), training=False), np.float64)
    if foreign.ends_in == "logits":
        expected = _softmax(expected)
    elif np.abs(expected.sum(axis=1) - 1).max() > TOLERANCE or expected.min() < 0:
        raise ReleaseError(
            f"{foreign.path} does not end in a softmax: its outputs do not sum to 1; say --ends-in logits"
        )
    if np.ptp(expected, axis=0).max() < SMALLEST_SPREAD:
        raise ReleaseError(
            f"{foreign.path} answers all {len(squares)} samples alike, so nothing shows whether it was rebuilt well; "
            "give images that it tells apart with --samples"
        )
    # A rescaling layer inside the original corresponds to another value range of the rebuilt network, so all are tried.
    worst = {}
    for preprocessing in dict.fromkeys((foreign.preprocessing, *RANGES)):
        candidate = replace(spec, preprocessing=preprocessing)
        logits = np.asarray(rebuilt(network_input(squares, candidate), training=False), np.float64)
        worst[preprocessing] = float(np.abs(_softmax(logits) - expected).max())
    nearest = min(worst, key=worst.__getitem__)
    if worst[nearest] <= TOLERANCE:
        return replace(spec, preprocessing=nearest), rebuilt
    raise ReleaseError(
        f"{foreign.path} rebuilt as {name} answers differently, by {worst[nearest]:.3g} where {TOLERANCE:g} is "
        f"allowed; check --input-px, --preprocessing and --ends-in, and that its head ({_listed(head_of(original))}) "
        "is average pooling, BatchNormalization, Dropout and Dense, one after the other"
    )


def refuse_code(path: Path) -> None:
    """Refuse a foreign file that is not a `.keras` archive, or that would run or need foreign code.

    Args:
        path: File to check; nothing in it is executed.

    Raises:
        ReleaseError: If the file is refused; the message names the object and what to do.
    """
    if path.suffix != ".keras":  # Keras chooses the format by the name; it must read the format that is checked here
        raise ReleaseError(f"{path} does not end in .keras; save the model with model.save('....keras')")
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
        parts = list(_objects({key: value for key, value in config.items() if key != "compile_config"}))
    except OSError as error:
        raise ReleaseError(f"{path} cannot be read ({error.strerror or error}); give a .keras file") from error
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, AttributeError, RuntimeError) as error:
        raise ReleaseError(
            f"{path} is not a .keras file of Keras 3 ({error}); save the model with model.save"
        ) from error
    for part in parts:
        name, module = str(part["class_name"]), part.get("module")
        if name in ("Lambda", "__lambda__"):
            raise ReleaseError(
                f"{path} holds a Lambda layer, whose code would have to be run to be read; replace it by layers of "
                "Keras, such as Rescaling, and save the model again"
            )
        registered = str(part.get("registered_name") or "")
        if ">" in registered or (module is not None and module not in _MODULES):
            raise ReleaseError(
                f"{path} holds the custom object {registered or name!r} of {module}; only layers of Keras itself are "
                "accepted, so replace it and save the model again"
            )


def generated_samples(side_px: int) -> Images:
    """Generate images on which to compare a foreign network with its copy; the same at every call.

    Returns:
        Smooth, varied images, uint8 (SAMPLES, side_px, side_px, 3), RGB, 0-255.
    """
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (SAMPLES, 5, 5, 3), np.uint8)
    return np.stack([to_square(picture, side_px) for picture in coarse])


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a Keras configuration, at any depth; tensors and shapes do not count as objects."""
    if isinstance(value, list):
        for item in value:
            yield from _objects(item)
    elif isinstance(value, dict):
        if "class_name" in value and value["class_name"] not in (
            "__keras_tensor__",
            "__tuple__",
            "__numpy__",
            "__tensor__",
        ):
            yield value
        for item in value.values():
            yield from _objects(item)


def _loaded(foreign: ForeignNetwork) -> Any:
    """Load the original network in float32; raise ReleaseError if its input or output has another shape."""
    import keras

    try:
        model = keras.saving.load_model(foreign.path, compile=False, safe_mode=True)
    except Exception as error:  # keras raises many different exceptions for a broken file
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ReleaseError(f"Keras cannot load {foreign.path} ({reason}); save the model again") from error
    expected = (foreign.input_px, foreign.input_px, 3)
    given = model.input_shape[1:] if isinstance(model.input_shape, tuple) else ()  # with several inputs it is a list
    if len(given) != 3 or any(have not in (None, want) for have, want in zip(given, expected, strict=True)):
        raise ReleaseError(
            f"{foreign.path} takes inputs of {given or model.input_shape}, not {expected}; correct --input-px, or give "
            "a network of one RGB image"
        )
    if model.output_shape[-1] != foreign.categories:
        raise ReleaseError(
            f"{foreign.path} tells {model.output_shape[-1]} categories apart and {foreign.categories} are named; "
            "name each of its outputs, in their order"
        )
    for layer in every_layer(model):
        if layer.compute_dtype in ("float16", "bfloat16"):
            layer.dtype_policy = "float32"
            if type(layer).__name__ == "Normalization":
                layer.finalize_state()  # it keeps its statistics as constants, which were rounded
    return model


def _rebuilt(original: Any, foreign: ForeignNetwork) -> tuple[str, Any]:
    """Find the architecture that the original's weights fit; return its name and a network with these weights."""
    names = {layer.name for layer in weighted_layers(original)}
    family = next((family for family, layer in _FAMILY_LAYER.items() if layer in names), None)
    head = head_of(original)
    unlike: list[tuple[int, str]] = []
    for name in sorted(name for name in ARCHITECTURES if family and name.startswith(family)):
        if foreign.input_px < INPUT_PX[name][0]:
            raise ReleaseError(
                f"{foreign.path} looks like {name}, which takes inputs of at least {INPUT_PX[name][0]} px, received "
                f"{foreign.input_px}; correct --input-px"
            )
        model = architecture(name).build(input_px=foreign.input_px, categories=foreign.categories)
        try:
            copy_backbone(original, model, head=head)
        except ForeignWeights as error:
            others = names ^ {layer.name for layer in weighted_layers(model)}
            unlike.append((len(others), str(error).partition(";")[0]))
            continue
        _fill_head(model.get_layer(HEAD), head, foreign, name)
        return name, model
    nearest = f" ({min(unlike)[1]})" if unlike else ""
    raise ReleaseError(
        f"{foreign.path} is none of the known architectures of keras.applications{nearest}; only these can be "
        f"imported: {', '.join(sorted(ARCHITECTURES))}"
    )


def _fill_head(dense: Any, head: Sequence[Any], foreign: ForeignNetwork, name: str) -> None:
    """Set the weights of a Dense layer to those of the folded head."""
    features, outputs = dense.kernel.shape
    try:
        kernel, bias = folded(head, features=features)
        if kernel.shape[1] != outputs:
            raise ForeignHead(f"it makes {kernel.shape[1]} values of the features where there are {outputs} categories")
    except ForeignHead as error:
        raise ReleaseError(
            f"{foreign.path} is {name} with a head of {_listed(head)}, which is not the same as one Dense layer "
            f"({error}); give it a head of global average pooling, BatchNormalization, Dropout and Dense, with no "
            "activation but the last one, and train that"
        ) from error
    dense.set_weights([kernel, bias])


def _listed(head: Sequence[Any]) -> str:
    """List the layers of a head for a message."""
    return ", ".join(described(layer) for layer in head) or "no layers"


def _softmax(logits: Any) -> Any:
    """Return the softmax of logits, (batch, categories)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)

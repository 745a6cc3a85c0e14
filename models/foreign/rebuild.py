"""Import a network that others trained: convert its file to the weights of one of our architectures.

The file is checked before anything is built. The rebuilt network must then give the same answers as the original: as
Keras computes them if it can load the original, otherwise those that were written down where it was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from models.foreign.expected import ExpectedAnswers, generated_samples
from models.foreign.files import ForeignFile, LayerConfig, claimed_weights, foreign_file, layer_configs, refuse_code
from models.foreign.front import other_size, same_range, scaled, without_front
from models.foreign.hdf5 import opened, stored_values
from models.foreign.heads import ForeignHead, HeadOfAnotherKind, ReadHead, described, read_head, refuse_kind, split
from models.foreign.keras2 import read_layers
from models.networks.backbones import (
    HEAD,
    ForeignWeights,
    StoredLayer,
    copy_layers,
    every_layer,
    fold_into_normalization,
    stored_layers,
    weighted_layers,
)
from models.networks.heads import fill_head, network_with_head
from models.networks.inputs import RANGES, network_input, to_square
from models.networks.registry import ARCHITECTURES, INPUT_PX, architecture
from models.release import ReleaseError
from models.spec import Head, Images, NetworkSpec

TOLERANCE = 1e-3
"""Largest difference of a confidence between the original and the rebuilt network."""

SMALLEST_SPREAD = 0.01
"""Smallest difference of some confidence between samples with which the comparison is meaningful."""

MOST_CLAIMED = 64
"""Most weights that a file may describe, for each that it stores. The bound is rough: by it, Xception describes 22."""

_FAMILY_LAYER = {"efficientnet": "stem_conv", "xception": "block14_sepconv2"}


@dataclass(frozen=True)
class ForeignNetwork:
    """A foreign network: its file, with the properties that the file does not contain.

    Attributes:
        path: Path of the `.keras` or `.h5` file.
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


def rebuild(
    foreign: ForeignNetwork, samples: Images | None = None, expected: ExpectedAnswers | None = None
) -> tuple[NetworkSpec, Any]:
    """Rebuild a foreign network as one of our architectures, and check that it gives the same answers.

    A network in half precision is compared in float32, so that its rounding does not count as a difference.

    Args:
        foreign: The file and its properties.
        samples: Images for the comparison, uint8 (batch, height_px, width_px, 3); None generates some.
        expected: Images and the original's answers to them, in the place of `samples`; needed for files that Keras 3
            cannot load.

    Returns:
        The specification of the network, without SHA-256, and the keras.Model to logits.

    Raises:
        ReleaseError: If the file is refused, has an unknown architecture, or gives other answers after rebuilding; the
            message names what to do.
    """
    file = foreign_file(foreign.path)
    refuse_code(file)
    configs = layer_configs(file)
    _refuse_early(foreign, file, configs)
    if file.loadable:
        original = _loaded(foreign, file, configs)
        layers = stored_layers(original)
    else:
        if expected is None:
            how, simpler = "in a form that Keras 3 cannot load", ""
            if not file.of_keras_2:
                how, simpler = "as HDF5, of which nothing is built", "save it with model.save('....keras'), or "
            raise ReleaseError(
                f"{foreign.path} was written by {file.writer} {how}, so nothing shows whether it is rebuilt well; "
                f"{simpler}write down its answers to some images where it loads, as `shelfwise release import --help` "
                "shows, and give them with --expected"
            )
        original, layers = None, read_layers(file, configs)
    front, layers = without_front(layers)
    spec, rebuilt = _rebuilt(layers, foreign, of_keras_2=file.of_keras_2)
    made = _unserved(front, foreign, spec)
    if made is not None and not _folded(front, rebuilt) and expected is None:
        raise _refused_scaling(front, foreign, spec, made)
    if expected is None:
        squares = generated_samples(foreign.input_px) if samples is None else samples
        squares = np.stack([to_square(square, foreign.input_px) for square in squares])
        expected = ExpectedAnswers(squares, _answers(original, network_input(squares, spec)))
    return _compared(spec, rebuilt, foreign, expected, split(layers)[1], front)


def _compared(
    spec: NetworkSpec,
    rebuilt: Any,
    foreign: ForeignNetwork,
    expected: ExpectedAnswers,
    head: Sequence[StoredLayer],
    front: Sequence[StoredLayer],
) -> tuple[NetworkSpec, Any]:
    """Return a network in the value range in which it answers as the original; raise ReleaseError if there is none."""
    squares, answers = expected.images, expected.answers
    if foreign.ends_in == "logits":
        answers = _softmax(answers)
    elif np.abs(answers.sum(axis=1) - 1).max() > TOLERANCE or answers.min() < 0:
        raise ReleaseError(
            f"{foreign.path} does not end in a softmax: its outputs do not sum to 1; say --ends-in logits"
        )
    if np.ptp(answers, axis=0).max() < SMALLEST_SPREAD:
        raise ReleaseError(
            f"{foreign.path} answers all {len(squares)} samples alike, so nothing shows whether it was rebuilt well; "
            "give images that it tells apart, with --samples or --expected"
        )
    # A rescaling layer inside the original corresponds to another value range of the rebuilt network, so all are tried.
    worst = {}
    for preprocessing in dict.fromkeys((foreign.preprocessing, *RANGES)):
        candidate = replace(spec, preprocessing=preprocessing)
        logits = np.asarray(rebuilt(network_input(squares, candidate), training=False), np.float64)
        worst[preprocessing] = float(np.abs(_softmax(logits) - answers).max())
    nearest = min(worst, key=worst.__getitem__)
    if worst[nearest] <= TOLERANCE:
        return replace(spec, preprocessing=nearest), rebuilt
    raise ReleaseError(
        f"{foreign.path} rebuilt as {spec.architecture} answers differently, by {worst[nearest]:.3g} where "
        f"{TOLERANCE:g} is allowed; check --input-px, --preprocessing and --ends-in, and that its head "
        f"({_listed(head)}) is one layer after the other"
        + (f"; in front of it stands {_listed(front)}, which serving may not do in the same way" if front else "")
    )


def _refuse_early(foreign: ForeignNetwork, file: ForeignFile, configs: list[LayerConfig]) -> None:
    """Refuse by its description alone a network whose head cannot be served, or that claims too many weights."""
    plain = _plain(configs)
    _, head = split(plain)
    try:
        refuse_kind(head)
    except HeadOfAnotherKind as error:
        raise ReleaseError(f"{foreign.path} cannot be served: {error}") from error
    if resized := other_size(without_front(plain)[0], foreign.input_px):
        sides = f"{resized.options.get('height')} by {resized.options.get('width')} px"
        raise ReleaseError(
            f"{foreign.path} changes the size of its images by {described(resized)} to {sides}, not to "
            f"{foreign.input_px} px; correct --input-px, or save the network without that layer"
        )
    with opened(foreign.path, file.writer) as weights:
        stored, claimed = stored_values(weights), claimed_weights(configs)
    if claimed > MOST_CLAIMED * max(stored, 2**16):
        raise ReleaseError(
            f"{foreign.path} was written by {file.writer}, describes up to {claimed:,} weights and holds {stored:,}; "
            "save the model there again"
        )


def _plain(configs: list[LayerConfig]) -> list[StoredLayer]:
    """Return the layers that a file describes, without their weights."""
    return [StoredLayer(each.name, each.kind, each.options) for layer in configs for each in layer.flat()]


def _unserved(front: Sequence[StoredLayer], foreign: ForeignNetwork, spec: NetworkSpec) -> Any:
    """Return what the layers in front make of pixels, float64, if serving has no such value range; None if it has."""
    apply = scaled(front)
    if not front or apply is None:
        return None
    squares = np.arange(foreign.input_px**2 * 3, dtype=np.int64).reshape(1, foreign.input_px, foreign.input_px, 3)
    squares = (squares % 256).astype(np.uint8)
    made = apply(np.asarray(network_input(squares, spec), np.float64))
    served = (network_input(squares, replace(spec, preprocessing=name)) for name in RANGES)
    return None if any(same_range(made, values) for values in served) else made


def _folded(front: Sequence[StoredLayer], rebuilt: Any) -> bool:
    """Fold layers that scale pixels into the network's own Normalization; return whether it has one for them."""
    apply = scaled(front)
    if apply is None:
        return False
    shift = apply(np.zeros(3))
    return fold_into_normalization(rebuilt, apply(np.ones(3)) - shift, shift)


def _refused_scaling(
    front: Sequence[StoredLayer], foreign: ForeignNetwork, spec: NetworkSpec, made: Any
) -> ReleaseError:
    return ReleaseError(
        f"{foreign.path} scales its images by {_listed(front)} to values from {made.min():.4g} to {made.max():.4g}, "
        f"and {spec.architecture} is served with {', '.join(name for name in RANGES if name != 'own')}; correct "
        "--preprocessing, or train behind a Rescaling to one of these ranges"
    )


def _refuse_shapes(model: Any, foreign: ForeignNetwork, front: Sequence[StoredLayer]) -> None:
    """Refuse a network without one RGB image as its input and one list of categories as its output."""
    inputs, outputs = model.inputs or [], getattr(model, "outputs", None) or []
    expected = (foreign.input_px, foreign.input_px, 3)
    given = tuple(inputs[0].shape[1:]) if len(inputs) == 1 else ()
    if len(given) != 3 or any(have not in (None, want) for have, want in zip(given, expected, strict=True)):
        behind = f"; it begins with {_listed(front)}, so save the network from behind these layers" if front else ""
        raise ReleaseError(
            f"{foreign.path} takes inputs of {given or [tuple(each.shape) for each in inputs]}, not {expected}; "
            f"correct --input-px, or give a network of one RGB image{behind}"
        )
    if len(outputs) != 1 or len(outputs[0].shape) != 2:
        raise ReleaseError(
            f"{foreign.path} has outputs of {[tuple(each.shape) for each in outputs]}, where one of (None, "
            f"{foreign.categories}) was expected; save a network that gives the confidences alone"
        )
    if outputs[0].shape[-1] != foreign.categories:
        raise ReleaseError(
            f"{foreign.path} tells {outputs[0].shape[-1]} categories apart and {foreign.categories} are named; "
            "name each of its outputs, in their order"
        )


def _answers(model: Any, images: Any) -> Any:
    """Return a network's only output, float64 (images, categories); input and output may each have a name."""
    import keras

    given = keras.tree.pack_sequence_as(model.input, [images])
    (output,) = keras.tree.flatten(model(given, training=False))
    return np.asarray(output, np.float64)


def _loaded(foreign: ForeignNetwork, file: ForeignFile, configs: list[LayerConfig]) -> Any:
    """Load the original network in float32; raise ReleaseError if its input or output has another shape."""
    import keras

    try:
        model = keras.saving.load_model(foreign.path, compile=False, safe_mode=True)
    except Exception as error:  # keras raises many different exceptions for a broken file
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        again = "save the model there again"
        if file.version and file.version != keras.__version__:  # what it writes there may be beyond this Keras again
            again = (
                "save the model there with model.save('....h5'), write down its answers to some images, as `shelfwise "
                "release import --help` shows, and give them with --expected"
            )
        raise ReleaseError(
            f"Keras {keras.__version__} cannot load {foreign.path}, which {file.writer} wrote ({reason}); {again}"
        ) from error
    _refuse_shapes(model, foreign, without_front(_plain(configs))[0])
    for layer in every_layer(model):
        if layer.compute_dtype in ("float16", "bfloat16"):
            layer.dtype_policy = "float32"
            if type(layer).__name__ == "Normalization":
                layer.finalize_state()  # it keeps its statistics as constants, which were rounded
    return model


def _rebuilt(layers: Sequence[StoredLayer], foreign: ForeignNetwork, *, of_keras_2: bool) -> tuple[NetworkSpec, Any]:
    """Find the architecture that the original's weights fit; return its specification and a network with these."""
    names = {layer.name for layer in layers if layer.weights}
    family = next((family for family, layer in _FAMILY_LAYER.items() if layer in names), None)
    backbone, head = split(layers)
    unlike: list[tuple[int, str]] = []
    for name in sorted(name for name in ARCHITECTURES if family and name.startswith(family)):
        if foreign.input_px < INPUT_PX[name][0]:
            raise ReleaseError(
                f"{foreign.path} looks like {name}, which takes inputs of at least {INPUT_PX[name][0]} px, received "
                f"{foreign.input_px}; correct --input-px"
            )
        model = architecture(name).build(input_px=foreign.input_px, categories=foreign.categories)
        try:
            copy_layers(backbone, model, source=foreign.path.name)
        except ForeignWeights as error:
            others = names ^ {layer.name for layer in weighted_layers(model)}
            unlike.append((len(others), str(error).partition(";")[0]))
            continue
        found = _read_head(head, model.get_layer(HEAD), foreign, name, of_keras_2=of_keras_2)
        spec = NetworkSpec(
            name, foreign.input_px, f"{name}.weights.h5", "", 1.0, foreign.preprocessing, found.description
        )
        if spec.head is not None:
            model = network_with_head(spec, categories=foreign.categories)
            copy_layers(backbone, model, source=foreign.path.name)
        fill_head(model, spec.head or Head(), found.weights)
        return spec, model
    nearest = f" ({min(unlike)[1]})" if unlike else ""
    raise ReleaseError(
        f"{foreign.path} is none of the known architectures of keras.applications{nearest}; only these can be "
        f"imported: {', '.join(sorted(ARCHITECTURES))}"
    )


def _read_head(
    head: Sequence[StoredLayer], last: Any, foreign: ForeignNetwork, name: str, *, of_keras_2: bool
) -> ReadHead:
    """Read a foreign head; raise ReleaseError if it cannot be served."""
    features, outputs = last.kernel.shape
    try:
        return read_head(head, features=features, outputs=outputs, of_keras_2=of_keras_2)
    except ForeignHead as error:
        raise ReleaseError(
            f"{foreign.path} is {name} with a head of {_listed(head)}, which cannot be served ({error}); give it a "
            "head of global average or maximum pooling, then Dense, BatchNormalization, Dropout and activations such "
            "as relu in any order, and train that"
        ) from error


def _listed(head: Sequence[StoredLayer]) -> str:
    """List the layers of a head for a message."""
    return ", ".join(described(layer) for layer in head[:20]) or "no layers"


def _softmax(logits: Any) -> Any:
    """Return the softmax of logits, (batch, categories)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)

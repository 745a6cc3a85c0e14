"""Recognise the files in which Keras saves networks, and read their description as data, without building anything.

Keras 3 and, since 2.12, Keras 2 write `.keras` archives: `config.json`, `metadata.json` and the weights. Keras 2 also
writes HDF5 files, whose attributes have the same. Only the layers of image networks that Keras itself has are accepted:
no Lambda layer, no custom object, no function, and no layer that reads other files or runs code of other libraries.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.foreign.archives import check_archive
from models.foreign.hdf5 import opened
from models.release import ReleaseError

MOST_TEXT = 2**25
"""Most bytes of a network's description."""

MOST_LAYERS = 5_000
"""Most layers of a network. EfficientNetB7 has 813."""

MOST_WIDTH = 2**16
"""Largest whole number in a description, beside seeds."""

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
_MODULES_OF_KERAS_2 = re.compile(
    r"(tf_keras|keras)(\.src)?(\.(layers|models|initializers|regularizers|constraints|mixed_precision|engine)(\.\w+)*)?"
)
_NOT_OBJECTS = ("__keras_tensor__", "__tuple__", "__numpy__", "__tensor__", "__slice__", "__ellipsis__")

# Layers of image networks, and what describes them. Whatever is not named here is refused, also what Keras adds later.
_ALLOWED = frozenset(
    [
        *("Functional", "Sequential", "Model", "InputLayer", "Input"),
        *("Conv1D", "Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose", "Dense", "EinsumDense"),
        *("ZeroPadding2D", "Cropping2D", "UpSampling2D", "MaxPooling2D", "AveragePooling2D"),
        *("GlobalAveragePooling2D", "GlobalMaxPooling2D", "GlobalAveragePooling1D", "GlobalMaxPooling1D"),
        *("BatchNormalization", "SyncBatchNormalization", "LayerNormalization", "GroupNormalization"),
        *("UnitNormalization", "RMSNormalization", "SpectralNormalization", "MultiHeadAttention", "Attention"),
        *("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "ThresholdedReLU", "Softmax"),
        *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "AlphaDropout", "GaussianDropout", "GaussianNoise"),
        *("ActivityRegularization", "Identity", "Flatten", "Reshape", "Permute", "RepeatVector"),
        *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot"),
        *("Rescaling", "Normalization", "Resizing", "CenterCrop", "AugMix", "AutoContrast", "Equalization"),
        *("RandAugment", "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast"),
        *("RandomCrop", "RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHeight"),
        *("RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation"),
        *("RandomSaturation", "RandomSharpness", "RandomShear", "RandomTranslation", "RandomWidth", "RandomZoom"),
        *("Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal", "LecunUniform"),
        *("Ones", "Zeros", "Orthogonal", "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling"),
        *("OrthogonalInitializer", "IdentityInitializer"),
        *("L1", "L1L2", "L2", "OrthogonalRegularizer", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"),
        *("DTypePolicy", "DTypePolicyMap", "FloatDTypePolicy", "Policy"),
        *("TrueDivide", "Divide", "Negative", "GetItem", "Clip", "Mean", "Sqrt", "Square", "Power"),  # operations
    ]
)

# Nothing in a file of Keras 2 is built: these only say what stood there, and the answers are compared.
_ALLOWED_IN_KERAS_2 = _ALLOWED | {"TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "FixedDropout"}


@dataclass(frozen=True)
class ForeignFile:
    """A file with a network: what Keras wrote into it, not yet checked.

    Attributes:
        path: Path of the file.
        version: Version of the Keras that wrote it, `2.15.0`; empty if the file does not say.
        config: Description of the network.
        loadable: Whether Keras 3 may load it; otherwise its weights are read layer by layer.
    """

    path: Path
    version: str
    config: Mapping[str, Any]
    loadable: bool

    @property
    def writer(self) -> str:
        """Name of the program that wrote the file, for messages."""
        return _writer(self.version)

    @property
    def of_keras_2(self) -> bool:
        """Whether Keras 2 wrote the file; taken for granted of an HDF5 file that does not say."""
        return not self.loadable and not self.version.startswith("3.")


@dataclass(frozen=True)
class LayerConfig:
    """The description of a layer in a file: its name, its class, its options, and the layers of a nested model."""

    name: str
    kind: str
    options: Mapping[str, Any]
    inner: tuple[LayerConfig, ...] | None = None

    def flat(self) -> Iterator[LayerConfig]:
        """Yield this layer, or the layers of this nested model, at any depth."""
        if self.inner is None:
            yield self
        for layer in self.inner or ():
            yield from layer.flat()


def foreign_file(path: Path) -> ForeignFile:
    """Read the description of a network and the version of Keras from a file; nothing in it is executed.

    Raises:
        ReleaseError: If the file is neither a `.keras` archive nor an HDF5 file of a whole network; the message says
            what to do.
    """
    import h5py

    if path.is_dir():
        raise ReleaseError(
            f"{path} is a directory, as Keras 2 writes a SavedModel; load it there and save the model with "
            "model.save('....h5')"
        )
    try:
        with path.open("rb"):
            archive = zipfile.is_zipfile(path)
    except OSError as error:
        raise ReleaseError(f"{path} cannot be read ({error.strerror or error}); give a .keras file") from error
    if not archive and h5py.is_hdf5(path):
        return _from_hdf5(path)
    if path.suffix != ".keras":  # Keras chooses the format by the name; it must read the format that is checked here
        raise ReleaseError(f"{path} does not end in .keras; save the model with model.save('....keras')")
    return _from_archive(path)


def refuse_code(file: ForeignFile) -> None:
    """Refuse a file that would run or need foreign code.

    Raises:
        ReleaseError: If the file is refused; the message names the object and what to do.
    """
    path = file.path
    for part in _parts(file):
        name, module = part["class_name"], part.get("module")
        if not isinstance(name, str):
            raise ReleaseError(
                f"{path} was written by {file.writer} and has {str(name)[:80]!r} where the name of a layer was "
                "expected; save the model there again"
            )
        if name.rpartition(".")[2] in ("Lambda", "__lambda__"):
            raise ReleaseError(
                f"{path} holds a Lambda layer, whose code would have to be run to be read; replace it by layers of "
                "Keras, such as Rescaling, and save the model again"
            )
        known = module is None or (
            module in _MODULES if file.loadable else _MODULES_OF_KERAS_2.fullmatch(str(module)) is not None
        )
        registered = str(part.get("registered_name") or "")
        if ">" in registered or not known:
            raise ReleaseError(
                f"{path} holds the custom object {(registered or name)[:80]!r} of {str(module)[:80]}; only layers of "
                "Keras itself are accepted, so replace it and save the model again"
            )
        if name not in (_ALLOWED if file.loadable else _ALLOWED_IN_KERAS_2):
            raise ReleaseError(
                f"{path} holds {name[:80]!r}, which is no layer of an image network; leave it out of the network and "
                "save the model again"
            )


def layer_configs(file: ForeignFile) -> list[LayerConfig]:
    """Return the description of a file's layers, those of nested models inside these; refuse absurd numbers.

    Raises:
        ReleaseError: If it describes no network, too many layers, or a layer larger than any of ours.
    """
    try:
        layers = _layers(file.config)
        number = sum(1 for layer in layers for _ in layer.flat())
        largest = max((size for layer in layers for each in layer.flat() for size in _sizes(each.options)), default=0)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise _undescribed(file.path, file.version) from error
    if number > MOST_LAYERS or largest > MOST_WIDTH:
        raise ReleaseError(
            f"{file.path} describes {number:,} layers and sizes up to {largest:,}, and networks of up to "
            f"{MOST_LAYERS:,} layers and sizes of up to {MOST_WIDTH:,} are read; give a network of keras.applications"
        )
    return layers


def claimed_weights(layers: list[LayerConfig]) -> int:
    """Return an upper bound of the weights that layers describe, where each takes the output of the widest one."""
    widths = []
    for layer in (each for outer in layers for each in outer.flat()):
        size = layer.options.get("kernel_size") or ()
        width = 1
        for number in size if isinstance(size, list) else [size]:
            width *= number if isinstance(number, int) else 1
        named = [layer.options.get(key) for key in ("units", "filters", "input_dim", "output_dim", "depth_multiplier")]
        if any(isinstance(number, int) for number in named):
            for number in named:
                width *= number if isinstance(number, int) else 1
            widths.append((width, max(number for number in named if isinstance(number, int))))
    return sum(width for width, _ in widths) * max((widest for _, widest in widths), default=0)


def _writer(version: str) -> str:
    return f"Keras {version}" if version else "an unknown version of Keras"


def _undescribed(path: Path, version: str) -> ReleaseError:
    return ReleaseError(
        f"{path} was written by {_writer(version)} and does not describe its layers as Keras does; save the model "
        "there again"
    )


def _from_archive(path: Path) -> ForeignFile:
    """Read the metadata and the description of a `.keras` archive."""
    version = ""
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive)
            metadata = _json(archive, "metadata.json") if "metadata.json" in archive.namelist() else {}
            version = str(metadata.get("keras_version", ""))[:40]
            config = _json(archive, "config.json")
        file = ForeignFile(path, version, config, loadable=not version.startswith(("1.", "2.")))
        list(_parts(file))
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, AttributeError, RuntimeError) as error:
        if version:
            raise ReleaseError(
                f"{path} was written by {_writer(version)} and cannot be read ({error}); save the model there again"
            ) from error
        raise ReleaseError(f"{path} is not a .keras file of Keras ({error}); save the model with model.save") from error
    return file


def _json(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    """Read an entry of an archive as a JSON object; raise ValueError if it is too large or none."""
    if archive.getinfo(name).file_size > MOST_TEXT:
        raise ValueError(f"its {name} has over {MOST_TEXT:,} bytes")
    content = json.loads(archive.read(name))
    if not isinstance(content, dict):
        raise ValueError(f"its {name} is not a JSON object")
    return content


def _from_hdf5(path: Path) -> ForeignFile:
    """Read the description and the version from the attributes of an HDF5 file."""
    with opened(path) as file:
        texts = {name: file.attrs[name] for name in ("keras_version", "backend", "model_config") if name in file.attrs}
        texts = {name: text.decode() if isinstance(text, bytes) else str(text) for name, text in texts.items()}
        version = texts.get("keras_version", "")[:40]
        if "model_config" not in texts:
            raise ReleaseError(
                f"{path} was written by {_writer(version)} and holds weights without a description of their network; "
                "save the whole model with model.save('....h5')"
            )
        if version.startswith("1.") or texts.get("backend", "tensorflow") not in ("tensorflow", "jax", "torch"):
            raise ReleaseError(
                f"{path} was written by Keras {version or '1'} on {texts.get('backend', 'Theano')}, whose weights are "
                "laid out in another way; load it with Keras 2 on TensorFlow and save the model with model.save"
            )
    try:
        config = json.loads(texts["model_config"]) if len(texts["model_config"]) <= MOST_TEXT else None
        if not isinstance(config, dict):
            raise ValueError("its description is not a JSON object")
        found = ForeignFile(path, version, config, loadable=False)
        list(_parts(found))
    except (ValueError, RecursionError) as error:
        raise _undescribed(path, version) from error
    return found


def _parts(file: ForeignFile) -> list[dict[str, Any]]:
    """Return every object in the description of a network, without what describes its training."""
    return list(_objects({key: value for key, value in file.config.items() if key != "compile_config"}))


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a Keras configuration, at any depth; tensors and shapes do not count as objects."""
    if isinstance(value, list):
        for item in value:
            yield from _objects(item)
    elif isinstance(value, dict):
        if "class_name" in value and value["class_name"] not in _NOT_OBJECTS:
            yield value
        for item in value.values():
            yield from _objects(item)


def _layers(config: Mapping[str, Any]) -> list[LayerConfig]:
    """Return the layers of a model; in Keras 2.2 the configuration of a Sequential is the list itself."""
    inside = config["config"]
    layers = []
    for raw in inside if isinstance(inside, list) else inside["layers"]:
        options = raw["config"]
        nested = isinstance(options, list) or isinstance(options.get("layers"), list)
        named = raw.get("name") or (options.get("name") if isinstance(options, dict) else None)
        layers.append(
            LayerConfig(
                str(named or ""),
                str(raw["class_name"]),
                options if isinstance(options, dict) else {},
                tuple(_layers(raw)) if nested else None,
            )
        )
    return layers


def _sizes(value: Any) -> Iterator[int]:
    """Yield the whole numbers in a layer's options, at any depth, without seeds and numbers of objects."""
    if isinstance(value, dict):
        for key, item in value.items():
            if "seed" not in str(key) and key != "shared_object_id":
                yield from _sizes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _sizes(item)
    elif isinstance(value, int):
        yield abs(value)

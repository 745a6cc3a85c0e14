"""Convert a release from Keras to OpenVINO's format, and compare the answers of both.

    python -c "from models.serving.conversion import serve; serve(DESCRIPTOR)"

Reads the weights files of a release; writes the two files of a `Converted`. Runs in a process of its own, because it
imports TensorFlow, and because a fault in native code ends its process.
"""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from models.release import Release, ReleaseError, load_release, sha256_of
from models.serving.converted import Converted, check_openvino, conversion_key, networks_sha256
from models.serving.engines import ConversionRefused, EngineError, Forward
from models.serving.environment import usable_cores
from models.serving.openvino_engine import OpenVinoEngine, openvino, reason_in
from models.spec import Images
from models.whole_files import write_whole

CLOSE = 5e-5
"""Largest difference of a probability, and of a feature as a share of the network's largest one.

TensorFlow's own graphs differ by 3e-6, OpenVINO's by up to 1.3e-5 on noise. What a converter does wrongly, such as
another way to resize, changes probabilities by more than 1e-3.
"""


def convert(release: Release, directory: Path, target: Path) -> Converted:
    """Convert a release and compare its answers.

    Args:
        release: Release as `load_release` returns it.
        directory: Directory of the release.
        target: Existing directory; receives the two files.

    Raises:
        ConversionRefused: If OpenVINO cannot convert the graph, or its answers differ.
        EngineError: If OpenVINO is missing, broken or of another version.
        ReleaseError: If a weight is not a finite number.
        OSError: If a file cannot be written.
    """
    from models.serving.keras_engine import LoadedKerasNetworks, as_forward, frozen_graph

    version, key = check_openvino(), conversion_key(release)
    networks = LoadedKerasNetworks(release, directory, precision="float32")
    graph = frozen_graph(networks, networks.models, side_px=release.decode_px)
    model = openvino_model(graph)
    files = [target / f"openvino-{key}{suffix}" for suffix in (".xml", ".bin")]
    openvino().save_model(model, files[0], compress_to_fp16=False)
    converted = Converted(key, networks_sha256(release), version, *(sha256_of(file) for file in files))
    engine = OpenVinoEngine(converted, target, usable_cores())
    _compare(release, as_forward(graph), engine.open(release, directory))
    return converted


def sample_images(side_px: int) -> Images:
    """Return images to compare answers on: flat, smooth and noisy ones, uint8 (count, side_px, side_px, 3)."""
    import cv2

    random = np.random.default_rng(7)
    coarse = random.integers(0, 256, (12, 6, 6, 3), np.uint8)
    smooth = [cv2.resize(each, (side_px, side_px), interpolation=cv2.INTER_CUBIC) for each in coarse]
    flat = [np.full((side_px, side_px, 3), value, np.uint8) for value in (0, 128, 255)]
    noise = random.integers(0, 256, (2, side_px, side_px, 3), np.uint8)
    return np.concatenate([smooth, flat, noise]).astype(np.uint8)


def serve(descriptor: int) -> None:
    """Convert one release on request: receive (directory, target, release), and send a Converted or an exception.

    Args:
        descriptor: File descriptor of this process's end of the pipe.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the conversion is for processors, and a GPU may be at work
    os.environ["KERAS_BACKEND"] = "tensorflow"
    from models.serving.environment import prepare_environment, quiet_start

    prepare_environment()
    with Connection(descriptor) as pipe:
        directory, target, expected = pipe.recv()
        try:
            with quiet_start():
                release = load_release(directory)
                if release != expected:
                    raise ReleaseError(f"{directory} holds another release than before; run again")
                reply: object = convert(release, directory, target)
        except (EngineError, ReleaseError) as error:
            reply = error
        except Exception as error:  # the caller falls back; its class may not be importable there
            traceback.print_exc()
            reply = EngineError(f"the conversion of {directory} failed ({type(error).__name__}: {str(error)[:300]})")
        pipe.send(reply)


def openvino_model(graph: Any) -> Any:
    """Convert a graph of TensorFlow with constant weights to an openvino.Model; the outputs keep their order.

    Args:
        graph: Concrete function, as `models.serving.keras_engine.frozen_graph` returns it.

    Raises:
        ConversionRefused: If OpenVINO cannot convert it.
    """
    import tensorflow as tf

    definition = graph.graph.as_graph_def()
    nodes = {node.name: node for node in definition.node}
    for value, placeholder in graph.graph.captures:
        if value.dtype == tf.resource:
            raise ConversionRefused("its weights are too large for one graph")
        node = nodes[placeholder.op.name]
        node.op = "Const"
        node.attr.clear()
        node.attr["dtype"].type = value.dtype.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value.numpy()))
    ov = openvino()
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "frozen.pb")
        write_whole(file, definition.SerializeToString())
        try:
            model = ov.Core().read_model(file)
        except RuntimeError as error:  # OpenVINO has no other class for what it cannot convert
            raise ConversionRefused(f"OpenVINO cannot convert it ({reason_in(str(error))})") from error
        results = [model.output(output.name).get_node() for output in graph.outputs]
        return ov.Model(results, model.get_parameters())


def _compare(release: Release, keras: Forward, other: Forward) -> None:
    """Compare answers and features of a release's networks, as `compare` does."""
    names = [spec.architecture for spec in release.networks]
    whats = [f"{what} of its {name}" for what in ("probabilities", "features") for name in names]
    compare(whats, keras, other, side_px=release.decode_px)


def compare(whats: Sequence[str], keras: Forward, other: Forward, *, side_px: int) -> None:
    """Compare what two engines give for the samples.

    Args:
        whats: What each array is, for the message: `features of its xception`.
        keras: The networks by Keras.
        other: The networks by OpenVINO.
        side_px: Side of the square images, in pixels.

    Raises:
        ConversionRefused: If a number is not finite, or an array differs by more than `CLOSE`.
    """
    images = sample_images(side_px)
    for what, expected, found in zip(whats, keras(images), other(images), strict=True):
        if not (np.isfinite(expected).all() and np.isfinite(found).all()):
            raise ConversionRefused(f"the {what} are not all finite numbers")
        largest = 1.0 if what.startswith("probabilities") else float(np.abs(expected).max()) or 1.0
        difference = float(np.abs(expected - found).max()) / largest
        if difference > CLOSE:
            raise ConversionRefused(
                f"the {what} differ by {difference:.1e} between OpenVINO and Keras, where at most {CLOSE:.0e} was "
                "expected"
            )

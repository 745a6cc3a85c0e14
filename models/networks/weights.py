"""Save the weights of a network, convert them to float16 for a release, and average two networks.

Writes `.weights.h5` and `.keras` files; each appears complete or not at all.
"""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.networks.origin import add_origin
from models.whole_files import write_whole

log = logging.getLogger(__name__)


def save_weights(model: Any, path: Path, *, origin: Mapping[str, Any] | None = None) -> None:
    """Save the weights of a network, or the whole network if the name ends in `.keras`, completely or not at all.

    The file is made in memory first, because h5py must not write to a full disk: it would fail again for every object
    that it still has open, and abort the process.

    Args:
        model: The Keras model.
        path: File to write; `.weights.h5` for the weights, `.keras` for the whole network.
        origin: Training metadata for a `.keras` file; see `models.networks.origin`.

    Raises:
        OSError: If the file cannot be written; a former file is kept. Free disk space or choose another path.
    """
    import keras

    held = io.BytesIO()
    keras.saving.save_model(model, held, zipped=False)  # Keras accepts a file object only so
    if path.suffix == ".keras":
        if origin:
            add_origin(held, origin)
        write_whole(path, held.getbuffer())
        return
    with zipfile.ZipFile(held) as archive:
        write_whole(path, archive.read("model.weights.h5"))


def to_float16(source: Path, target: Path) -> None:
    """Copy a Keras weights file with its float32 arrays as float16: half the size, the same predictions to 3 digits.

    Args:
        source: A `.weights.h5` file to read.
        target: File to write.

    Raises:
        ValueError: If a weight is not finite in float16 (over 65504); the message names it. Keep it in float32.
        OSError: If the target cannot be written. Free disk space or choose another path.
    """
    import h5py
    import numpy as np

    held = io.BytesIO()  # in memory, for the reason given in `save_weights`
    with h5py.File(source, "r") as full, h5py.File(held, "w") as half:

        def copy(name: str, item: Any) -> None:
            if not isinstance(item, h5py.Dataset):
                half.require_group(name).attrs.update(item.attrs)
                return
            values = np.asarray(item)
            with np.errstate(over="ignore"):  # an overflow is reported below, with the name of the weight
                small = values.astype(np.float16) if values.dtype == np.float32 else values
            if not np.isfinite(small).all():
                raise ValueError(f"{source}: {name} does not fit float16")
            half.create_dataset(name, data=small, track_times=False)

        full.visititems(copy)
    write_whole(target, held.getbuffer())


def save_half(model: Any, directory: Path) -> Path:
    """Save the weights of a network for a release: in float16, or in float32 if one of them does not fit float16.

    Args:
        model: The Keras model.
        directory: Existing directory; receives `full.weights.h5` and, if it fits, `half.weights.h5`.

    Returns:
        Path of the file for the release.

    Raises:
        ValueError: If a weight is not a finite number; such a network cannot be released, train it again.
        OSError: If a file cannot be written. Free disk space or choose another directory.
    """
    import numpy as np

    full, half = directory / "full.weights.h5", directory / "half.weights.h5"
    save_weights(model, full)
    try:
        to_float16(full, half)
    except ValueError as error:
        if not all(np.isfinite(values).all() for values in model.get_weights()):
            raise
        log.warning("%s: the release keeps this network in float32, in a file of twice the size", error)
        return full
    return half


def round_as_stored(network: Any) -> None:
    """Round the weights of a network in place to those that a release will store: float16 if all of them fit.

    What is computed with the network afterwards, such as features, is what the release will compute.
    """
    import numpy as np

    weights = network.get_weights()
    with np.errstate(over="ignore"):
        stored = [each.astype(np.float16).astype(each.dtype) if each.dtype == np.float32 else each for each in weights]
    if all(np.isfinite(each).all() for each in stored):
        network.set_weights(stored)
        refresh(network)


def weights_sha256(network: Any) -> str:
    """Return the SHA-256 of the weights of a network: of their shapes, types and values, in order."""
    import numpy as np

    digest = hashlib.sha256()
    for each in network.get_weights():
        digest.update(f"{each.dtype} {each.shape}".encode())
        digest.update(np.ascontiguousarray(each).data)
    return digest.hexdigest()


def hold_the_same(one: Path, other: Path) -> bool:
    """Return whether two weights files hold the same arrays; the names of layers in them differ by process."""
    import numpy as np

    first, second = _arrays(one), _arrays(other)
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def _arrays(path: Path) -> dict[str, Any]:
    """Return the arrays of a weights file by their place in it."""
    import h5py

    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def refresh(network: Any) -> None:
    """Make a network use weights that were set after building: its Normalization layers keep copies as constants."""
    import keras

    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def average(model: Any, other: Any, *, share: float) -> None:
    """Replace the weights of a network by their weighted mean with those of another.

    The other network should be the start of the same training, or another result of that start. Their mean is often
    more accurate than both (Izmailov et al., 2018, arXiv:1803.05407; Wortsman et al., 2022, arXiv:2109.01903). This
    cannot be predicted: measure it.

    Args:
        model: Network that is changed in place.
        other: Network of the same architecture.
        share: Share of the other network in the mean, in [0, 1].
    """
    pairs = zip(model.get_weights(), other.get_weights(), strict=True)
    model.set_weights([(1 - share) * weight + share * other_weight for weight, other_weight in pairs])
    refresh(model)

"""A network's weights as files, each written whole or not at all, and as small as a release keeps them."""

from __future__ import annotations

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
    """Write a network's weights, or all of it where the name ends in `.keras`: whole or not at all.

    h5py only ever writes to memory: where a disk is full it fails again for every object that it still holds, and ends
    the process.

    Args:
        model: The network.
        path: The file.
        origin: What a `.keras` file shall say of its training; see `models.networks.origin`.

    Raises:
        OSError: If it cannot be written; a former file stays.
    """
    import keras

    held = io.BytesIO()
    keras.saving.save_model(model, held, zipped=False)  # which is how it takes no name but a file
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
        source: A `.weights.h5` file.
        target: Where the smaller one goes.

    Raises:
        ValueError: If a weight does not fit float16 (over 65504), with its name.
        OSError: If it cannot be written.
    """
    import h5py
    import numpy as np

    held = io.BytesIO()  # as in `save_weights`
    with h5py.File(source, "r") as full, h5py.File(held, "w") as half:

        def copy(name: str, item: Any) -> None:
            if not isinstance(item, h5py.Dataset):
                half.require_group(name).attrs.update(item.attrs)
                return
            values = np.asarray(item)
            with np.errstate(over="ignore"):  # what overflows is refused below, by name
                small = values.astype(np.float16) if values.dtype == np.float32 else values
            if not np.isfinite(small).all():
                raise ValueError(f"{source}: {name} does not fit float16")
            half.create_dataset(name, data=small, track_times=False)

        full.visititems(copy)
    write_whole(target, held.getbuffer())


def save_half(model: Any, directory: Path) -> Path:
    """Write a network's weights as a release keeps them: in float16, or in float32 where one of them does not fit.

    Returns:
        The file in the directory.

    Raises:
        ValueError: If a weight is no number; nothing can be released of such a network.
        OSError: If it cannot be written.
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


def refresh(network: Any) -> None:
    """Let Normalization layers take over weights that were set: they keep them as constants."""
    import keras

    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def average(model: Any, other: Any, *, share: float) -> None:
    """Move a network's weights towards those of another one that it was trained from or beside.

    On the way between two ends of one training lies a network that is often right more often than either (Izmailov et
    al., 2018, arXiv:1803.05407; Wortsman et al., 2022, arXiv:2109.01903). Nothing says so beforehand: measure it.

    Args:
        model: Is changed.
        other: Of the same architecture.
        share: Of the other one, in [0, 1].
    """
    pairs = zip(model.get_weights(), other.get_weights(), strict=True)
    model.set_weights([(1 - share) * one + share * another for one, another in pairs])
    refresh(model)

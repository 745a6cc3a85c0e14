"""What a network may start from: nothing, ImageNet, a weights file, or a network of another release."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.networks.backbones import copy_backbone
from models.networks.registry import architecture
from models.release import MANIFEST, ReleaseError, load_network, load_release
from models.spec import NetworkSpec
from models.training.recipe import IMAGENET, NOTHING

IMAGENET_DEVIATIONS = (0.229, 0.224, 0.225)
"""Of red, green and blue, each in [0, 1]."""

log = logging.getLogger(__name__)


def fill(model: Any, network: NetworkSpec, start: str, *, category_ids: Sequence[str], taxonomy_version: str) -> None:
    """Give a new network the weights that its training starts from.

    Args:
        model: As `Architecture.build` made it.
        network: What it is.
        start: `nothing`, `imagenet`, a `.weights.h5` file with or without a head, or a release's directory.
        category_ids: What the model's outputs mean.
        taxonomy_version: Of these.

    Raises:
        ReleaseError: If the weights cannot be had, are of another architecture or shape, or the release answers with
            another taxonomy; says what to give instead.
    """
    if start == NOTHING:
        return
    if start == IMAGENET:
        copy_backbone(_imagenet(network), model)
    elif (Path(start) / MANIFEST).is_file():
        _from_release(model, network, Path(start), category_ids, taxonomy_version)
    elif Path(start).is_file():
        _from_file(model, network, Path(start))
    else:
        raise ReleaseError(
            f"there is nothing at {start!r} to start from; give {IMAGENET}, {NOTHING}, a .weights.h5 file or a release"
        )


def range_of(start: str, architecture_name: str) -> str:
    """Return the range of values that a start's weights were trained on; also where it is one file of a release.

    Args:
        start: As `fill` takes it.
        architecture_name: Of the network.

    Returns:
        A key of `models.networks.inputs.RANGES`: what a release says of its network of that architecture, else `own`.

    Raises:
        ReleaseError: If the release cannot be used.
    """
    place = Path(start)
    directory = place if (place / MANIFEST).is_file() else place.parent
    if start in (NOTHING, IMAGENET) or not (directory / MANIFEST).is_file():
        return "own"
    files = [one for one in load_release(directory).networks if place in (directory, directory / one.weights_file)]
    return next((one.preprocessing for one in files if one.architecture == architecture_name), "own")


def _imagenet(network: NetworkSpec) -> Any:
    try:
        return architecture(network.architecture).backbone(input_px=network.input_px, weights="imagenet")
    except Exception as error:  # keras raises a bare Exception for every failed download
        raise ReleaseError(
            f"the ImageNet weights of {network.architecture} could not be downloaded; give a local .weights.h5 file "
            "with --start-from, or `--start-from nothing`"
        ) from error


def _from_release(
    model: Any, network: NetworkSpec, directory: Path, category_ids: Sequence[str], taxonomy_version: str
) -> None:
    release = load_release(directory)
    ids = [category.category_id for category in release.categories]
    remedy = "start from its weights file alone to keep no more than its backbone"
    if release.taxonomy_version != taxonomy_version:
        raise ReleaseError(
            f"release {release.release_id} was trained under taxonomy {release.taxonomy_version} and this catalog is "
            f"labelled under {taxonomy_version}; {remedy}"
        )
    if other := sorted(set(ids) ^ set(category_ids)):
        holder = f"release {release.release_id}" if other[0] in ids else "this catalog"
        raise ReleaseError(
            f"{len(other)} categories are of release {release.release_id} or of this catalog alone, though both call "
            f"their taxonomy {taxonomy_version}, such as {other[0]!r} of {holder}; {remedy}"
        )
    own = [one for one in release.networks if one.architecture == network.architecture]
    if not own:
        names = ", ".join(one.architecture for one in release.networks)
        raise ReleaseError(f"release {release.release_id} has no {network.architecture}; it has {names}")
    if own[0].preprocessing != network.preprocessing:
        raise ReleaseError(
            f"the {network.architecture} of release {release.release_id} was trained on values in the range "
            f"{own[0].preprocessing!r} and this one takes {network.preprocessing!r}; use `shelfwise finetune`"
        )
    *backbone, kernel, bias = load_network(release, directory, own[0]).get_weights()
    order = [ids.index(category_id) for category_id in category_ids]
    model.set_weights([*backbone, kernel[:, order], bias[order]])


def _from_file(model: Any, network: NetworkSpec, path: Path) -> None:
    """Load a backbone's file; or one of a network with a head, of which the backbone is taken."""
    parts = architecture(network.architecture)
    bare = parts.backbone(input_px=network.input_px)
    whole = parts.build(input_px=network.input_px, categories=int(model.output_shape[-1]))
    for candidate, options in ((bare, {}), (whole, {}), (whole, {"skip_mismatch": True})):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Keras lists every layer that it does not find, at each attempt
                candidate.load_weights(path, **options)
        except Exception:  # keras and h5py raise whatever a foreign file leads to
            log.debug("%s into %s", path, candidate.name, exc_info=True)
            continue
        if not options or _head_alone_differs(path, whole):
            _scale_as_imagenet(candidate)
            copy_backbone(candidate, model)
            return
    raise ReleaseError(
        f"{path} does not hold weights of {network.architecture}: {_why(path)}; give a .weights.h5 file of that "
        "architecture, or its architecture with --network"
    )


def _scale_as_imagenet(network: Any) -> None:
    """Square the variance of keras.applications' own EfficientNet weights, whose files hold deviations in its place.

    With `weights="imagenet"` it adds a layer that divides by the root of these once more. That layer has no weights, so
    a file does not tell of it.
    """
    for layer in network.layers:
        if type(layer).__name__ == "Normalization":
            mean, variance, *rest = layer.get_weights()
            if np.allclose(variance, IMAGENET_DEVIATIONS, atol=1e-4):
                layer.set_weights([mean, variance**2, *rest])


def _why(path: Path) -> str:
    import h5py

    return "its layers are others, or of other shapes" if h5py.is_hdf5(path) else "it is no HDF5 file"


def _head_alone_differs(path: Path, whole: Any) -> bool:
    """Say whether a file has as many layers of the same shapes as a network but for the last one."""
    import h5py

    with h5py.File(path, "r") as file:
        shapes: list[tuple[int, ...]] = []
        layers = file.get("layers", file)
        layers.visititems(
            lambda name, item: shapes.append(tuple(item.shape)) if isinstance(item, h5py.Dataset) else None
        )
    wanted = sorted(tuple(weight.shape) for weight in whole.weights[:-2])
    for shape in wanted:
        if shape not in shapes:
            return False
        shapes.remove(shape)
    return len(shapes) <= 2

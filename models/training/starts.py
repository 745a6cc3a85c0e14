"""Load the weights from which a training starts: none, ImageNet, a weights file, or a network of another release."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.networks.backbones import copy_backbone
from models.networks.heads import head_layers
from models.networks.registry import architecture
from models.release import CROSS_FITTED, MANIFEST, Release, ReleaseError, load_network, load_release
from models.spec import NetworkSpec
from models.training.recipe import IMAGENET, NOTHING

IMAGENET_DEVIATIONS = (0.229, 0.224, 0.225)
"""Standard deviations of ImageNet's red, green and blue, for values in [0, 1]."""

log = logging.getLogger(__name__)


def load_start_weights(
    model: Any, network: NetworkSpec, start: str, *, category_ids: Sequence[str], taxonomy_version: str
) -> None:
    """Load the weights from which a training starts into a new network.

    Args:
        model: Network that `Architecture.build` returned; is changed in place.
        network: Architecture, input size and value range of the network.
        start: `nothing`, `imagenet`, a `.weights.h5` file with or without a head, or a release's directory.
        category_ids: The category_id of each output of the model.
        taxonomy_version: Version of the taxonomy of these categories.

    Raises:
        ReleaseError: If the weights cannot be loaded, are of another architecture or shape, or the release has another
            taxonomy; the message names what to give instead.
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
    """Return the range of pixel values for which a training's start weights were trained.

    Args:
        start: Start of the training, as for `load_start_weights`, or a weights file inside a release's directory.
        architecture_name: Name of the network's architecture.

    Returns:
        A key of `models.networks.inputs.RANGES`: the one that the release gives for its network of that architecture;
        `own` if the start is not part of a release.

    Raises:
        ReleaseError: If the release cannot be read; the message names what to do.
    """
    path = Path(start)
    directory = path if (path / MANIFEST).is_file() else path.parent
    if start in (NOTHING, IMAGENET) or not (directory / MANIFEST).is_file():
        return "own"
    networks = [each for each in load_release(directory).networks if path in (directory, directory / each.weights_file)]
    return next((each.preprocessing for each in networks if each.architecture == architecture_name), "own")


def _imagenet(network: NetworkSpec) -> Any:
    """Return the backbone of an architecture with downloaded ImageNet weights."""
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
    """Copy the weights of a release's network, with the outputs in the order of `category_ids`.

    Of a network with a head of its own only the backbone is copied: training makes heads of one Dense layer. The same
    holds for a release whose heads were cross-fitted: its head has learned from the part validation, which a training
    measures its epochs and fits its thresholds on.
    """
    release = load_release(directory)
    if CROSS_FITTED in release.training:
        log.info(
            "the head of release %s learned from the part validation too, so that its backbone alone is taken and the "
            "head is trained anew",
            release.release_id,
        )
        copy_backbone_of_release(model, network.architecture, directory)
        return
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
    source = _network_of(release, network.architecture)
    if source.preprocessing != network.preprocessing:
        raise ReleaseError(
            f"the {network.architecture} of release {release.release_id} was trained on values in the range "
            f"{source.preprocessing!r} and this one takes {network.preprocessing!r}; use `shelfwise finetune`"
        )
    loaded = load_network(release, directory, source)
    if source.head is not None:
        _backbone_of_imported(loaded, model)
        return
    *backbone, kernel, bias = loaded.get_weights()
    order = [ids.index(category_id) for category_id in category_ids]
    model.set_weights([*backbone, kernel[:, order], bias[order]])


def _backbone_of_imported(source: Any, model: Any) -> None:
    """Copy the backbone of a network with a head of its own."""
    copy_backbone(source, model, head=head_layers(source))
    log.info("the head of %s, which was imported, is not kept: training makes one Dense layer anew", source.name)


def copy_backbone_of_release(model: Any, name: str, directory: Path) -> None:
    """Copy the backbone of a release's network into a network; its categories and taxonomy do not matter.

    Args:
        model: Network that `Architecture.build` returned; is changed in place.
        name: Name of its architecture.
        directory: Directory of the release.

    Raises:
        ReleaseError: If the release cannot be read, or has no network of that architecture.
    """
    release = load_release(directory)
    source = load_network(release, directory, _network_of(release, name))
    copy_backbone(source, model, head=head_layers(source))


def _network_of(release: Release, name: str) -> NetworkSpec:
    """Return a release's network of an architecture; raise ReleaseError if it has none."""
    for network in release.networks:
        if network.architecture == name:
            return network
    names = ", ".join(network.architecture for network in release.networks)
    raise ReleaseError(
        f"release {release.release_id} has no {name}; it has {names}, so name what it has with --network, or another "
        f"start of {name} with --start-from {name}=..."
    )


def _from_file(model: Any, network: NetworkSpec, path: Path) -> None:
    """Load a weights file of a backbone, or of a network with a head, of which only the backbone is used."""
    if (path.parent / MANIFEST).is_file():
        release = load_release(path.parent)
        for each in release.networks:
            if each.weights_file == path.name and each.architecture == network.architecture and each.head is not None:
                _backbone_of_imported(load_network(release, path.parent, each), model)
                return
    parts = architecture(network.architecture)
    bare = parts.backbone(input_px=network.input_px)
    whole = parts.build(input_px=network.input_px, categories=int(model.output_shape[-1]))
    for candidate, options in ((bare, {}), (whole, {}), (whole, {"skip_mismatch": True})):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # at each attempt Keras warns of every layer that it does not find
                candidate.load_weights(path, **options)
        except Exception:  # keras and h5py raise many different exceptions for a foreign file
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
    """Square the variance of keras.applications' EfficientNet weights, whose files store standard deviations instead.

    With `weights="imagenet"` keras.applications adds a layer that divides by the root of these once more. That layer
    has no weights, so the file does not contain it.
    """
    for layer in network.layers:
        if type(layer).__name__ == "Normalization":
            mean, variance, *rest = layer.get_weights()
            if np.allclose(variance, IMAGENET_DEVIATIONS, atol=1e-4):
                layer.set_weights([mean, variance**2, *rest])


def _why(path: Path) -> str:
    """Return the reason why a file does not fit, for the message."""
    import h5py

    return "its layers are others, or of other shapes" if h5py.is_hdf5(path) else "it is no HDF5 file"


def _head_alone_differs(path: Path, whole: Any) -> bool:
    """Return whether a file has weights of the same shapes as a network, except for the last layer."""
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

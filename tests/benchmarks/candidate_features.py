"""Features of labelled photographs, computed once and kept in one file, for `bench_candidates`."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BATCH = 32


def features_of_photographs(
    folders: Sequence[Path], *, weights: str, network: str, input_px: int, kept: Path
) -> tuple[NDArray[np.float32], int, NDArray[np.int64], tuple[str, ...]]:
    """Return the features of photographs as `finetune --quick` computes them, and their categories.

    Args:
        folders: Directories with a folder for each category.
        weights: What `--start-from` takes.
        network: Name of the architecture.
        input_px: Side of its square input, in pixels.
        kept: File that the features are kept in, `.npz`; read if it is there.

    Returns:
        Features float32 (photographs, features), the number of those of the last feature map, which come first, the
        category index of each photograph, and the names of the categories.
    """
    if not kept.exists():
        photographs = sorted(photograph for folder in folders for photograph in folder.glob("*/*.jpg"))
        features, last = _computed(photographs, weights=weights, network=network, input_px=input_px)
        kinds = np.array([photograph.parent.name for photograph in photographs])
        np.savez(kept, features=features, last=last, kinds=kinds)
    with np.load(kept) as file:
        names, labels = np.unique(file["kinds"], return_inverse=True)
        return file["features"], int(file["last"]), labels.astype(np.int64), tuple(names.tolist())


def _computed(
    photographs: Sequence[Path], *, weights: str, network: str, input_px: int
) -> tuple[NDArray[np.float32], int]:
    from models.networks.inputs import decode_square
    from models.serving.environment import prepare_environment

    prepare_environment()
    from models.serving.features import FeatureExtractor, feature_engine
    from models.training.frozen import load_frozen

    frozen = load_frozen(network, input_px, weights, categories=2)
    extractor = FeatureExtractor(frozen.backbone, frozen.network, side_px=input_px, engine=feature_engine())
    features = np.empty((len(photographs), extractor.width), np.float32)
    with ThreadPoolExecutor(2) as readers:
        for start in range(0, len(photographs), BATCH):
            batch = photographs[start : start + BATCH]
            squares = np.stack(list(readers.map(lambda each: decode_square(each.read_bytes(), input_px), batch)))
            features[start : start + len(batch)] = extractor(squares)
            print(f"\r{start + len(batch)} of {len(photographs)} photographs", end="", flush=True)
    print()
    return features, frozen.last_width

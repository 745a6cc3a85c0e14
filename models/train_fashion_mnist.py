"""Train the shipped release on Fashion-MNIST's 60,000 training articles.

    python -m models.train_fashion_mnist --work-dir /tmp/training --release-id fashion-mnist-1 \
        --output models/releases/fashion-mnist-1

Reads the articles (see `models.fashion_mnist`) and, for Xception, an optional ImageNet backbone without its head;
writes a release. Every epoch leaves a checkpoint in the work directory, and the same command goes on from the last one.
The last 5,000 training articles are held out: they choose the best epoch, the networks' shares, the temperature and
the thresholds. The official test articles are looked at once, after every choice, for the figures in release.json.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from models import fashion_mnist
from models.calibrated import calibrated
from models.calibration import calibration_error, combine
from models.card import NAME, model_card
from models.decision import decide
from models.inputs import decode_square, network_input
from models.registry import architecture
from models.release import Release, save_release, sha256_of, to_float16
from models.spec import Images, NetworkSpec

log = logging.getLogger("models.train_fashion_mnist")

HELD_OUT = 5_000
JPEG_QUALITY = 95
DECODE_PX = 71


@dataclass(frozen=True)
class Recipe:
    """How one network is trained.

    Attributes:
        input_px: Side of its input, in pixels.
        epochs: Passes over the 55,000 articles that are not held out.
        batch_size: Images a step.
        peak_learning_rate: Of AdamW; it warms up for a twentieth of all steps and then falls along a cosine to 0.
        frozen_up_to: Layers before the one of this name keep their weights; empty trains all of them.
    """

    input_px: int
    epochs: int
    batch_size: int
    peak_learning_rate: float
    frozen_up_to: str = ""


RECIPES = {
    "efficientnetb0": Recipe(input_px=56, epochs=4, batch_size=64, peak_learning_rate=3e-3),
    "xception": Recipe(
        input_px=71, epochs=2, batch_size=64, peak_learning_rate=1e-3, frozen_up_to="block10_sepconv1_act"
    ),
}


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # keras ships no types
    """Shuffled, augmented batches of one network's input."""

    def __init__(
        self, squares: Images, labels: NDArray[np.integer[Any]], network: NetworkSpec, *, batch_size: int, seed: int
    ) -> None:
        super().__init__(workers=1)
        self.squares, self.labels, self.network, self.batch_size = squares, labels, network, batch_size
        self.random = np.random.default_rng(seed)
        self.order = self.random.permutation(len(squares))

    def __len__(self) -> int:
        return len(self.order) // self.batch_size

    def __getitem__(self, index: int) -> tuple[Any, NDArray[np.integer[Any]]]:
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        images = np.stack([_augmented(self.squares[i], self.random) for i in chosen])
        return np.asarray(network_input(images, self.network)), self.labels[chosen]

    def on_epoch_end(self) -> None:
        """Shuffle again."""
        self.order = self.random.permutation(len(self.squares))


def main() -> int:
    """Parse the command line, train both networks and write the release."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work-dir", type=Path, required=True, help="checkpoints and the unpacked data set")
    parser.add_argument("--output", type=Path, required=True, help="the release's directory; must not exist")
    parser.add_argument("--release-id", required=True)
    parser.add_argument("--xception-backbone", type=Path, help="ImageNet weights without the head (.weights.h5)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--limit", type=int, default=0, help="train on this many articles only; 0 is all")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    options.work_dir.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(options.seed)
    started = time.monotonic()
    squares, labels, fingerprint = _squares("train", options.work_dir)
    kept = options.limit or len(squares) - HELD_OUT
    held = slice(len(squares) - HELD_OUT, None)
    held_out, networks, weights = {}, [], {}
    for name, recipe in RECIPES.items():
        network = NetworkSpec(name, recipe.input_px, f"{name}.weights.h5", "", 1 / len(RECIPES))
        data = Batches(squares[:kept], labels[:kept], network, batch_size=recipe.batch_size, seed=options.seed)
        model = _train(network, recipe, data, (squares[held], labels[held]), options)
        full, half = options.work_dir / f"{name}.full.weights.h5", options.work_dir / f"{name}.half.weights.h5"
        bare = architecture(name).build(input_px=recipe.input_px, categories=len(fashion_mnist.CATEGORIES))
        bare.set_weights(model.get_weights())  # a compiled model's file would hold its optimizer too
        bare.save_weights(full)
        to_float16(full, half)
        model.load_weights(half)
        held_out[name] = _softmax(model, squares[held], network)
        networks.append(replace(network, weights_sha256=sha256_of(half)))
        weights[name] = half
    draft = Release(
        release_id=options.release_id,
        taxonomy_version="fashion-mnist",
        categories=fashion_mnist.CATEGORIES,
        networks=tuple(networks),
        temperature=1.0,
        training={
            "data_pixels_sha256": fingerprint,
            "articles": kept,
            "seed": options.seed,
            "xception_starts_from": "imagenet" if options.xception_backbone else "random",
            "seconds_of_last_session": round(time.monotonic() - started),
        },
        code_version="0.1.0",
    )
    release = calibrated(draft, held_out, labels[held])
    release = replace(release, metrics=_test_metrics(release, weights, options.work_dir))
    save_release(release, options.output, weights=weights, documents={NAME: model_card(release)})
    log.info("wrote %s: %s", options.output, json.dumps(release.metrics))
    return 0


def _squares(part: str, work_dir: Path) -> tuple[Images, NDArray[np.uint8], str]:
    """Load a part as serving sees it: each article went through a JPEG once."""
    articles = fashion_mnist.load(part, cache_dir=work_dir)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    jpegs = (cv2.imencode(".jpg", np.repeat(image[..., None], 3, axis=2), quality)[1] for image in articles.images)
    squares = np.stack([decode_square(jpeg.tobytes(), fashion_mnist.SIDE_PX) for jpeg in jpegs])
    return squares, articles.labels, articles.pixels_sha256


def _augmented(square: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Mirror half of the articles, move each by up to 2 px, and enlarge to what serving decodes to."""
    mirrored = square[:, ::-1] if random.random() < 0.5 else square
    padded = np.pad(mirrored, ((2, 2), (2, 2), (0, 0)))
    top, left = random.integers(0, 5, size=2)
    moved = padded[top : top + square.shape[0], left : left + square.shape[1]]
    return _enlarged(moved)


def _enlarged(square: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from models.inputs import to_square

    return to_square(np.ascontiguousarray(square), DECODE_PX)


def _train(
    network: NetworkSpec,
    recipe: Recipe,
    data: Batches,
    held_out: tuple[Images, NDArray[np.integer[Any]]],
    options: argparse.Namespace,
) -> Any:
    """Train one network, from its last checkpoint if there is one; return it with its best epoch's weights."""
    work = options.work_dir / network.architecture
    work.mkdir(exist_ok=True)
    model = architecture(network.architecture).build(
        input_px=network.input_px, categories=len(fashion_mnist.CATEGORIES), dropout=0.2
    )
    if network.architecture == "xception" and options.xception_backbone:
        backbone = keras.applications.Xception(
            include_top=False, weights=None, input_shape=(network.input_px, network.input_px, 3), pooling="avg"
        )
        backbone.load_weights(options.xception_backbone)
        for source, target in zip(backbone.layers, model.layers, strict=False):
            target.set_weights(source.get_weights())
    _freeze(model, recipe.frozen_up_to if options.xception_backbone else "")
    steps = len(data) * recipe.epochs
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-5, steps, warmup_target=recipe.peak_learning_rate, warmup_steps=steps // 20
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=1e-4),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    validation = (_inputs(held_out[0], network), held_out[1])
    best = work / "best.weights.h5"
    model.fit(
        data,
        validation_data=validation,
        validation_batch_size=256,
        epochs=recipe.epochs,
        verbose=2,
        callbacks=[
            keras.callbacks.BackupAndRestore(str(work / "backup"), delete_checkpoint=False),
            keras.callbacks.ModelCheckpoint(str(best), monitor="val_loss", save_best_only=True, save_weights_only=True),
        ],
    )
    model.load_weights(best)
    return model


def _freeze(model: Any, first_trained: str) -> None:
    """Freeze what stands before a layer, and every BatchNorm when anything is frozen."""
    if not first_trained:
        return
    names = [layer.name for layer in model.layers]
    start = names.index(first_trained)
    for position, layer in enumerate(model.layers):
        layer.trainable = position >= start and not isinstance(layer, keras.layers.BatchNormalization)


def _inputs(squares: Images, network: NetworkSpec) -> NDArray[np.float32]:
    parts = [
        np.asarray(network_input(np.stack([_enlarged(square) for square in squares[start : start + 500]]), network))
        for start in range(0, len(squares), 500)
    ]
    return np.concatenate(parts)


def _softmax(model: Any, squares: Images, network: NetworkSpec) -> NDArray[np.float32]:
    logits = model.predict(_inputs(squares, network), batch_size=256, verbose=0)
    return np.asarray(keras.ops.softmax(logits), np.float32)


def _test_metrics(release: Release, weights: dict[str, Path], work_dir: Path) -> dict[str, float]:
    squares, labels, _ = _squares("t10k", work_dir)
    by_network, shares, metrics = {}, {}, {}
    for network in release.networks:
        name = network.architecture
        model = architecture(name).build(input_px=network.input_px, categories=len(fashion_mnist.CATEGORIES))
        model.load_weights(weights[name])
        by_network[name] = _softmax(model, squares, network)
        shares[name] = network.ensemble_weight
        metrics[f"{name}_test_accuracy"] = float((by_network[name].argmax(axis=1) == labels).mean())
    confidences = combine(by_network, weights=shares, temperature=release.temperature)
    hits = confidences.argmax(axis=1) == labels
    metrics["ensemble_test_accuracy"] = float(hits.mean())
    metrics["ensemble_test_calibration_error"] = calibration_error(confidences.max(axis=1), hits)
    ids = [category.category_id for category in release.categories]
    answers = [decide(dict(zip(ids, row.tolist(), strict=True)), release.policy) for row in confidences]
    automatic = [
        answer.category_id == ids[label]
        for answer, label in zip(answers, labels, strict=True)
        if answer.status == "auto"
    ]
    metrics |= {
        "automatic_share": len(automatic) / len(labels),
        "automatic_precision": float(np.mean(automatic or [0.0])),
    }
    return {name: round(value, 4) for name, value in metrics.items()}


if __name__ == "__main__":
    sys.exit(main())

"""Measure the networks, the predict loop and a training on this machine's GPU; `on_device.sh` runs every step.

    python -m tests.benchmarks.on_device STEP --kit KIT --out OUT

Needs neither Java, PySpark nor TensorFlow: Keras computes with JAX or PyTorch. Each step runs in its own process,
appends its figures to OUT/figures.jsonl, and stops beginning measurements when its time is over. `table` prints the
figures as Markdown. `compare` computes on this machine's TensorFlow what OUT says of another backend.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from models.serving.environment import prepare_environment, usable_cores
from tests.benchmarks.device_answers import articles, difference

ROOT = Path(__file__).parents[2]
FIGURES = "figures.jsonl"
ENSEMBLES = {"b0": {"efficientnetb0": 224}, "both": {"efficientnetb0": 224, "xception": 299}}
AGREEMENT_BATCH = 500
TRAINED = "trained.weights.h5"


@dataclass(frozen=True)
class Options:
    """What a step was asked for.

    Attributes:
        kit: Directory that `device_kit` wrote.
        out: Directory of the figures.
        images: Images in one round of the predict loop.
        batches: Batch sizes to measure, in images.
        rounds: Rounds of the predict loop for each batch size; the first one is not counted.
        workers: Decoding threads.
        deadline: Time on `time.monotonic` after which no measurement begins.
    """

    kit: Path
    out: Path
    images: int
    batches: tuple[int, ...]
    rounds: int
    workers: int
    deadline: float

    def note(self, step: str, **figures: Any) -> None:
        """Append figures to the file, and print them."""
        line = json.dumps({"step": step, **figures})
        print(line, flush=True)
        with (self.out / FIGURES).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def in_time(self, step: str, what: str) -> bool:
        """Return whether there is time to measure; note what is left out otherwise."""
        if time.monotonic() < self.deadline:
            return True
        self.note(step, left_out=what)
        return False


def machine(options: Options) -> None:
    """Note the device and the versions."""
    import cv2
    import keras
    import pandas as pd
    import pyarrow as pa

    from models.serving.devices import device

    versions = {each.__name__: each.__version__ for each in (np, pd, pa, cv2, keras)}
    backend = keras.backend.backend()
    with suppress(ImportError):
        versions[backend] = __import__(backend).__version__
    options.note("machine", device=device().name, backend=backend, cores=os.cpu_count(), versions=versions)


def reader(options: Options) -> None:
    """Measure how many images a second are read and decoded when no network computes, and what the cores could do."""
    from jobs.dataset.petastorm_adapter import ReaderClock
    from jobs.dataset.reader_processes import ReaderProcesses
    from jobs.dataset.reading import read_shard

    with tempfile.TemporaryDirectory() as scratch:
        shard = _shard(options, Path(scratch))
        for side_px in (224, 299):
            if options.in_time("reader", f"{side_px} px, decoding alone"):
                options.note("reader", side_px=side_px, what="decoding alone", rate=_decoding_rate(options, side_px))
            for processes, threads in _reading(options.workers):
                what = f"{processes} processes of {threads} threads" if processes else f"{threads} threads"
                if not options.in_time("reader", f"{side_px} px, {what}"):
                    continue
                with ExitStack() as running:
                    if processes:
                        readers = ReaderProcesses(processes, side_px=side_px, threads=threads)
                        running.enter_context(readers)
                        batches = readers.read_shard(shard, batch_size=256, clock=ReaderClock())
                    else:
                        batches = read_shard(shard, side_px=side_px, batch_size=256, workers=threads)
                    next(batches)  # not timed: the processes import their libraries meanwhile
                    started = time.perf_counter()
                    count = sum(map(len, batches))
                    rate = round(count / (time.perf_counter() - started), 1)
                options.note("reader", side_px=side_px, what=what, rate=rate)


def _reading(cores: int) -> list[tuple[int, int]]:
    """Return the numbers of processes and of threads in each to read with; no processes means threads of this one."""
    pairs = [(0, cores)]
    if cores >= 4:
        pairs += [(cores // 2, 2), (cores * 3 // 4, 1), (cores, 1)]
    return pairs


def _decoding_rate(options: Options, side_px: int) -> float:
    """Return the images a second that all cores decode, each in a process that does nothing else."""
    words = [sys.executable, "-m", "tests.benchmarks.on_device", "decode", "--kit", options.kit, "--out", options.out]
    words += ["--batches", side_px]
    running = [
        subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(options.workers)
    ]
    return round(sum(float(process.communicate()[0]) for process in running), 1)


def decode(options: Options) -> None:
    """Print the images a second that one core decodes to squares of `batches` pixels, for two seconds."""
    import cv2
    import pyarrow.parquet as pq

    from models.networks.inputs import decode_square

    cv2.setNumThreads(1)
    photographs = pq.read_table(options.kit / "photographs.parquet", columns=["jpeg"])["jpeg"].to_pylist()
    started, count = time.perf_counter(), 0
    while time.perf_counter() < started + 2:
        for jpeg in photographs:
            decode_square(jpeg, options.batches[0])
        count += len(photographs)
    print(count / (time.perf_counter() - started))


def speed(options: Options, networks: str, precision: str) -> None:
    """Measure the bare networks, one `predict` call after the other, and the whole predict loop, by batch size."""
    from jobs.dataset.reader_processes import processes_for
    from jobs.predict.config import PredictConfig
    from jobs.predict.job import predict_shard
    from jobs.predict.networks import ComputeReport
    from jobs.storage.places import Places
    from models.known.gate import ImageGate
    from models.known.images import FILE, read_known
    from models.release import SHIPPED, load_release
    from models.serving.keras_engine import LoadedKerasNetworks
    from models.serving.predictor import EnsemblePredictor
    from tests.benchmarks.photos import CATEGORIES, DAY
    from tests.untrained import untrained_release

    step = f"speed {networks} {precision}"
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as running:
        readers = processes_for(options.workers, side_px=max(ENSEMBLES[networks].values()))
        if readers:
            running.enter_context(readers)
        directory = untrained_release(Path(scratch), ENSEMBLES[networks], CATEGORIES, release_id="untrained")
        release = load_release(directory)
        predictor = EnsemblePredictor(release, directory, precision=precision)  # type: ignore[arg-type]
        networks_of_keras = LoadedKerasNetworks(release, directory, precision=precision)  # type: ignore[arg-type]
        known = read_known(SHIPPED / FILE)  # of both networks, so the features of these fit it
        gate = ImageGate(known) if set(known.networks) == set(ENSEMBLES[networks]) else ImageGate()
        shard = _shard(options, Path(scratch))
        for batch_size in options.batches:
            if not options.in_time(step, f"batches of {batch_size}"):
                continue
            images = _noise(batch_size, release.decode_px)
            started = time.perf_counter()
            predictor.predict(images)
            compiling = time.perf_counter() - started
            forward_rate = _forward_rate(networks_of_keras, images)
            predict_rate = _rate(lambda: predictor.predict(images), batch_size)  # noqa: B023 - called at once
            config = PredictConfig(
                "device", (DAY,), Places(Path(scratch)), directory, batch_size, decode_workers=options.workers
            )
            rates, stages = [], {}
            for _ in range(options.rounds):
                started = time.perf_counter()
                report = predict_shard(
                    shard, predictor, release, config, on=ComputeReport(in_flight=2), readers=readers, gate=gate
                )
                rates.append(options.images / (time.perf_counter() - started))
                names = ("reading", "decoding", "waiting", "predicting", "writing")
                stages = {name: getattr(report, f"{name}_seconds") for name in names}
            loop_rate = statistics.median(rates[1:] or rates)
            options.note(
                step,
                batch_size=batch_size,
                compile_seconds=round(compiling, 1),
                forward_rate=round(forward_rate, 1),
                predict_rate=round(predict_rate, 1),
                loop_rate=round(loop_rate, 1),
                efficiency=round(loop_rate / forward_rate, 3),
                judged=not gate.is_open,
                stages=stages,
            )


def agreement(options: Options) -> None:
    """Compare half and full precision of the shipped release on articles, and keep the answers of both."""
    from models.release import SHIPPED, load_release
    from models.serving.predictor import EnsemblePredictor

    release = load_release(SHIPPED)
    images = articles(options.kit, release.decode_px)[0][: max(32, options.images)]
    answers: dict[str, Any] = {}
    for precision in ("float32", "mixed_float16"):
        predictor = EnsemblePredictor(release, SHIPPED, precision=precision)
        parts = [
            predictor.predict(images[start : start + AGREEMENT_BATCH]).confidences
            for start in range(0, len(images), AGREEMENT_BATCH)
        ]
        answers[precision] = np.concatenate(parts)
    np.savez_compressed(options.out / "answers.npz", **answers)
    options.note("agreement", images=len(images), **difference(answers["float32"], answers["mixed_float16"]))


def training(options: Options) -> None:
    """Time the second epoch of a training of EfficientNetB0 on articles at 224 px; keep weights and answers."""
    from models.networks.registry import architecture

    squares, labels = articles(options.kit, 224)
    take = min(len(squares), max(80, options.images // 4))
    squares = squares[:take]
    with tempfile.TemporaryDirectory() as scratch:
        arrays, held_out = Path(scratch) / "articles.npz", take // 8
        np.savez(
            arrays,
            squares=squares[held_out:],
            labels=labels[held_out:take].astype(np.int64),
            held_out_squares=squares[:held_out],
            held_out_labels=labels[:held_out].astype(np.int64),
        )
        words = ["--arrays", arrays, "--network", "efficientnetb0", "--input-px", 224, "--epochs", 2]
        words += ["--batch-size", min(64, options.batches[0]), "--mixed-precision", "--learning-rate", 0.001]
        words += ["--work-dir", Path(scratch) / "work", "--output", options.out / TRAINED]
        seconds, last = _epochs([sys.executable, "-m", "models.train_arrays", *map(str, words)])
        count = take - held_out
        options.note(
            "training", images=count, epoch_seconds=seconds, rate=round(count / seconds[-1], 1), last=last[-200:]
        )
    model = architecture("efficientnetb0").build(input_px=224, categories=10)
    model.load_weights(options.out / TRAINED)
    from keras import ops

    logits = ops.convert_to_numpy(model(squares[:64].astype(np.float32), training=False))
    np.savez_compressed(options.out / "trained.npz", squares=squares[:64], logits=logits)


def _epochs(command: list[str]) -> tuple[list[float], str]:
    """Run a training; return the seconds from the end of each epoch to that of the next, and its last line."""
    ends, last = [], ""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        for line in process.stderr or ():
            last = line.strip() or last
            if line.startswith("epoch "):
                ends.append(time.perf_counter())
    if process.returncode or len(ends) < 2:
        raise RuntimeError(f"the training ended with {process.returncode}: {last}")
    return [round(later - earlier, 2) for earlier, later in pairwise(ends)], last


def compare(options: Options) -> None:
    """Compute with this machine's backend what another machine wrote, and note the differences."""
    import keras

    from models.networks.registry import architecture
    from models.release import SHIPPED, load_release
    from models.serving.predictor import EnsemblePredictor

    backend = keras.backend.backend()
    if (options.out / "answers.npz").exists():
        with np.load(options.out / "answers.npz") as file:
            theirs = file["float32"]
        predictor = EnsemblePredictor(load_release(SHIPPED), SHIPPED)
        images = articles(options.kit, predictor.decode_px)[0][: len(theirs)]
        parts = [predictor.predict(images[start : start + 256]).confidences for start in range(0, len(images), 256)]
        figures = difference(np.concatenate(parts), theirs)
        options.note("compare answers", backend=backend, images=len(images), **figures)
    if (options.out / "trained.npz").exists():
        with np.load(options.out / "trained.npz") as file:
            squares, logits = file["squares"], file["logits"]
        model = architecture("efficientnetb0").build(input_px=224, categories=logits.shape[1])
        model.load_weights(options.out / TRAINED)
        ours = keras.ops.convert_to_numpy(model(squares.astype(np.float32), training=False))
        options.note("compare training", backend=backend, largest_difference=float(np.abs(ours - logits).max()))


def table(options: Options) -> None:
    """Print the figures as Markdown: the networks as a table, the rest as a list."""
    lines = [json.loads(line) for line in (options.out / FIGURES).read_text(encoding="utf-8").splitlines()]
    names = {"b0": "EfficientNetB0, 224 px", "both": "both networks, 224 and 299 px"}
    print("| networks | precision | batch | bare networks, images/s | predict loop, images/s | of bare |")
    print("| --- | --- | --- | --- | --- | --- |")
    for line in lines:
        if "loop_rate" in line:
            _, networks, precision = line["step"].split()
            print(
                f"| {names[networks]} | {precision} | {line['batch_size']} | {line['forward_rate']:,.0f} "
                f"| {line['loop_rate']:,.0f} | {line['efficiency']:.2f} |"
            )
    print()
    for line in lines:
        if "left_out" in line:
            print(f"- {line['step']}: {line['left_out']} was left out, as there was no time")
        elif line["step"] == "reader":
            print(f"- read and decoded to {line['side_px']} px, {line['what']}: {line['rate']:,.0f} images/s")
        elif line["step"] == "agreement":
            print(
                f"- half against full precision on {line['images']:,} articles: the same first choice in "
                f"{100 * line['same_first_choice']:.2f} %, the same status in {100 * line['same_status']:.2f} %; a "
                f"confidence differs by at most {line['largest_difference']:.4f}, in one of 1,000 cases by "
                f"{line['difference_p999']:.4f}"
            )
        elif line["step"] == "training":
            print(
                f"- one epoch of EfficientNetB0 at 224 px, {line['images']:,} articles in half precision: "
                f"{line['epoch_seconds'][-1]:.1f} s, {line['rate']:,.0f} images/s"
            )


def _forward_rate(forward: Callable[[Any], list[Any]], images: Any) -> float:
    """Return the images a second of the compiled networks on a batch that lies on the device already."""
    import keras

    match keras.backend.backend():
        case "jax":
            import jax

            call, held = jax.jit(forward), jax.device_put(images)
            return _rate(lambda: call(held), len(images), wait=lambda last: jax.block_until_ready(last))
        case "tensorflow":
            import tensorflow as tf

            call, held = tf.function(forward, autograph=False), tf.constant(images)
            return _rate(lambda: call(held), len(images), wait=lambda last: [part.numpy() for part in last])
        case _:
            import torch
            from keras import ops

            held = ops.convert_to_tensor(images)
            with torch.inference_mode():
                return _rate(lambda: forward(held), len(images), wait=lambda last: [part.cpu() for part in last])


def _rate(call: Callable[[], Any], images: int, *, wait: Callable[[Any], Any] = lambda last: last) -> float:
    """Return images a second: calls for a second and more, begun without waiting for the one before."""
    wait(call())
    calls, seconds = 1, 0.0
    while True:
        started = time.perf_counter()
        for _ in range(calls):
            last = call()
        wait(last)
        seconds = time.perf_counter() - started
        if seconds >= 1.0:
            return calls * images / seconds
        calls = max(calls + 1, int(calls * 1.3 / max(seconds, 0.05)))


def _shard(options: Options, scratch: Path) -> Path:
    """Write one dataset file of so many images: the kit's photographs, repeated as different products."""
    import pyarrow.parquet as pq

    from jobs.dataset.schema import IMAGES
    from jobs.dataset.shards import ShardWriter
    from tests.benchmarks.photos import DAY

    photographs = pq.read_table(options.kit / "photographs.parquet").to_pylist()
    directory = scratch / "images" / f"ingest_date={DAY}"
    directory.mkdir(parents=True)
    writer = ShardWriter(directory, IMAGES, shard_bytes=1 << 50)
    for number in range(options.images):
        writer.add({**photographs[number % len(photographs)], "product_id": f"p{number:07d}"})
    writer.flush()
    return next(directory.glob("part-*.parquet"))


def _noise(count: int, side_px: int) -> Any:
    return np.random.default_rng(7).integers(0, 256, (count, side_px, side_px, 3), np.uint8)


STEPS: dict[str, Callable[[Options], None]] = {
    "machine": machine,
    "reader": reader,
    "decode": decode,
    "b0-half": lambda options: speed(options, "b0", "mixed_float16"),
    "b0-full": lambda options: speed(options, "b0", "float32"),
    "both-half": lambda options: speed(options, "both", "mixed_float16"),
    "both-full": lambda options: speed(options, "both", "float32"),
    "agreement": agreement,
    "training": training,
    "compare": compare,
    "table": table,
}


def main() -> int:
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--kit", type=Path, required=True, help="the directory that device_kit wrote")
    parser.add_argument("--out", type=Path, required=True, help="the directory of the figures")
    parser.add_argument("--images", type=int, default=20_000, help="in one round of the predict loop")
    parser.add_argument("--batches", default="256", help="batch sizes, with commas")
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds of the predict loop, of which the first is not counted"
    )
    parser.add_argument("--workers", type=int, default=usable_cores(), help="decoding threads")
    parser.add_argument("--seconds", type=float, default=120, help="after which no measurement begins")
    given = parser.parse_args()
    prepare_environment()
    given.out.mkdir(parents=True, exist_ok=True)
    batches = tuple(int(size) for size in given.batches.split(","))
    deadline = time.monotonic() + given.seconds
    STEPS[given.step](Options(given.kit, given.out, given.images, batches, given.rounds, given.workers, deadline))
    return 0


if __name__ == "__main__":
    sys.exit(main())

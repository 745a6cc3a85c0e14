"""What batches do to the networks, and the networks to batches: too large, poisoned, overlapping, on a lost device."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.dataset.batches import ImageBatch
from jobs.dataset.reading import read_shard
from jobs.errors import RunFailed
from jobs.predict.config import PredictConfig
from jobs.predict.inference import BusyClock, Inference, answers
from jobs.predict.job import predict_shard, prediction_file
from jobs.storage.places import Places
from models.serving.faults import DeviceLost, fault_of
from models.spec import Images, Predictions
from sql.records import REJECTION_REASONS
from tests.unit.predict.test_predict_loop import DAY, RELEASE, ColourPredictor, write_images

POISON = 77


def numbered(count: int, *, poisoned: tuple[int, ...] = ()) -> Images:
    """Return images whose first pixel is their number, or the poison."""
    images = np.zeros((count, 32, 32, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    for number in poisoned:
        images[number, 1, 1, 1] = POISON
    return images


class Numbered:
    """Answers the first pixel as a confidence; fails as it is told."""

    decode_px = 32

    def __init__(self, fail: Callable[[Images], None] = lambda images: None) -> None:
        self.fail, self.batches = fail, list[int]()

    def predict(self, images: Images) -> Predictions:
        self.batches.append(len(images))
        self.fail(images)
        confidences = np.zeros((len(images), 3), np.float32)
        confidences[:, 0] = images[:, 0, 0, 0]
        features = np.repeat(images[:, 0, 0, :1].astype(np.float32), 5, axis=1)
        return Predictions(confidences, {"one": confidences}, {"one": features})


def refuse_poison(images: Images) -> None:
    if (images[:, 1, 1, 1] == POISON).any():
        raise ValueError("an image that no convolution survives")


@pytest.mark.parametrize("poisoned", [(0,), (63,), (5, 6), (1, 17, 40), tuple(range(9, 30))])
def test_a_poisoned_image_is_found_and_the_others_are_answered(poisoned: tuple[int, ...]) -> None:
    answer = Inference(Numbered(refuse_poison)).answer(numbered(64, poisoned=poisoned))
    assert {number for number, error in enumerate(answer.errors) if error} == set(poisoned)
    assert answer.predictions is not None
    good = [number for number in range(64) if number not in poisoned]
    assert answer.predictions.confidences[good, 0].tolist() == good
    assert answer.predictions.by_network["one"][good, 0].tolist() == good
    features = answer.predictions.features["one"]
    assert (features.shape, features[good, 4].tolist()) == ((64, 5), good)
    assert features.dtype == np.float32
    assert np.isnan(features[list(poisoned)]).all(), "an image that failed has no features that count"
    assert answer.errors[poisoned[0]] == "ValueError: an image that no convolution survives"


def test_a_single_guilty_image_costs_few_calls() -> None:
    predictor = Numbered(refuse_poison)
    Inference(predictor).answer(numbered(64, poisoned=(20,)))
    assert len(predictor.batches) <= 2 * 6 + 2


def test_images_that_are_all_guilty_are_all_rejected() -> None:
    answer = Inference(Numbered(refuse_poison)).answer(numbered(3, poisoned=(0, 1, 2)))
    assert answer.predictions is None
    assert all(answer.errors)


def test_a_network_that_fails_on_anything_blames_no_image() -> None:
    def fail(images: Images) -> None:
        raise KeyError("our own bug")

    predictor = Numbered(fail)
    with pytest.raises(KeyError, match="our own bug"):
        Inference(predictor).answer(numbered(64))
    assert len(predictor.batches) < 10, "and it is not tried image by image"


def test_a_batch_out_of_memory_is_halved_and_the_size_is_kept() -> None:
    def full(images: Images) -> None:
        if len(images) > 10:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 3.2GiB")

    predictor = Numbered(full)
    inference = Inference(predictor)
    first = inference.answer(numbered(64))
    assert first.predictions is not None
    assert first.predictions.confidences[:, 0].tolist() == list(range(64))
    assert first.predictions.features["one"][:, 0].tolist() == list(range(64))
    assert inference.limit == 8
    predictor.batches.clear()
    inference.answer(numbered(64))
    assert predictor.batches == [8] * 8, "the next batch is cut before it fails"


def test_an_image_without_a_finite_answer_is_rejected() -> None:
    class Overflowing(Numbered):
        def predict(self, images: Images) -> Predictions:
            found = super().predict(images)
            found.confidences[images[:, 1, 1, 1] == POISON] = np.nan
            return found

    answer = Inference(Overflowing()).answer(numbered(8, poisoned=(3,)))
    assert [number for number, error in enumerate(answer.errors) if error] == [3]
    assert answer.predictions is not None
    assert np.isfinite(answer.predictions.confidences).all()
    assert np.isnan(answer.predictions.features["one"]).all(axis=1).tolist() == [number == 3 for number in range(8)]


def test_images_whose_features_alone_are_not_finite_are_answered() -> None:
    """The release's gate is closed to them; they are no failures of the networks."""

    class Overflowing(Numbered):
        def predict(self, images: Images) -> Predictions:
            found = super().predict(images)
            found.features["one"][:] = np.inf
            return found

    answer = Inference(Overflowing()).answer(numbered(8))
    assert answer.errors == ("",) * 8
    assert answer.predictions is not None
    assert answer.predictions.confidences[:, 0].tolist() == list(range(8))


def test_networks_without_any_finite_answer_stop_the_run() -> None:
    class Broken(Numbered):
        def predict(self, images: Images) -> Predictions:
            nothing = np.full((len(images), 3), np.nan, np.float32)
            return Predictions(nothing, {"one": nothing})

    with pytest.raises(RunFailed, match="no finite answer, not even of a black image"):
        Inference(Broken()).answer(numbered(8))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered", "device"),
        ("CUDA error: device-side assert triggered", "device"),
        ("INTERNAL: failed to synchronize: CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure", "device"),
        ("Failed to enqueue: CUDA_ERROR_ECC_UNCORRECTABLE", "device"),
        ("OOM when allocating tensor with shape[512,299,299,3]", "memory"),
        ("CUDA out of memory. Tried to allocate 2.00 GiB", "memory"),
        ("RESOURCE_EXHAUSTED: Failed to allocate request for 1.0GiB", "memory"),
        ("Input 0 of layer has incompatible shape", "other"),
    ],
)
def test_faults_are_told_apart_by_what_backends_write(text: str, fault: str) -> None:
    assert fault_of(RuntimeError(text)) == fault


def test_a_lost_device_is_never_blamed_on_an_image() -> None:
    def lost(images: Images) -> None:
        raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")

    predictor = Numbered(lost)
    with pytest.raises(DeviceLost):
        Inference(predictor).answer(numbered(64))
    assert predictor.batches == [64], "a sticky error is not tried again"


def batches_of(count: int) -> Iterator[ImageBatch]:
    for number in range(count):
        yield ImageBatch(np.full((4, 32, 32, 3), number, np.uint8), {}, np.array([""] * 4))


@pytest.mark.parametrize("in_flight", [1, 2, 3])
def test_so_many_calls_are_in_flight_and_answers_keep_their_order(in_flight: int) -> None:
    """So many calls wait for each other: with fewer in flight none would end."""
    running, most, lock, together = 0, 0, threading.Lock(), threading.Barrier(in_flight)

    def slow(images: Images) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(30)
        time.sleep(0.02)  # time for a call too many to begin
        with lock:
            running -= 1

    found = list(answers(batches_of(12), Inference(Numbered(slow)), in_flight=in_flight, clock=BusyClock()))
    assert most == in_flight
    assert [int(batch.images[0, 0, 0, 0]) for batch, _ in found] == list(range(12))
    for batch, answer in found:
        assert answer.predictions is not None
        assert answer.predictions.confidences[0, 0] == batch.images[0, 0, 0, 0]


@pytest.mark.parametrize(("in_flight", "shorter"), [(1, False), (2, True)])
def test_threads_take_short_turns_while_several_calls_run(in_flight: int, shorter: bool) -> None:
    usual, during = sys.getswitchinterval(), []
    predictor = Numbered(lambda _images: during.append(sys.getswitchinterval()))
    list(answers(batches_of(3), Inference(predictor), in_flight=in_flight, clock=BusyClock()))
    assert all((seconds < usual) == shorter for seconds in during)
    assert sys.getswitchinterval() == usual


def test_time_without_a_running_call_is_waiting() -> None:
    """The reader takes 5 s for each of three batches, the networks 2 s; nothing else moves the clock."""
    now, predicted = [0.0], threading.Semaphore(0)

    def reader() -> Iterator[ImageBatch]:
        for number, batch in enumerate(batches_of(3)):
            if number:
                assert predicted.acquire(timeout=30)
            now[0] += 5.0
            yield batch

    def predict(_images: Images) -> None:
        now[0] += 2.0

    class Clock(BusyClock):
        """Lets the reader go on only when the call before is counted."""

        def __exit__(self, *error: object) -> None:
            super().__exit__(*error)
            predicted.release()

    clock = Clock(lambda: now[0])
    list(answers(reader(), Inference(Numbered(predict)), in_flight=2, clock=clock))
    assert (clock.idle_seconds, clock.busy_seconds) == (15.0, 6.0)


def test_calls_that_overlap_are_busy_once() -> None:
    now = [0.0]
    clock = BusyClock(lambda: now[0])
    now[0] = 1.0
    with clock:
        now[0] = 3.0
        with clock:
            now[0] = 6.0
        now[0] = 7.0
    now[0] = 9.0
    with clock:
        pass
    assert (clock.idle_seconds, clock.busy_seconds) == (1.0 + 2.0, 6.0)


def test_a_poisoned_image_of_a_shard_becomes_a_rejection(tmp_path: Path) -> None:
    class Picky(ColourPredictor):
        def predict(self, images: Images) -> Predictions:
            if (images[:, 0, 0] == image).all(axis=1).any():
                raise ValueError("poison")
            return super().predict(images)

    config = PredictConfig("run-1", (DAY,), Places(tmp_path), tmp_path)
    shard = write_images(config.places, 70)
    image = next(read_shard(shard, side_px=32, batch_size=1, workers=1)).images[0, 0, 0]  # every third is as red as it
    report = predict_shard(shard, Picky(), RELEASE, config)
    rows = pq.read_table(prediction_file(config, shard)).to_pylist()
    failed = [row for row in rows if row["reason"]]
    assert (report.images, report.failed, len(failed)) == (70, 24, 24)
    assert all(row["reason"] == "inference_failed" in REJECTION_REASONS for row in failed)
    assert {row["detail"] for row in failed} == {"ValueError: poison"}
    assert all(row["category_id"] for row in rows if not row["reason"])


@pytest.mark.parametrize("batch_size", [7, 32, 64, 100, 128, 1000])
def test_batches_are_cut_or_joined_to_the_size_asked_for(tmp_path: Path, batch_size: int) -> None:
    shard = write_images(Places(tmp_path), 300)
    found = list(read_shard(shard, side_px=32, batch_size=batch_size, workers=2))
    ids = sorted(str(name) for batch in found for name in batch.columns["product_id"])
    assert ids == [f"p{number:04d}" for number in range(300)]
    assert max(map(len, found)) <= batch_size
    if batch_size > 64:
        assert all(len(batch) == batch_size for batch in found[:-1])
    for batch in found:  # the pixels go with their names
        for name, pixels in zip(batch.columns["product_id"], batch.images, strict=True):
            assert pixels.mean(axis=(0, 1)).argmax() == int(str(name)[1:]) % 3

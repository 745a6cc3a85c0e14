"""Precision, batch size and devices of the networks, as far as a processor can show them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import psutil
import pytest
from upath import UPath

from jobs.dataset.shards import shards
from jobs.errors import RunFailed
from jobs.predict import tuning_file
from jobs.predict.config import Computing, PredictConfig
from jobs.predict.job import predict_shard
from jobs.predict.networks import LoadedNetworks, loaded_networks, unload_networks
from jobs.predict.reports import PredictSummary, ShardReport, slowest_stage
from jobs.storage.places import Places
from models.answers.calibration import combine
from models.networks.backbones import HEAD
from models.networks.inputs import network_input
from models.networks.pixels import PIXELS, pixel_statistics
from models.release import SHIPPED, Release, ReleaseError, load_network, load_release
from models.serving.devices import Device, device
from models.serving.engines import computed_in_words
from models.serving.faults import DeviceLost
from models.serving.predictor import EnsemblePredictor
from models.serving.tuning import agreement, agrees, find_batch_size
from models.spec import Images, Predictions
from tests.unit.predict.test_predict_loop import DAY, write_images


def answers_of(choices: list[int], categories: int = 4) -> Predictions:
    confidences = np.eye(categories, dtype=np.float32)[choices]
    return Predictions(confidences, {"one": confidences})


def test_agreement_is_the_share_of_equal_first_choices() -> None:
    assert agreement(answers_of([0, 1, 2, 3]), answers_of([0, 1, 2, 0])) == 0.75
    assert agreement(answers_of([0, 1]), answers_of([0, 1])) == 1.0


class Choosing:
    """Chooses by the first pixel; `changed` of the images differently."""

    decode_px = 8

    def __init__(self, changed: int = 0, *, broken: bool = False) -> None:
        self.changed, self.broken = changed, broken

    def predict(self, images: Images) -> Predictions:
        numbers = images[:, 0, 0, 0].astype(int) * 256 + images[:, 0, 0, 1]
        answers = answers_of([int(number < self.changed) for number in numbers])
        if self.broken:
            answers.confidences[0] = np.nan
        return answers


@pytest.mark.parametrize(("changed", "same"), [(0, True), (2, True), (3, False)])
def test_half_precision_may_differ_in_one_of_a_thousand(changed: int, same: bool) -> None:
    images = np.zeros((2000, 8, 8, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.divmod(np.arange(2000), 256)
    assert agrees(Choosing(changed), Choosing(), images) is same
    assert not agrees(Choosing(broken=True), Choosing(broken=True), images)


def test_half_precision_without_finite_features_is_not_used() -> None:
    """A release judges images by their features, and publishes none that it cannot judge."""

    class Overflowing(Choosing):
        def predict(self, images: Images) -> Predictions:
            found = super().predict(images)
            features = np.ones((len(images), 4), np.float32)
            features[-1, 2] = np.inf
            return Predictions(found.confidences, found.by_network, {"one": features})

    images = np.zeros((64, 8, 8, 3), np.uint8)
    assert agrees(Choosing(), Choosing(), images)
    assert not agrees(Overflowing(), Choosing(), images)
    assert agrees(Choosing(), Overflowing(), images), "full precision is not on trial"


class Timed:
    """Takes so many seconds a batch; a larger one than fits is refused."""

    decode_px = 8

    def __init__(self, fits: int, seconds: dict[int, float]) -> None:
        self.fits, self.seconds, self.now = fits, seconds, 0.0

    def predict(self, images: Images) -> Predictions:
        if len(images) > self.fits:
            raise RuntimeError("OOM when allocating tensor with shape[1,2]")
        self.now += self.seconds.get(len(images), 0.01 + 0.0001 * len(images))
        return answers_of([0] * len(images))


@pytest.mark.parametrize(
    ("fits", "seconds", "size"),
    [
        (10**6, {32: 1.0, 64: 1.0, 128: 1.0, 256: 1.98}, 128),  # from 128 to 256 the rate grows by 1 %
        (200, {32: 1.0, 64: 1.0, 128: 1.0}, 128),
        (10**6, {32: 1.0, 64: 2.0}, 32),
        (10**6, dict.fromkeys((32, 64, 128, 256, 512, 1024, 2048, 4096), 1.0), 4096),
    ],
)
def test_the_batch_is_doubled_until_it_stops_paying_or_memory_ends(
    fits: int, seconds: dict[int, float], size: int
) -> None:
    predictor = Timed(fits, seconds)
    assert find_batch_size(predictor, clock=lambda: predictor.now) == size


def test_a_batch_that_fails_for_another_reason_is_not_taken_for_want_of_memory() -> None:
    class Broken(Timed):
        def predict(self, images: Images) -> Predictions:
            raise ValueError("wrong shape")

    with pytest.raises(ValueError, match="wrong shape"):
        find_batch_size(Broken(1, {}))


def test_mixed_precision_computes_in_float16_and_answers_in_float32(tiny_release: Path) -> None:
    release = load_release(tiny_release)
    before = keras.config.dtype_policy().name
    half = EnsemblePredictor(release, tiny_release, precision="mixed_float16")
    assert keras.config.dtype_policy().name == before, "the process's own policy is as it was"
    full = EnsemblePredictor(release, tiny_release)
    images = np.random.default_rng(1).integers(0, 256, (16, 32, 32, 3), np.uint8)
    one, other = half.predict(images), full.predict(images)
    assert one.confidences.dtype == np.float32
    assert np.abs(one.confidences - other.confidences).max() > 0, "it was computed in float32 after all"
    assert np.abs(one.confidences - other.confidences).max() < 0.02
    halved, whole = one.features["efficientnetb0"], other.features["efficientnetb0"]
    assert halved.dtype == whole.dtype == np.float32
    assert 0 < np.abs(halved - whole).max() < 0.1 * np.abs(whole).max()


def test_one_call_gives_the_answers_and_features_of_every_network() -> None:
    """The features are what the last layer of a network receives; the answers are those of the network itself."""
    release = load_release(SHIPPED)
    images = np.random.default_rng(1).integers(0, 256, (5, release.decode_px, release.decode_px, 3), np.uint8)
    found = EnsemblePredictor(release, SHIPPED).predict(images)
    assert list(found.by_network) == ["efficientnetb0", "xception"]
    assert list(found.features) == ["efficientnetb0", "xception", PIXELS]
    np.testing.assert_array_equal(found.features[PIXELS], pixel_statistics(images))
    softmaxes = {}
    for spec in release.networks:
        network = load_network(release, SHIPPED, spec)
        last = network.get_layer(HEAD)
        features = found.features[spec.architecture]
        expected = np.asarray(keras.Model(network.input, last.input)(network_input(images, spec), training=False))
        assert features.dtype == np.float32
        assert features.shape == (5, int(last.kernel.shape[0]))
        assert np.ptp(features, axis=0).max() > 0.1, "the images must be told apart, or this says nothing"
        np.testing.assert_allclose(features, expected, atol=1e-4)
        logits = network(network_input(images, spec), training=False)
        softmaxes[spec.architecture] = np.asarray(keras.ops.softmax(logits))
        np.testing.assert_allclose(found.by_network[spec.architecture], softmaxes[spec.architecture], atol=1e-5)
        # The features lead to the answers, so that they are those of this network and of these images.
        own = np.asarray(keras.ops.softmax(last(features)))
        np.testing.assert_allclose(own, softmaxes[spec.architecture], atol=1e-5)
    weights = {spec.architecture: spec.ensemble_weight for spec in release.networks}
    ensemble = combine(softmaxes, weights=weights, temperature=release.temperature)
    np.testing.assert_allclose(found.confidences, ensemble, atol=1e-5)


@pytest.fixture
def config(tmp_path: Path, tiny_release: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PredictConfig]:
    class Light:
        """Stands for the networks, whose building takes its time; `test_mixed_precision` builds them."""

        decode_px = 32

        def __init__(self, release: Release, directory: Path, *, precision: str = "float32") -> None:
            assert (directory / release.networks[0].weights_file).is_file()
            self.categories = len(release.categories)

        def predict(self, images: Images) -> Predictions:
            return answers_of([0] * len(images), self.categories)

    monkeypatch.setattr("models.serving.predictor.EnsemblePredictor", Light)
    monkeypatch.setattr("jobs.predict.networks.load_gate", lambda *_: None)
    places = Places(tmp_path)
    write_images(places, 40)
    yield PredictConfig("run-1", (DAY,), places, tiny_release)
    unload_networks(may_end=False)


def made(config: PredictConfig) -> LoadedNetworks:
    return loaded_networks(config, Path(str(shards(config.places.images, [DAY])[0])), None)


def test_networks_are_built_once_and_report_their_loading_once(config: PredictConfig) -> None:
    first = made(config)
    assert first.device.startswith("CPU, ")
    assert (first.tuning.batch_size, first.tuning.precision, first.engine) == (32, "float32", "keras/tensorflow")
    assert first.compute_report().loading_seconds > 0
    assert first.compute_report().loading_seconds == 0
    assert made(config) is first


def test_a_gpu_that_was_demanded_and_is_not_there_is_one_sentence(config: PredictConfig) -> None:
    with pytest.raises(RunFailed, match=r"a GPU was demanded and .* offers none to Keras's backend"):
        made(
            PredictConfig(config.run_id, config.dates, config.places, config.release_dir, computing=Computing(gpu=True))
        )


def accelerated(config: PredictConfig, **computing: Any) -> LoadedNetworks:
    found = made(replace(config, computing=Computing(**{"tune": True, **computing})))
    assert found.accelerator
    return found


def test_an_accelerator_is_tuned_once_and_remembered(config: PredictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.serving.devices.device", lambda: Device("Fake Accelerator", True))
    monkeypatch.setattr("models.serving.tuning.find_batch_size", lambda predictor: 256)
    monkeypatch.setattr("models.serving.tuning.agrees", lambda half, full, images: len(images) == 40)
    monkeypatch.setattr("jobs.predict.device_fit.ENOUGH_IMAGES", 40)
    found = accelerated(config)
    assert (found.tuning.batch_size, found.tuning.precision) == (256, "mixed_float16")
    [shard] = shards(config.places.images, [DAY])
    on = found.compute_report()
    assert on.in_flight == 2
    report = predict_shard(shard, found.inference, found.release, found.config_for_device(config), on=on)
    tuning_file.remember(config.places, "tiny-1", [report])
    known = tuning_file.known(config.places, "tiny-1")
    assert known == {"Fake Accelerator": (256, "mixed_float16")}
    assert tuning_file.known(config.places, "tiny-2") == {}
    monkeypatch.setattr("models.serving.tuning.find_batch_size", lambda predictor: pytest.fail("it is known already"))
    monkeypatch.setattr("models.serving.tuning.agrees", lambda *_: pytest.fail("it is known already"))
    again = accelerated(config, tuned=known)
    assert (again.tuning.batch_size, again.tuning.precision) == (256, "mixed_float16")
    assert not again.compute_report().tried


@pytest.mark.parametrize("cores", [4, 6])
def test_a_process_for_each_core_decodes_for_an_accelerator_and_ends_with_its_networks(
    cores: int, config: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.serving.devices.device", lambda: Device("Fake Accelerator", True))
    monkeypatch.setattr("jobs.predict.networks.task_cores", lambda: cores)
    before = len(psutil.Process().children())
    found = accelerated(config, tune=False, precision="float32")
    assert found.readers is not None
    assert found.readers.alive
    assert len(psutil.Process().children()) - before == cores
    [shard] = shards(config.places.images, [DAY])
    report = predict_shard(
        shard, found.inference, found.release, config, on=found.compute_report(), readers=found.readers
    )
    assert (report.images, report.failed) == (40, 0)
    unload_networks(may_end=False)
    assert not found.readers.alive
    assert len(psutil.Process().children()) == before


@pytest.mark.parametrize(("accelerator", "cores"), [(False, 16), (True, 3)])
def test_threads_decode_for_a_processor_and_where_cores_are_few(
    accelerator: bool, cores: int, config: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.serving.devices.device", lambda: Device("A device", accelerator))
    monkeypatch.setattr("jobs.predict.networks.task_cores", lambda: cores)
    assert made(replace(config, computing=Computing(precision="float32"))).readers is None


@pytest.mark.parametrize(
    ("computing", "enough"), [({}, 41), ({"tune": False}, 40), ({"precision": "float32"}, 0), ({}, 10**9)]
)
def test_what_was_asked_for_or_hardly_tried_is_not_remembered(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch, computing: dict[str, Any], enough: int
) -> None:
    monkeypatch.setattr("models.serving.devices.device", lambda: Device("Fake Accelerator", True))
    monkeypatch.setattr("models.serving.tuning.find_batch_size", lambda predictor: 256)
    monkeypatch.setattr("jobs.predict.device_fit.ENOUGH_IMAGES", enough)
    assert not accelerated(config, **computing).compute_report().tried


def test_half_precision_is_not_accepted_on_hardly_anything() -> None:
    one = Choosing()
    assert not agrees(one, one, np.zeros((0, 8, 8, 3), np.uint8))
    assert not agrees(one, one, np.zeros((31, 8, 8, 3), np.uint8))
    assert agrees(one, one, np.zeros((32, 8, 8, 3), np.uint8))


def test_a_shard_of_which_nothing_decodes_is_computed_in_full_precision(
    config: PredictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.serving.devices.device", lambda: Device("Fake Accelerator", True))
    monkeypatch.setattr("models.serving.tuning.find_batch_size", lambda predictor: 256)
    broken = replace(config, places=Places(tmp_path / "broken"))
    write_images(broken.places, 40, broken=frozenset(range(40)))
    found = accelerated(broken)
    assert (found.tuning.precision, found.compute_report().tried) == ("float32", False)


def test_what_is_remembered_is_in_the_home_of_all_machines(tmp_path: Path) -> None:
    store = UPath("memory://shop/home")
    places = Places(store, tmp_path / "local")
    report = ShardReport("s", "tiny-1", 40, 0, 0, 0, 0, 0, device="Some", batch_size=64, tried=True)
    tuning_file.remember(places, "tiny-1", [report])
    assert tuning_file.known(Places(store, tmp_path / "another"), "tiny-1") == {"Some": (64, "float32")}
    assert not (tmp_path / "local").exists()


def test_a_task_computes_on_the_gpu_that_it_was_given(config: PredictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.predict.networks.task_gpu", lambda: "GPU-3")
    with pytest.raises(DeviceLost, match="its task was given GPU-3"):  # this process has its backend already
        made(config)


def test_half_precision_that_answers_differently_is_not_used(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.serving.devices.device", lambda: Device("Fake Accelerator", True))
    monkeypatch.setattr("models.serving.tuning.agrees", lambda half, full, images: False)
    assert made(config).tuning.precision == "float32"


def test_processors_are_not_remembered(config: PredictConfig) -> None:
    report = ShardReport("s", "tiny-1", 1, 0, 0, 0, 0, 0, device=device().name, batch_size=32)
    tuning_file.remember(config.places, "tiny-1", [report])
    assert not (config.places.home / "tuning.json").exists()


@pytest.mark.parametrize("fault", ["altered", "another"])
def test_what_arrives_in_an_executor_must_be_what_was_sent(
    config: PredictConfig, tiny_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    arrived = tmp_path / "arrived"
    shutil.copytree(tiny_release, arrived)
    monkeypatch.setattr("pyspark.SparkFiles.getRootDirectory", lambda: str(arrived))
    sent = load_release(tiny_release)
    shard = Path(str(shards(config.places.images, [DAY])[0]))
    assert loaded_networks(config, shard, sent).release == sent
    unload_networks(may_end=False)
    if fault == "altered":
        weights = arrived / sent.networks[0].weights_file
        weights.write_bytes(weights.read_bytes()[:-1] + b"?")
        with pytest.raises(ReleaseError, match=r"was altered: expected SHA-256"):
            loaded_networks(config, shard, sent)
    else:
        with pytest.raises(ReleaseError, match="holds another release than was sent"):
            loaded_networks(config, shard, replace(sent, temperature=2.0))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        ((0.1, 2.0, 0.5, 9.0, 0.5), "the networks computed 90% of the time; reading and decoding kept up"),
        (
            (0.1, 8.0, 6.0, 3.0, 1.0),
            "the networks waited 60% of the time, mostly for decoding; give each task more cores",
        ),
        (
            (8.0, 1.0, 6.0, 3.0, 1.0),
            "the networks waited 60% of the time, mostly for reading; bring the dataset nearer",
        ),
        ((0.1, 1.0, 1.0, 3.0, 6.0), "writing the predictions took 60% of the time"),
    ],
)
def test_the_slowest_stage_is_named_in_words(seconds: tuple[float, ...], words: str) -> None:
    names = ("reading", "decoding", "waiting", "predicting", "writing")
    assert slowest_stage({f"{name}_seconds": each for name, each in zip(names, seconds, strict=True)}).startswith(words)


def test_a_summary_lists_the_slowest_shards_first() -> None:
    reports = tuple(ShardReport(f"d/{n}", "r", 10, 0, 0, 0, float(n + 1), 0, attempt=n % 2) for n in range(3))
    document = PredictSummary(3, 0, 30, 9.0, reports).document()
    assert [line["shard"] for line in document["by_shard"]] == ["d/2", "d/1", "d/0"]
    assert document["shards_tried_again"] == 1


def test_a_summary_names_what_computed_the_shards_of_this_attempt_and_of_earlier_ones() -> None:
    blank = ShardReport("d/0", "r", 10, 0, 0, 0, 1.0, 0, device="CPU, a", engine="openvino", precision="bfloat16")
    before = replace(blank, shard="d/1", device="GPU", engine="keras/jax", precision="mixed_float16")
    former = replace(blank, shard="d/2", engine="")
    document = PredictSummary(3, 2, 10, 9.0, (blank,), (before, former)).document()
    assert (document["images"], len(document["by_shard"]), document["predicting_seconds"]) == (10, 1, 1.0)
    assert (document["by_shard"][0]["engine"], document["by_shard"][0]["precision"]) == ("openvino", "bfloat16")
    assert document["engines"] == ["keras/jax", "openvino"]
    assert computed_in_words(document) == "in bfloat16 and mixed_float16 by Keras (jax) and OpenVINO on CPU, a and GPU"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (
            {"precisions": ["float32"], "engines": ["openvino"], "devices": ["CPU, a"]},
            "in float32 by OpenVINO on CPU, a",
        ),
        ({"precisions": ["float32"], "devices": ["CPU, a"]}, "in float32 on CPU, a"),
        ({"precisions": ["float32"], "engines": ["other"], "devices": ["CPU"]}, "in float32 by other on CPU"),
        ({"precisions": [], "engines": [], "devices": []}, ""),
        ({}, ""),
    ],
)
def test_what_computed_a_run_is_one_phrase(document: dict[str, list[str]], words: str) -> None:
    assert computed_in_words(document) == words

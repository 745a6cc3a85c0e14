"""A run computes in bfloat16 only where the processors multiply it and the release has passed in it, and goes on so."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.dataset.batches import ImageBatch
from jobs.dataset.schema import IMAGES, KEY_COLUMNS
from jobs.dataset.shards import ShardWriter, shards
from jobs.errors import RunFailed
from jobs.predict import job, precision
from jobs.predict.config import Computing, ConvertedFiles, Plan, PredictConfig
from jobs.predict.inference import Inference
from jobs.predict.job import predict_shard, run
from jobs.predict.networks import ComputeReport
from jobs.predict.precision import Processor, begun_in, plan, remember, uncounted
from jobs.predict.reports import METADATA_KEY, ShardReport, read_report, with_report
from jobs.predict.trial import Compared, Trial
from jobs.storage.faults import StoreError
from jobs.storage.places import Places
from models.serving.converted import Converted
from models.spec import Images, Predictions
from tests.dataset_rows import image_row
from tests.unit.predict.test_predict_loop import DAY, RELEASE, ColourPredictor, colour_jpeg

ABLE, UNABLE = Processor("CPU, new", True), Processor("CPU, old", False)
PASSED, FAILED = Compared(2000, 2, 4, 2), Compared(2000, 3, 0, 0)
CONVERTED = ConvertedFiles(Converted("key", "sha", "2026.4.1", "graph", "weights"), Path("nowhere"))


@pytest.fixture
def config(tmp_path: Path) -> PredictConfig:
    return PredictConfig(
        "run-1", (DAY,), Places(tmp_path), tmp_path, computing=Computing(converted=CONVERTED), decode_workers=1
    )


def known(config: PredictConfig, compared: Compared, *, processor: Processor = ABLE) -> None:
    """Let the home know that so much was compared, on a shard of its own."""
    report = ShardReport(
        f"ingest_date=2026-11-01/{uuid.uuid4().hex}", RELEASE.release_id, 1, 0, 0, 0, 0, 0, device=processor.name
    )
    counts = (compared.images, compared.first_choices, compared.statuses, compared.confidences)
    remember(config, RELEASE, [replace(report, compared=counts)])


def in_bfloat16(*machines: Processor) -> Plan:
    """Return the plan of a run that these processors compute in bfloat16."""
    return Plan("bfloat16", processors=frozenset(machine.name for machine in machines))


@pytest.mark.parametrize(
    ("compared", "passed"),
    [
        (PASSED, True),
        (Compared(1999, 0, 0, 0), False),
        (Compared(2000, 3, 0, 0), False),
        (Compared(2000, 0, 5, 0), False),
        (Compared(2000, 0, 0, 3), False),
        (Compared(10_000, 10, 20, 10), True),
    ],
)
def test_a_release_passes_on_2000_images_of_which_few_differ(compared: Compared, passed: bool) -> None:
    assert compared.passed is passed


def test_the_first_runs_compare_until_there_are_enough_images_and_later_ones_compute_in_bfloat16(
    config: PredictConfig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert plan(config, RELEASE, [ABLE], begun=None, shards=3) == Plan("float32", 667)
    known(config, Compared(1500, 1, 1, 0))
    assert plan(config, RELEASE, [ABLE], begun=None, shards=3) == Plan("float32", 167)
    assert "passed" not in caplog.text
    known(config, Compared(600, 0, 2, 1))
    assert "of 2100 images 1 have another first choice in bfloat16, 3 another status, and 1 a confidence" in caplog.text
    assert plan(config, RELEASE, [ABLE], begun=None, shards=3) == in_bfloat16(ABLE)


def test_a_release_that_failed_is_not_tried_again(config: PredictConfig, caplog: pytest.LogCaptureFixture) -> None:
    known(config, FAILED)
    assert "release colours-1 is computed in float32: on CPU, new, of 2000 images 3 have another" in caplog.text
    assert plan(config, RELEASE, [ABLE], begun=None, shards=3) == Plan()


def test_all_processors_must_be_able_and_each_model_must_have_passed(config: PredictConfig) -> None:
    newer = Processor("CPU, newer", True)
    known(config, PASSED)
    assert plan(config, RELEASE, [ABLE, UNABLE], begun=None, shards=2) == Plan()
    assert plan(config, RELEASE, [ABLE, newer], begun=None, shards=2) == Plan("float32", 1000)
    known(config, PASSED, processor=newer)
    assert plan(config, RELEASE, [ABLE, newer], begun=None, shards=2) == in_bfloat16(ABLE, newer)


def test_what_was_compared_counts_for_this_conversion_and_release_alone(config: PredictConfig) -> None:
    known(config, PASSED)
    other = replace(config.computing, converted=replace(CONVERTED, converted=replace(CONVERTED.converted, key="k2")))
    assert plan(replace(config, computing=other), RELEASE, [ABLE], begun=None, shards=1) == Plan("float32", 2000)
    assert plan(config, replace(RELEASE, release_id="colours-2"), [ABLE], begun=None, shards=1).trial_images == 2000


def test_float32_can_be_pinned(config: PredictConfig) -> None:
    known(config, PASSED)
    pinned = replace(config, computing=replace(config.computing, precision="float32"))
    for begun in (None, "float32"):
        assert plan(pinned, RELEASE, [ABLE], begun=begun, shards=3) == Plan()


def test_a_run_goes_on_in_the_precision_in_which_it_was_begun(config: PredictConfig) -> None:
    known(config, PASSED)
    assert plan(config, RELEASE, [ABLE], begun="float32", shards=3) == Plan()
    assert plan(config, RELEASE, [ABLE], begun="bfloat16", shards=3) == in_bfloat16(ABLE)
    by_keras = replace(config, computing=replace(config.computing, converted=None))
    untried, failed = Processor("CPU, untried", True), Processor("CPU, failed", True)
    known(config, FAILED, processor=failed)
    for told, machines in ((config, [UNABLE]), (by_keras, [ABLE]), (config, [ABLE, untried]), (config, [ABLE, failed])):
        with pytest.raises(RunFailed, match=r"run run-1 was begun in bfloat16 by .* again with another --run-id"):
            plan(told, RELEASE, machines, begun="bfloat16", shards=3)
    known(config, PASSED, processor=untried)
    assert plan(config, RELEASE, [ABLE, untried], begun="bfloat16", shards=3) == in_bfloat16(ABLE, untried)
    for told in (config, by_keras):
        pinned = replace(told, computing=replace(told.computing, precision="float32"))
        with pytest.raises(RunFailed, match=r"SHELFWISE_PRECISION demands float32; unset it, or run again"):
            plan(pinned, RELEASE, [ABLE], begun="bfloat16", shards=3)


GPU, OLD_FILE = "NVIDIA H200", ""


@pytest.mark.parametrize(
    ("before", "begun"),
    [
        ([], None),
        ([(GPU, "mixed_float16"), (GPU, "float32")], None),
        ([(GPU, "mixed_float16"), (ABLE.name, "bfloat16")], "bfloat16"),
        ([(GPU, "float32"), (ABLE.name, "bfloat16")], "bfloat16"),
        ([(GPU, "mixed_float16"), (ABLE.name, "float32")], "float32"),
        ([(ABLE.name, "float32"), (ABLE.name, "bfloat16")], "bfloat16"),
        ([(OLD_FILE, "float32")], "float32"),
    ],
)
def test_the_precision_in_which_a_run_was_begun_is_that_of_its_processors(
    before: list[tuple[str, str]], begun: str | None
) -> None:
    blank = ShardReport("", RELEASE.release_id, 1, 0, 0, 0, 0, 0)
    assert begun_in(replace(blank, device=device, precision=precision) for device, precision in before) == begun


@pytest.mark.parametrize("content", ["", "[]", '{"colours-1 key": 7}', '{"colours-1 key": {"CPU, new": ["many"]}}'])
def test_a_damaged_file_is_compared_and_written_again(config: PredictConfig, content: str) -> None:
    (config.places.home / "precision.json").write_text(content)
    assert plan(config, RELEASE, [ABLE], begun=None, shards=1) == Plan("float32", 2000)
    known(config, PASSED)
    assert plan(config, RELEASE, [ABLE], begun=None, shards=1) == in_bfloat16(ABLE)


class Coarse(ColourPredictor):
    """Answers otherwise on some images of the red channel."""

    def __init__(self, confidence: float) -> None:
        super().__init__()
        self.confidence = confidence

    def predict(self, images: Images) -> Predictions:
        found = super().predict(images)
        red = images[:, 0, 0, 0] > 128
        found.confidences[red, 0] = self.confidence
        return found


@pytest.mark.parametrize(
    ("confidence", "differ"),
    [(0.9, (0, 0, 0)), (0.89, (0, 0, 0)), (0.85, (0, 0, 1)), (0.7, (0, 1, 1)), (0.01, (1, 1, 1))],
)
def test_a_shard_reports_what_differs(config: PredictConfig, confidence: float, differ: tuple[int, ...]) -> None:
    writer = ShardWriter(config.places.partition(config.places.images, DAY), IMAGES, shard_bytes=10**9)
    for number in range(71):  # every third one is red
        writer.add(image_row(product_id=f"p{number:02d}", jpeg=colour_jpeg(number % 3)))
    writer.add(image_row(product_id="p99", jpeg=b"no image"))
    writer.flush()
    [shard] = shards(config.places.images, [DAY])
    trial = Trial(Inference(Coarse(confidence)), images=9)
    report = predict_shard(shard, ColourPredictor(), RELEASE, replace(config, batch_size=5), trial=trial)
    compared = Compared(*report.compared)
    assert (report.images, compared.images) == (72, 9)
    assert (compared.first_choices, compared.statuses, compared.confidences) == tuple(3 * each for each in differ)
    kept = read_report(job.prediction_file(config, shard))
    assert kept is not None
    assert Compared(*kept.compared) == compared


def test_of_a_large_shard_one_image_in_eight_is_compared_and_of_a_small_one_each() -> None:
    trial = Trial(Inference(ColourPredictor()), images=1000)
    assert [trial.wanted(images) for images in (0, 1, 50, 100, 101, 800, 808, 7992, 10_000)] == [
        *(0, 1, 50, 100, 100, 100, 101, 999),
        1000,
    ]


@pytest.mark.parametrize(("images", "most"), [(9, 9), (40, 7), (230, 100), (230, 1), (1000, 1000)])
@pytest.mark.parametrize("size", [1, 7, 32, 300])
def test_the_images_that_are_compared_are_spread_over_the_shard(images: int, most: int, size: int) -> None:
    """A catalog is often sorted, so that its first images are of one or two categories."""
    answered: list[int] = []

    class Noting(ColourPredictor):
        def predict(self, images: Images) -> Predictions:
            answered.extend(images[:, 0, 0].astype(int) @ (1, 256, 0))
            return super().predict(images)

    pixels = np.zeros((images, 32, 32, 3), np.uint8)
    pixels[:, :, :, 0] = (np.arange(images) % 256)[:, None, None]
    pixels[:, :, :, 1] = (np.arange(images) // 256)[:, None, None]
    trial = Trial(Inference(Noting()), images=most)
    shard = trial.of_shard(images, RELEASE, None)
    rows = [{"reason": None, "top_k": '[["c", 0.5]]', "status": "auto", "number": number} for number in range(images)]
    buffer = np.empty((size, 32, 32, 3), np.uint8)
    for start in range(0, images, size):
        part = pixels[start : start + size]
        buffer[: len(part)] = part  # memory that the next batch overwrites
        columns = {name: np.full(len(part), "a", object) for name in KEY_COLUMNS}
        columns |= {"image_no": np.zeros(len(part), int), "ingest_no": np.zeros(len(part), int)}
        shard.add(ImageBatch(buffer[: len(part)], columns, np.full(len(part), "")), rows[start : start + size])
    compared, wanted = shard.finish(), trial.wanted(images)
    assert compared.images == len(answered) == wanted
    assert answered == sorted(set(answered))
    gaps = np.diff([*answered, images])
    assert gaps.max() - gaps.min() <= 1, "as far from each other as they can be"


@pytest.mark.parametrize("fault", ["infinite", "raised"])
def test_a_trial_without_an_answer_fails_the_release_and_not_the_run(config: PredictConfig, fault: str) -> None:
    class Broken(ColourPredictor):
        def predict(self, images: Images) -> Predictions:
            if fault == "raised":
                raise RuntimeError("no kernel")
            return replace(super().predict(images), confidences=np.full((len(images), 3), np.nan, np.float32))

    writer = ShardWriter(config.places.partition(config.places.images, DAY), IMAGES, shard_bytes=10**9)
    writer.add(image_row(product_id="p1", jpeg=colour_jpeg(0)))
    writer.flush()
    [shard] = shards(config.places.images, [DAY])
    trial = Trial(Inference(Broken()), images=9)
    report = predict_shard(shard, ColourPredictor(), RELEASE, config, trial=trial)
    assert (report.failed, tuple(report.compared)) == (0, (1, 1, 1, 1))


@contextmanager
def session() -> Iterator[Any]:
    yield SimpleNamespace(sparkContext=SimpleNamespace(master="local[2]"))


@pytest.fixture
def shop(config: PredictConfig, monkeypatch: pytest.MonkeyPatch) -> PredictConfig:
    """Two shards of one image, on an able processor, with a converted release."""
    for number in range(2):
        writer = ShardWriter(config.places.partition(config.places.images, DAY), IMAGES, shard_bytes=10**9)
        writer.add(image_row(product_id=f"p{number}", jpeg=colour_jpeg(0)))
        writer.flush()
    monkeypatch.setattr(job, "converted_files", lambda *_: CONVERTED)
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "processor", lambda: SimpleNamespace(name=ABLE.name))
    return config


def predicted(config: PredictConfig, todo: Any, *, fails: bool = False) -> list[ShardReport]:
    """Predict shards as tasks of a session do, in the precision of the plan; or all but the first, and then fail."""
    told = config.computing.plan
    trial = Trial(Inference(ColourPredictor()), images=told.trial_images) if told.trial_images else None
    on = ComputeReport(device=ABLE.name, precision=told.precision, engine="openvino")
    some = todo[1:] if fails else todo
    reports = [predict_shard(shard, ColourPredictor(), RELEASE, config, on=on, trial=trial) for shard in some]
    if fails:
        raise RunFailed("a disk is full")
    return reports


def test_a_run_that_is_resumed_says_what_all_its_shards_were_computed_with(
    shop: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(shop, PASSED)
    expected = {"precisions": ["bfloat16"], "devices": [ABLE.name], "engines": ["openvino"]}
    for fails in (True, False, False):

        def in_spark(
            _spark: object, told: PredictConfig, _: object, todo: Any, fails: bool = fails
        ) -> list[ShardReport]:
            return predicted(told, todo, fails=fails)

        monkeypatch.setattr(job, "_in_spark", in_spark)
        if fails:
            with pytest.raises(RunFailed, match="a disk is full"):
                run(session, shop, RELEASE)
            continue
        document = run(session, shop, RELEASE).document()
        assert {name: document[name] for name in expected} == expected
    assert (document["images"], document["shards_skipped"], document["by_shard"]) == (0, 2, [])


def test_a_run_that_a_gpu_and_a_processor_began_is_resumed_in_the_precision_of_the_processor(
    shop: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(shop, PASSED)
    writer = ShardWriter(shop.places.partition(shop.places.images, DAY), IMAGES, shard_bytes=10**9)
    writer.add(image_row(product_id="p2", jpeg=colour_jpeg(1)))
    writer.flush()
    by_gpu, by_processor, left = shards(shop.places.images, [DAY])
    for shard, on in [
        (by_gpu, ComputeReport(device=GPU, precision="mixed_float16", engine="keras")),
        (by_processor, ComputeReport(device=ABLE.name, precision="bfloat16", engine="openvino")),
    ]:
        predict_shard(shard, ColourPredictor(), RELEASE, shop, on=on)
    plans = []

    def in_spark(_spark: object, told: PredictConfig, _release: object, todo: Any) -> list[ShardReport]:
        plans.append((told.computing.plan, [chosen.shard for chosen in todo]))
        return predicted(told, todo)

    monkeypatch.setattr(job, "_in_spark", in_spark)
    run(session, shop, RELEASE)
    assert plans == [(in_bfloat16(ABLE), [left])]
    job.prediction_file(shop, left).unlink()
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: False)
    with pytest.raises(RunFailed, match="run run-1 was begun in bfloat16"):
        run(session, shop, RELEASE)


def test_what_a_run_compared_before_it_failed_is_kept_and_not_counted_again(
    shop: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "_in_spark", lambda _spark, told, _, todo: predicted(told, todo, fails=True))
    with pytest.raises(RunFailed, match="a disk is full"):
        run(session, shop, RELEASE)
    counts = shop.places.home / "precision.json"
    assert [line[ABLE.name][:4] for line in json.loads(counts.read_text()).values()] == [[1, 0, 0, 0]]
    monkeypatch.setattr(job, "_in_spark", lambda _spark, told, _, todo: predicted(told, todo))
    for _ in range(2):
        run(session, shop, RELEASE)
        assert [line[ABLE.name][:4] for line in json.loads(counts.read_text()).values()] == [[2, 0, 0, 0]]


def test_what_a_run_compared_is_not_asked_of_a_store_that_cannot_be_reached(
    shop: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreError("the store is away")

    def in_spark(*_: object) -> list[ShardReport]:
        monkeypatch.setattr(job, "finished_report", away)
        raise RunFailed("the first error")

    monkeypatch.setattr(job, "_in_spark", in_spark)
    with pytest.raises(RunFailed, match="the first error"):
        run(session, shop, RELEASE)


def test_a_report_of_an_earlier_version_is_read_and_names_no_engine(config: PredictConfig) -> None:
    report = ShardReport("s", RELEASE.release_id, 1, 0, 0, 0, 0, 0, engine="openvino")
    former = {name: value for name, value in asdict(report).items() if name not in {"engine", "compared"}}
    file = config.places.home / "former.parquet"
    schema = pa.schema([pa.field("a", pa.string())], metadata={METADATA_KEY: json.dumps(former)})
    pq.write_table(pa.table({"a": ["x"]}, schema=schema), file)
    assert read_report(file) == replace(report, engine="")
    pq.write_table(pa.table({"a": ["x"]}).cast(with_report(schema, report)), file)
    assert read_report(file) == replace(report, compared=[])


def plans_of(monkeypatch: pytest.MonkeyPatch, answer: Callable[[PredictConfig, Any], list[ShardReport]]) -> list[Plan]:
    """Let a function answer in place of Spark's tasks; return the list to which each run's plan is added."""
    plans: list[Plan] = []

    def in_spark(_spark: object, told: PredictConfig, _release: object, todo: Any) -> list[ShardReport]:
        plans.append(told.computing.plan)
        return answer(told, todo)

    monkeypatch.setattr(job, "_in_spark", in_spark)
    return plans


def test_a_run_is_planned_once_its_executors_are_there_and_what_it_compared_is_kept(
    shop: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compared(told: PredictConfig, todo: Any) -> list[ShardReport]:
        blank = ShardReport("", RELEASE.release_id, 1, 0, 0, 0, 0, 0, device=ABLE.name)
        counts = (2000, 0, 0, 0) if told.computing.plan.trial_images else ()
        return [replace(blank, shard=str(chosen.shard), compared=counts) for chosen in todo]

    plans = plans_of(monkeypatch, compared)
    for _ in range(2):
        run(session, shop, RELEASE)
    assert plans == [Plan("float32", 1000), in_bfloat16(ABLE)]
    [counts] = json.loads((shop.places.home / "precision.json").read_text()).values()
    assert counts == {ABLE.name: [4000, 0, 0, 0]}, "and no shards, once it has passed"


def test_a_shard_counts_once_by_whichever_run_it_is_predicted(
    shop: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = plans_of(monkeypatch, predicted)

    def counts() -> tuple[list[int], int]:
        [line] = json.loads((shop.places.home / "precision.json").read_text()).values()
        return line[ABLE.name][:4], len(line[ABLE.name][4])

    for run_id in ("run-1", "run-2"):
        run(session, replace(shop, run_id=run_id), RELEASE)
        assert counts() == ([2, 0, 0, 0], 2)
    assert plans == [Plan("float32", 1000), Plan()], "the images that are known are not compared again"
    writer = ShardWriter(shop.places.partition(shop.places.images, DAY), IMAGES, shard_bytes=10**9)
    writer.add(image_row(product_id="p2", jpeg=colour_jpeg(1)))
    writer.flush()
    run(session, replace(shop, run_id="run-3"), RELEASE)
    assert counts() == ([3, 0, 0, 0], 3)
    assert plans[2:] == [Plan("float32", 1998)], "the new shard alone brings new images"


def test_a_shard_counts_on_each_processor_and_with_what_an_earlier_version_counted(config: PredictConfig) -> None:
    newer = Processor("CPU, newer", True)
    (config.places.home / "precision.json").write_text(json.dumps({"colours-1 key": {ABLE.name: [1500, 1, 0, 0]}}))
    assert plan(config, RELEASE, [ABLE], begun=None, shards=1) == Plan("float32", 500)
    shard = config.places.partition(config.places.images, DAY) / "part-1.parquet"
    blank = ShardReport(str(shard), RELEASE.release_id, 1, 0, 0, 0, 0, 0, device=ABLE.name, compared=(100, 0, 0, 0))
    assert uncounted(config, RELEASE, [ABLE], [shard]) == [shard]
    for home in ("", "s3://elsewhere/"):
        remember(config, RELEASE, [replace(blank, shard=f"{home}ingest_date={DAY}/part-1.parquet")])
        assert plan(config, RELEASE, [ABLE], begun=None, shards=1) == Plan("float32", 400)
        assert uncounted(config, RELEASE, [ABLE], [shard]) == []
    assert uncounted(config, RELEASE, [ABLE, newer], [shard]) == [shard]
    remember(config, RELEASE, [replace(blank, device=newer.name)])
    assert uncounted(config, RELEASE, [ABLE, newer], [shard]) == []
    assert plan(config, RELEASE, [newer], begun=None, shards=1) == Plan("float32", 1900)

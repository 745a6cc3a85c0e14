"""An image that ends the whole Python process of its task is rejected, and everything else is answered."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.dataset.schema import IMAGES
from jobs.dataset.shards import ShardWriter, shards
from jobs.predict.config import Computing, PredictConfig
from jobs.predict.job import prediction_file, run
from jobs.spark.config import SparkConfig
from jobs.spark.session import spark_session
from jobs.storage.places import Places
from models.networks.registry import ARCHITECTURES, INPUT_PX
from models.release import load_release
from tests.conftest import make_release, picture
from tests.dataset_rows import image_row
from tests.deadly import DECODER, MARK, ROOT
from tests.spark.predict.test_predict import predicted_alone
from tests.unit.predict.test_predict_loop import DAY

DEADLY = "p00003"
TINY = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from models.networks.registry import ARCHITECTURES, INPUT_PX
ARCHITECTURES["tiny"], INPUT_PX["tiny"] = "tests.tiny_network", (16, 16)
"""
"""For a sitecustomize.py: makes the tiny network known, because each process that dies here loads it again."""
BY_KERAS = Computing(engine="keras")
"""No process that converts a release knows the tiny network."""


@pytest.fixture(scope="module")
def tiny_release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A release of the tiny network: what is tested here is what becomes of the process around it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, "tiny", "tests.tiny_network")
        patch.setitem(INPUT_PX, "tiny", (16, 16))
        yield make_release(tmp_path_factory.mktemp("release"), architectures={"tiny": 16})


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Two shards of four images; one of these segfaults in the decoder."""
    found = Places(tmp_path / "home")
    for shard in range(2):
        writer = ShardWriter(found.partition(found.images, DAY), IMAGES, shard_bytes=10**9)
        for number in range(shard * 4, shard * 4 + 4):
            name = f"p{number:05d}"
            writer.add(image_row(name, jpeg=picture(number) + (MARK if name == DEADLY else b"")))
        writer.flush()
    return found


def test_an_image_that_crashes_its_process_is_rejected_and_the_run_continues(
    places: Places, tiny_release: Path, tmp_path: Path
) -> None:
    (tmp_path / "deadly").mkdir()
    (tmp_path / "deadly" / "sitecustomize.py").write_text(TINY + DECODER)
    release = load_release(tiny_release)
    alone = predicted_alone(places, tiny_release)
    spread = PredictConfig("spread", (DAY,), places, tiny_release, computing=BY_KERAS)
    path = os.pathsep.join([str(tmp_path / "deadly"), os.environ.get("PYTHONPATH", "")])
    config = SparkConfig("local[2]", "1g", tmp_path / "spark", properties={"spark.executorEnv.PYTHONPATH": path})
    summary = run(lambda: spark_session(config, name="test", task_cpus=2), spread, release)
    assert (summary.images, summary.document()["images_failed"]) == (8, 1)
    assert sorted(report.attempt for report in summary.reports) == [0, 1], "one more attempt, for one of them"
    for shard in shards(places.images, [DAY]):
        expected = pq.read_table(prediction_file(alone, shard)).to_pylist()
        for row, plain in zip(pq.read_table(prediction_file(spread, shard)).to_pylist(), expected, strict=True):
            assert row["product_id"] == plain["product_id"]
            if row["product_id"] == DEADLY:
                assert row["reason"] == "inference_failed"
                assert row["detail"].endswith("(SIGSEGV)")
            else:
                assert row["reason"] is None
                assert row["confidence"] == pytest.approx(plain["confidence"], abs=1e-4)


KILLED_WHEN_DONE = """
import os, signal
replace = os.replace
def killed(source, target):
    replace(source, target)
    token = os.environ.get("TEST_TOKEN", "")
    if "predictions" in str(target) and os.path.exists(token) and b"p00004" in open(target, "rb").read():
        os.unlink(token)
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = killed
"""


def test_with_speculation_only_the_third_attempt_rejects_an_image_and_finished_files_stay(
    places: Places, tiny_release: Path, tmp_path: Path
) -> None:
    (tmp_path / "deadly").mkdir()
    (tmp_path / "deadly" / "sitecustomize.py").write_text(TINY + DECODER + KILLED_WHEN_DONE)
    (tmp_path / "token").touch()
    told = PredictConfig("speculated", (DAY,), places, tiny_release, computing=BY_KERAS)
    properties = {
        "spark.speculation": "true",
        "spark.executorEnv.PYTHONPATH": os.pathsep.join([str(tmp_path / "deadly"), os.environ.get("PYTHONPATH", "")]),
        "spark.executorEnv.TEST_TOKEN": str(tmp_path / "token"),
    }
    config = SparkConfig("local[2]", "1g", tmp_path / "spark", properties=properties)
    summary = run(lambda: spark_session(config, name="test", task_cpus=2), told, load_release(tiny_release))
    assert not (tmp_path / "token").exists(), "a worker was killed with its shard in place"
    assert sorted((one.failed, one.attempt, one.batch_size) for one in summary.reports) == [(0, 0, 32), (1, 2, 0)]


LOSES_ITS_DEVICE = """
import os
from types import SimpleNamespace
from jobs.predict import inference
begin = inference.Inference.__init__
def wrapped(self, predictor):
    def predict(images):
        token = os.environ.get("TEST_TOKEN", "")
        if os.path.exists(token):
            os.unlink(token)
            raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered")
        return predictor.predict(images)
    begin(self, SimpleNamespace(decode_px=predictor.decode_px, predict=predict))
inference.Inference.__init__ = wrapped
"""


def test_a_process_that_lost_its_device_ends_and_a_new_one_does_its_task(
    places: Places, tiny_release: Path, tmp_path: Path
) -> None:
    (tmp_path / "sticky").mkdir()
    (tmp_path / "sticky" / "sitecustomize.py").write_text(TINY + LOSES_ITS_DEVICE)
    (tmp_path / "token").touch()
    told = PredictConfig("sticky", (DAY,), places, tiny_release, computing=BY_KERAS)
    properties = {
        "spark.executorEnv.PYTHONPATH": os.pathsep.join([str(tmp_path / "sticky"), os.environ.get("PYTHONPATH", "")]),
        "spark.executorEnv.TEST_TOKEN": str(tmp_path / "token"),
    }
    config = SparkConfig("local[2]", "1g", tmp_path / "spark", properties=properties)
    summary = run(lambda: spark_session(config, name="test", task_cpus=2), told, load_release(tiny_release))
    assert not (tmp_path / "token").exists(), "a call of the networks met it"
    assert sorted(report.attempt for report in summary.reports) == [0, 1]
    assert (summary.images, summary.document()["images_failed"]) == (8, 0), "no image is to blame"

"""Which GPU a task sees: its own, whatever was visible before, and never one that another task has."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from jobs.spark.session import spark_session
from jobs.storage.places import Places
from tests.cluster.shards import all_executors, spark_config
from tests.standalone import ROOT, Worker, standalone

pytestmark = pytest.mark.timeout(600)
FIND_GPUS = ROOT / "jobs" / "cluster" / "find_gpus.sh"


def occupy(numbers: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Do what a predict task does before it imports its backend, and hold the GPU for a while."""
    from jobs.spark.task import task_gpu
    from models.serving.environment import prepare_environment

    started = time.time()
    address = task_gpu()
    prepare_environment(address)
    time.sleep(0.4)
    for number in numbers:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        yield {"number": number, "address": address, "visible": visible, "from": started, "to": time.time()}


def test_each_task_sees_its_own_gpu_and_no_two_tasks_share_one(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the machine's scheduler leaves visible: an index into it would give other GPUs than those that Spark means.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,5,6")
    workers = [Worker(2, ["5", "6"]), Worker(1, ["GPU-7"])]
    with (
        standalone(tmp_path / "cluster", workers) as cluster,
        spark_session(spark_config(places, cluster.url, **all_executors(3)), name="test", gpu=True) as spark,
    ):
        found = spark.sparkContext.parallelize(range(24), 24).mapPartitions(occupy).collect()
    assert {each["address"] for each in found} == {"5", "6", "GPU-7"}
    assert all(each["visible"] == each["address"] for each in found)
    for address in ("5", "6", "GPU-7"):
        times = sorted((each["from"], each["to"]) for each in found if each["address"] == address)
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(times)), f"two tasks had {address} at once"


def in_new_process(code: str, **environment: str) -> str:
    """Run Python code in a process of its own and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_gpu_address_is_never_an_index_into_the_visible_gpus() -> None:
    code = "import os; from models.serving.environment import prepare_environment as p; p('1')\n"
    code += "print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['CUDA_DEVICE_ORDER'])"
    assert in_new_process(code, CUDA_VISIBLE_DEVICES="2,3") == "1 PCI_BUS_ID"


def test_a_task_without_its_own_gpu_does_not_change_the_visible_gpus() -> None:
    code = "import os; from models.serving.environment import prepare_environment as p; p(None)\n"
    code += "print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['TF_FORCE_GPU_ALLOW_GROWTH'])"
    assert in_new_process(code, CUDA_VISIBLE_DEVICES="2,3") == "2,3 true"


def test_a_process_with_one_gpu_takes_no_task_for_another_gpu() -> None:
    code = """
import sys, types
from models.serving.environment import prepare_environment
from models.serving.faults import DeviceLost
prepare_environment("GPU-1")
sys.modules["tensorflow"] = types.ModuleType("tensorflow")
prepare_environment("GPU-1")
try:
    prepare_environment("GPU-2")
except DeviceLost as error:
    print(error)
"""
    assert in_new_process(code) == "this process computes on the GPU GPU-1, and its task was given GPU-2"


@pytest.fixture
def three_gpus(tmp_path: Path) -> str:
    """A PATH on which nvidia-smi knows three GPUs."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nprintf '0, GPU-aa\\n1, GPU-bb\\n2, GPU-cc\\n'\n", encoding="utf-8")
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("visible", "addresses"),
    [
        (None, '"GPU-aa", "GPU-bb", "GPU-cc"'),
        ("2,0", '"GPU-aa", "GPU-cc"'),
        ("GPU-bb", '"GPU-bb"'),
        ("", ""),
    ],
)
def test_the_discovery_script_lists_the_visible_gpus(three_gpus: str, visible: str | None, addresses: str) -> None:
    environment = {**os.environ, "PATH": three_gpus} | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    if visible is None:
        environment.pop("CUDA_VISIBLE_DEVICES", None)
    done = subprocess.run([FIND_GPUS], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f'{{"name": "gpu", "addresses": [{addresses}]}}'

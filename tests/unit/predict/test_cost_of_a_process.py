"""A predicting process by OpenVINO starts in a fraction of the time, and takes a fraction of the memory, of Keras's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from jobs.predict.config import Computing, PredictConfig
from jobs.predict.conversions import converted_files
from jobs.storage.places import Places
from models.release import load_release
from tests.unit.predict.test_predict_loop import DAY, write_images

ROOT = Path(__file__).parents[3]
MEMORY = 0.6
"""Most of the memory of a process of Keras; some 0.25 were measured."""

START = 0.6
"""Most of its time to load the networks; some 0.15 were measured. A busy machine slows both."""

PROCESS = """
import json, sys
from datetime import date
from pathlib import Path
from jobs.predict import networks
from jobs.predict.config import Computing, ConvertedFiles, PredictConfig
from jobs.predict.job import predict_shard
from jobs.storage.places import Places
from models.serving import devices
from models.serving.converted import read_manifest
from tests.peak_memory import peak_bytes
devices.may_have_accelerator = lambda: False
home, release, shard = map(Path, sys.argv[1:4])
files = [ConvertedFiles(read_manifest(Path(name) / "converted.json"), Path(name)) for name in sys.argv[4:]]
computing = Computing(converted=files[0] if files else None)
config = PredictConfig(f"run-{len(files)}", (date.fromisoformat("%s"),), Places(home), release, computing=computing)
loaded = networks.loaded_networks(config, shard, None)
report = predict_shard(shard, loaded.inference, loaded.release, config, on=loaded.compute_report(), gate=loaded.gate)
assert ("keras" in sys.modules) is not bool(files)
print(json.dumps([report.images, report.loading_seconds, peak_bytes()]))
"""


@dataclass(frozen=True)
class Cost:
    """What a process took.

    Attributes:
        images: Images that it predicted.
        loading_seconds: Seconds to load the networks.
        peak_bytes: Peak memory.
    """

    images: int
    loading_seconds: float
    peak_bytes: int


def cost(config: PredictConfig, shard: Path, *converted: Path) -> Cost:
    """Predict a shard in a process of its own: by OpenVINO if the release was converted, else by Keras."""
    words = [config.places.local_home, config.release_dir, shard, *converted]
    command = [sys.executable, "-c", PROCESS % DAY, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=250, check=True)
    return Cost(*json.loads(done.stdout))


def test_a_process_without_keras_starts_sooner_and_takes_less_memory(tiny_release: Path, tmp_path: Path) -> None:
    computing = Computing(engine="openvino", engines_dir=Path(os.environ["SHELFWISE_ENGINES_DIR"]))
    config = PredictConfig("run-1", (DAY,), Places(tmp_path), tiny_release, computing=computing)
    shard = write_images(config.places, 40)
    files = converted_files(config, load_release(tiny_release))
    assert files is not None
    ours, theirs = cost(config, shard, files.directory), cost(config, shard)
    print(f"{ours} instead of {theirs}")
    assert (ours.images, theirs.images) == (40, 40)
    assert ours.peak_bytes <= MEMORY * theirs.peak_bytes
    assert ours.loading_seconds <= START * theirs.loading_seconds

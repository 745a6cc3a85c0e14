"""SIGKILL in `finetune --quick`: the same command goes on where it ended, and removes what was left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from jobs.cli.main import main_group
from jobs.storage.places import Places
from models.networks.pixels import PIXELS
from models.networks.registry import ARCHITECTURES, INPUT_PX, architecture
from models.networks.weights import save_weights
from models.release import load_release
from tests import tiny_network
from tests.labelled import LEAVES, write_labelled

ROOT = Path(__file__).parents[3]
IMAGES = 90
CHILD = """
import sys, time
from contextlib import contextmanager
from jobs.cli.main import main_group
from jobs.training import features, quick
from models import release
from models.networks.registry import ARCHITECTURES, INPUT_PX
from models.serving.features import FeatureExtractor

ARCHITECTURES["tiny"], INPUT_PX["tiny"] = "tests.tiny_network", (16, 16)
features.FILE_ROWS = 16
moment, files = sys.argv[1], []
whole_file, load_release, compute = features.whole_file, release.load_release, FeatureExtractor.__call__

def wait():
    print("waits", flush=True)
    time.sleep(600)  # for its end

@contextmanager
def file_written(target, *args, **options):
    with whole_file(target, *args, **options) as writer:
        yield writer
        files.append(target)
        if moment == "in the second file" and len(files) == 2:
            wait()

def loaded(directory):
    return wait() if moment == "before the release" else load_release(directory)

def computed(extractor, images):
    print("computes", len(images), flush=True)
    return compute(extractor, images)

features.whole_file, release.load_release, FeatureExtractor.__call__ = file_written, loaded, computed
main_group(sys.argv[2:])
"""


def killed_while_it_waits(moment: str, command: list[str]) -> int:
    """Kill the command at a moment; return for how many images it had computed features of the network."""
    program = [sys.executable, "-c", CHILD, moment, *command]
    count = 0
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line == "waits\n":
                os.kill(child.pid, signal.SIGKILL)
                break
            count += int(line.removeprefix("computes "))
    assert child.returncode == -signal.SIGKILL
    return count


def left_behind(directory: Path) -> list[Path]:
    """Return what is in a directory beside features, releases and their files."""
    whole = ("*-*-*", "*-*-*/part-*.parquet", "shop-1", "shop-1/*")
    return sorted(set(directory.rglob("*")) - {path for pattern in whole for path in directory.glob(pattern)})


def test_the_same_command_resumes_a_killed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First it is killed while features are computed, then before its release is complete."""
    home, start = tmp_path / "home", tmp_path / "tiny_imagenet_notop.weights.h5"
    monkeypatch.setenv("SHELFWISE_HOME", str(home))
    monkeypatch.setitem(ARCHITECTURES, tiny_network.NAME, "tests.tiny_network")
    monkeypatch.setitem(INPUT_PX, tiny_network.NAME, (16, 16))
    keras.utils.set_random_seed(0)
    save_weights(architecture(tiny_network.NAME).backbone(input_px=16), start)
    write_labelled(Places(home), [(f"p{number:03d}", LEAVES[number % 3], [number % 3]) for number in range(IMAGES)])
    command = ["finetune", "--quick", "--release-id", "shop-1", "--network", "tiny", "--start-from", str(start)]

    killed_while_it_waits("in the second file", command)
    [first] = home.glob("features/tiny-*/part-*.parquet")
    before, kept = first.stat().st_mtime_ns, pq.read_metadata(first).num_rows
    assert 0 < kept < IMAGES
    assert left_behind(home / "features"), "half a file"

    assert killed_while_it_waits("before the release", command) == IMAGES - kept
    assert first.stat().st_mtime_ns == before
    assert left_behind(home / "features") == []
    assert left_behind(home / "releases"), "half a release, and the weights of which it is made"
    assert not (home / "releases" / "shop-1").exists()

    files = {path: path.stat().st_mtime_ns for path in home.rglob("part-*.parquet")}
    CliRunner().invoke(main_group, command, catch_exceptions=False)
    assert load_release(home / "releases" / "shop-1").metrics["ensemble_test_accuracy"] == 1.0
    assert {path: path.stat().st_mtime_ns for path in home.rglob("part-*.parquet")} == files, "nothing is computed"
    assert {path.parent.name.partition("-")[0] for path in files if "features" in path.parts} == {"tiny", PIXELS}
    assert left_behind(home / "features") + left_behind(home / "releases") == []

"""A file system that takes no more: every step says so in a sentence, keeps what was trained, leaves nothing half-made.

The limit is a real one, on the size of each file that a process writes; h5py meets it where Keras saves weights.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
Said = tuple[dict[str, Any], str, Path]
CHILD = """
import json, resource, sys
from contextlib import contextmanager
from pathlib import Path
import numpy as np
import pytest
from jobs.training import finetune
from jobs.settings import Settings
from models import train_arrays
from models.training.recipe import CHECKPOINT
from models.networks.registry import ARCHITECTURES, INPUT_PX, architecture
from models.networks.weights import save_weights, to_float16
from tests import tiny_network
from tests.programs import exit_code, offer_networks
from tests.unit.training import test_finetune as colours
from tests.unit.models.test_train_arrays import write

ARCHITECTURES["tiny"], INPUT_PX["tiny"] = "tests.tiny_network", (16, 16)
place = Path(sys.argv[1])
said = {}

@contextmanager
def limited(to_bytes):
    resource.setrlimit(resource.RLIMIT_FSIZE, (to_bytes, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

def attempt(name, call, to_bytes):
    try:
        with limited(to_bytes):
            call()
    except Exception as error:
        said[name] = [type(error).__name__, str(error)]
    else:
        said[name] = None

model = architecture("tiny").build(input_px=16, categories=2)
attempt("weights", lambda: save_weights(model, place / "a.weights.h5"), 6000)
attempt("network", lambda: save_weights(model, place / "a.keras"), 6000)
save_weights(model, place / "b.weights.h5")
attempt("half", lambda: to_float16(place / "b.weights.h5", place / "half.weights.h5"), 6000)

home = place / "home"
colours.write_labelled(colours.Places(home), colours.PRODUCTS)
checkpoint = home / "training" / "colours-2" / "tiny" / CHECKPOINT
def watch(name):
    def told(epoch, step, steps, figures):
        if epoch == 2 and step == 1:  # from here on a checkpoint can be written, and nothing larger
            limit = checkpoint.stat().st_size + 2000
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    return told
try:
    finetune.run(colours.config(home), watch=watch)
except Exception as error:
    said["finetune"] = [type(error).__name__, str(error)]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
said["checkpoint"] = checkpoint.stat().st_size
said["home"] = sorted(path.name for path in home.iterdir())

out = place / "out" / "tiny.keras"
words = ["--arrays", str(write(place / "a.npz")), "--network", "tiny", "--input-px", "16", "--epochs", "1"]
words += ["--work-dir", str(place / "work"), "--output", str(out)]
offer_networks(train_arrays.main, ["tiny"], pytest.MonkeyPatch())
exit_code(train_arrays.main, words)
whole = out.stat().st_size
out.unlink()
with limited(whole - 5000):
    said["arrays code"] = exit_code(train_arrays.main, words)
said["out"] = [path.name for path in out.parent.iterdir()]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Said:
    """What a process says that meets the limit everywhere, in one start of the networks' library."""
    place = tmp_path_factory.mktemp("full")
    done = subprocess.run([sys.executable, "-c", CHILD, str(place)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr, place


@pytest.mark.parametrize("file", ["weights", "network", "half"])
def test_weights_that_do_not_fit_on_the_disk_raise_its_error(said: Said, file: str) -> None:
    told, _, place = said
    kind, sentence = told[file]
    assert kind == "OSError"
    assert "File too large" in sentence
    assert not any("a.weights" in path.name or "a.keras" in path.name for path in place.iterdir())


def test_finetune_keeps_its_checkpoint_and_leaves_no_release(said: Said) -> None:
    told, _, _ = said
    kind, sentence = told["finetune"]
    assert kind == "RunFailed"
    assert (
        "release colours-2 could not be written (File too large); free some space and run the same command" in sentence
    )
    assert told["home"] == ["images", "training"]
    assert told["checkpoint"]


def test_training_from_arrays_leaves_no_half_network(said: Said) -> None:
    told, stderr, place = said
    assert told["arrays code"] == 1
    assert "tiny.keras cannot be written (File too large); free some space and run the same command" in stderr
    assert told["out"] == []
    assert (place / "work" / "checkpoint.npz").exists()

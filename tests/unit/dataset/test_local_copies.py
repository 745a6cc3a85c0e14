"""Labelled products whose dataset is in a store: what is copied of it to this machine, and how long that lies there."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from upath import UPath

from jobs.dataset.labels import labelled_images
from jobs.dataset.parts import PARTS, part_of
from jobs.dataset.schema import IMAGES
from jobs.dataset.shards import ShardWriter, shards
from jobs.errors import RunFailed
from jobs.evaluation.config import EvaluateConfig
from jobs.evaluation.evaluate import figures
from jobs.evaluation.page import worst_mistakes
from jobs.evaluation.product_predictions import measure
from jobs.storage.places import Places
from jobs.storage.stores import place
from jobs.training.batches import DatasetBatches
from tests.dataset_rows import image_row
from tests.labelled import COLOURS, DAY, GREEN, LEAVES, RED, ColourPredictor, relabel, write_labelled
from tests.object_store import ObjectStore

ROOT = Path(__file__).parents[3]
NEXT = DAY + timedelta(days=1)
UNLABELLED, LEFT_OUT = DAY + timedelta(days=2), DAY + timedelta(days=3)
PRODUCTS = [(f"p{number:02d}", LEAVES[number % 3], [number % 3]) for number in range(40)]


@pytest.fixture
def places(
    s3: ObjectStore, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Places]:
    """A home in a store: two dates of labelled products, one without a label and one of a category to leave out."""
    bucket = re.sub(r"\W+|_", "-", request.node.name)[:60].strip("-")
    home = place(f"s3://{bucket}/home")
    assert isinstance(home, UPath)
    home.fs.mkdir(bucket)
    found = Places(home, tmp_path / "local")
    fill(found)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield found
    assert not list(temporary.iterdir()), "what is large lies in SHELFWISE_LOCAL_DIR"


def fill(places: Places) -> None:
    write_labelled(places, PRODUCTS[:20])
    write_labelled(places, PRODUCTS[20:], day=NEXT)
    write_labelled(places, [("p90", None, [0]), ("p91", None, [1])], day=UNLABELLED)
    write_labelled(places, [("p95", "other", [2])], day=LEFT_OUT)
    relabel(places, {"p03": GREEN}, day=NEXT)


def copies(places: Places) -> dict[str, int]:
    """The ingest dates of what lies in scratch, and when it was written."""
    found = [path for path in places.scratch.rglob("*") if path.is_file() and path.name != ".in-use"]
    return {path.parent.name: path.stat().st_mtime_ns for path in found}


def test_labels_are_read_without_the_images(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    writer = ShardWriter(places.partition(places.images, DAY), IMAGES, shard_bytes=10**9)
    for number in range(200):
        writer.add(image_row(f"q{number:03d}", category=RED, jpeg=random.bytes(20_000)))
    writer.flush()
    asked: list[int] = []
    core = import_module("s3fs.core")
    read = core._fetch_range

    def counted(fs: Any, bucket: Any, key: Any, version_id: Any, start: int, end: int, **rest: Any) -> Any:
        asked.append(end - start)
        return read(fs, bucket, key, version_id, start, end, **rest)

    monkeypatch.setattr(core, "_fetch_range", counted)
    found = labelled_images(places)
    assert len(found) == 241
    assert {image.category_id for image in found if image.product_id == "p03"} == {GREEN}
    assert 0 < sum(asked) < 200_000, "of 4 MB"
    assert not places.scratch.exists()


def test_only_chosen_shards_are_copied_and_read_again_from_the_copy(places: Places, tmp_path: Path) -> None:
    images = pickle.loads(pickle.dumps(labelled_images(places, leave_out=["other"])))
    here = Places(tmp_path / "here")
    fill(here)
    local = labelled_images(here, leave_out=["other"])
    assert [image.key for image in images] == [image.key for image in local]

    def batches(some: Any, home: Places) -> DatasetBatches:
        return DatasetBatches(some, some[:10], LEAVES, 16, batch_size=10, workers=1, places=home)

    assert not copies(places)
    first = list(batches(images[:20], places).batches(0))
    assert list(copies(places)) == [f"ingest_date={DAY}"]
    list(batches(images, places).batches(0))
    before = copies(places)
    assert set(before) == {f"ingest_date={DAY}", f"ingest_date={NEXT}"}
    for (squares, labels), (squares_here, labels_here) in zip(first, batches(local[:20], here).batches(0), strict=True):
        assert np.array_equal(squares, squares_here)
        assert np.array_equal(labels, labels_here)
    stored, on_disk = (EvaluateConfig(home, leave_out=("other",), batch_size=4) for home in (places, here))
    measured, measured_here = (
        measure(ColourPredictor(), COLOURS, some, config) for some, config in ((images, stored), (local, on_disk))
    )
    assert figures(measured, COLOURS) == figures(measured_here, COLOURS)
    mistakes = worst_mistakes(measured, COLOURS, places)
    assert mistakes == worst_mistakes(measured_here, COLOURS, here)
    assert mistakes[0].picture
    assert copies(places) == before, "nothing was fetched again"


def test_a_damaged_file_is_named_by_its_place_in_the_store(places: Places) -> None:
    """Not its copy, which is gone with the command: to delete that would mend nothing."""
    images = labelled_images(places, last=DAY)
    [shard] = shards(places.images, [DAY])
    whole = shard.read_bytes()
    sentence = rf"^{re.escape(str(shard))} cannot be read \(.*\); delete that file and ingest its date again"
    started = time.monotonic()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunFailed, match=sentence):
        labelled_images(places, last=DAY)
    shard.write_bytes(bytes(4) + bytes(2000) + whole[2004:])
    with pytest.raises(RunFailed, match=sentence):
        list(DatasetBatches(images, images, LEAVES, 16, places=places).held_out())
    with pytest.raises(RunFailed, match=sentence):
        measure(ColourPredictor(), COLOURS, images, EvaluateConfig(places))
    assert time.monotonic() - started < 60, "a store that is away is waited for much longer"


def run(places: Places, *command: str) -> subprocess.CompletedProcess[str]:
    told = {"SHELFWISE_HOME": str(places.home), "SHELFWISE_LOCAL_DIR": str(places.local), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *command], env={**os.environ, **told}, capture_output=True, text=True, timeout=120
    )


def test_copies_are_removed_at_the_end_of_the_command(places: Places, tmp_path: Path) -> None:
    words = ("-m", "jobs.cli.main", "export-arrays", "--side-px", "16", "--leave-out", "other", "--output")
    assert {part_of(name) for name, *_ in PRODUCTS} == set(PARTS)
    done = run(places, *words, str(tmp_path / "a.npz"))
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "a.npz") as held:
        assert len(held["labels"]) == sum(part_of(name) == "train" for name, *_ in PRODUCTS)
    assert places.scratch.is_dir()
    assert not list(places.scratch.iterdir())


def test_copies_of_a_killed_command_are_removed_by_the_next_one(places: Places) -> None:
    program = (
        "import os, signal, sys\nfrom jobs.settings import Settings\nfrom jobs.dataset.local_copies import kept_copy\n"
        "from jobs.dataset.partitions import partition_dates\n"
        "from jobs.dataset.shards import shards\n"
        "from datetime import date\nplaces = Settings().places\n"
        "every = shards(places.images, partition_dates(places.images, date.min, date.max))\n"
        "print(kept_copy(every[int(sys.argv[1])], places).parent.name)\n"
        "sys.stdout.flush()\n"
    )
    end = "os.kill(os.getpid(), signal.SIGTERM)\n"
    assert run(places, "-c", program + end, "0").returncode == -signal.SIGTERM
    assert list(copies(places)) == [f"ingest_date={DAY}"]
    assert run(places, "-c", program + end, "1").stdout.strip() == f"ingest_date={NEXT}"
    assert list(copies(places)) == [f"ingest_date={NEXT}"]
    assert run(places, "-c", f"{program}raise RuntimeError\n", "2").returncode == 1
    assert not list(places.scratch.iterdir())

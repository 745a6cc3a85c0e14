"""Pruning a home: only what nobody needs goes, and what a picture was is still known when its bytes are gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.dataset.labels import data_sha256, labelled_images
from jobs.dataset.presence import CurrentImages, read_seen
from jobs.dataset.shards import columns_of, shards
from jobs.dataset.thumbnails import thumbnail_file
from jobs.errors import RunFailed
from jobs.housekeeping import files as housekeeping_files
from jobs.housekeeping import partitions, prune
from jobs.housekeeping.prune import PruneConfig
from jobs.ingest.full_catalogs import keep_full_catalog, was_read_in_full
from jobs.storage.places import Places
from jobs.training.features import FeatureKey, FeatureStore
from models.networks.pixels import PIXELS
from models.release_checks import MAX_BYTES
from models.whole_files import write_whole
from tests.dataset_rows import seen_row
from tests.labelled import BLUE, DAY, GREEN, RED, write_labelled, write_seen

ROOT = Path(__file__).parents[3]
NOW = datetime(2028, 1, 1, tzinfo=UTC)
NIGHT_2, NIGHT_3 = DAY + timedelta(days=1), DAY + timedelta(days=2)
LATELY = NOW.date() - timedelta(days=10)


class FakeRecords:
    """A product database with these runs and answers."""

    def __init__(
        self,
        *,
        answered: Iterable[str] = (),
        published: dict[str, datetime] | None = None,
        running: Iterable[str] = (),
        waiting: Iterable[tuple[str, date, str]] = (),
    ) -> None:
        self.answered, self.published, self.running = set(answered), published or {}, list(running)
        self.waiting = list(waiting)

    def at_work(self) -> list[tuple[str, str]]:
        return [(run_id, "driver-7:4711") for run_id in self.running]

    def published_before(self, moment: datetime) -> set[str]:
        return {run_id for run_id, at in self.published.items() if at < moment}

    def with_answer(self, product_ids: Iterable[str]) -> set[str]:
        return self.answered & set(product_ids)

    def waiting_pictures(self, run_ids: Iterable[str]) -> Iterator[tuple[str, date, str]]:
        return (row for row in self.waiting if row[0] in set(run_ids))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "home")


def config(places: Places, **options: Any) -> PruneConfig:
    return replace(PruneConfig(places, (), keep_days=365, now=NOW), **options)


def dates(places: Places) -> list[date]:
    return [date.fromisoformat(path.name[-10:]) for path in sorted(Path(str(places.home)).glob("images/*"))]


def files(places: Places) -> dict[str, bytes]:
    home = Path(str(places.home))
    return {str(path.relative_to(home)): path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}


def test_pictures_that_were_replaced_go_and_current_ones_stay(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0]), ("p2", GREEN, [1])])
    write_labelled(places, [("p1", RED, [0]), ("p2", GREEN, [1])], day=NIGHT_2, version=2)
    before, sizes = data_sha256(labelled_images(places)), [len(each) for each in files(places).values()]
    counts = prune.run(FakeRecords(), config(places))
    assert dates(places) == [NIGHT_2]
    assert counts["images"] == {"files": 1, "bytes": sizes[0]}
    assert data_sha256(labelled_images(places)) == before
    after = files(places)
    assert prune.run(FakeRecords(), config(places))["images"] == {"files": 0, "bytes": 0}
    assert files(places) == after, "the same again changes nothing"


def test_a_date_of_which_one_picture_is_current_stays(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0]), ("p2", GREEN, [1])])
    write_labelled(places, [("p1", RED, [0])], day=NIGHT_2, version=2)
    prune.run(FakeRecords(), config(places))
    assert dates(places) == [DAY, NIGHT_2]


def test_a_picture_that_moved_to_another_position_stays(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0])])
    write_labelled(places, [("p1", RED, [1])], day=NIGHT_2, version=2)
    write_seen(places, NIGHT_2, seen_row("p1", "unchanged", image_no=1, image_sha256="p1-0-0"))
    prune.run(FakeRecords(), config(places))
    assert dates(places) == [DAY, NIGHT_2]


def test_a_picture_that_a_row_unchanged_refers_to_stays_although_it_was_replaced(places: Places) -> None:
    """The newest row would else be one without bytes, when the date of the newer picture is deleted too."""
    write_labelled(places, [("p1", RED, [0])])
    write_seen(places, NIGHT_2, seen_row("p1", "unchanged", image_sha256="p1-0-0"))
    write_labelled(places, [("p1", RED, [1])], day=NIGHT_3, version=2)
    write_seen(places, NIGHT_3, seen_row("p1", "left", ingest_no=3))
    prune.run(FakeRecords(), config(places))
    assert dates(places) == [DAY]


@pytest.mark.parametrize(
    ("left_on", "answered", "kept"),
    [(NIGHT_2, "", False), (NIGHT_2, "p1", True), (LATELY, "", True), (None, "", True)],
)
def test_pictures_of_products_that_left_long_ago_go_unless_they_have_an_answer(
    places: Places, left_on: date | None, answered: str, *, kept: bool
) -> None:
    write_labelled(places, [("p1", RED, [0, 1])])
    if left_on:
        write_seen(places, left_on, *(seen_row("p1", "left", image_no=image_no) for image_no in (0, 1)))
    prune.run(FakeRecords(answered=[answered]), config(places))
    assert dates(places) == ([DAY] if kept else [])


def test_a_position_that_left_long_ago_goes_although_its_product_has_an_answer(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0, 1])])
    write_labelled(places, [("p1", RED, [0])], day=NIGHT_2, version=2)
    write_seen(places, NIGHT_2, seen_row("p1", "left", image_no=1))
    prune.run(FakeRecords(answered=["p1"]), config(places))
    assert dates(places) == [NIGHT_2]


def test_what_deleted_pictures_were_is_still_known(places: Places) -> None:
    """Only the deleted row has the label and group, what the shop names, and which product had a picture first."""
    write_labelled(places, [("p2", RED, [0])], content="shared", group_id="a1")
    write_labelled(places, [("p2", None, [0, 0])], day=NIGHT_2, content="new", catalog_name="outlet")
    write_labelled(places, [("p1", GREEN, [0])], day=NIGHT_2, content="shared", version=1)
    for file in shards(places.images, [NIGHT_2]):
        drop_row(file, "p2", 0)
    write_seen(
        places,
        NIGHT_3,
        seen_row("p2", "unchanged", image_sha256="new", catalog_name="outlet"),
        *(seen_row("p2", "left", image_no=no, catalog_name="outlet", ingest_no=2) for no in (0, 1)),
    )
    labels = labelled_images(places)
    assert [(one.product_id, one.category_id, one.owner, one.group_id) for one in labels] == [
        ("p1", GREEN, "test", ""),
        ("p2", RED, "test", "a1"),
    ]
    prune.run(FakeRecords(), config(places))
    assert dates(places) == [NIGHT_2]
    assert labelled_images(places) == labels
    (kept,) = [columns for _, columns in columns_of(shards(places.seen, [DAY]), SEEN_KEPT)]
    assert {name: values[0] for name, values in kept.items()} == {
        "product_id": "p2",
        "image_uri": "p2.jpg",
        "image_sha256": "shared",
        "source_size_bytes": 1,
        "source_mtime_ns": 1,
        "outcome": "named",
        "catalog_name": "shop",
    }


def drop_row(file: Any, product_id: str, image_no: int) -> None:
    table = pq.read_table(file, partitioning=None)
    rows = [row for row in table.to_pylist() if (row["product_id"], row["image_no"]) != (product_id, image_no)]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)


SEEN_KEPT = (
    *("product_id", "image_uri", "image_sha256", "source_size_bytes", "source_mtime_ns", "outcome", "catalog_name"),
)


def test_a_killed_prune_goes_on(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in (0, 1):
        write_labelled(places, [(f"p{version}", RED, [0])], version=version)
    write_labelled(places, [("p0", RED, [0]), ("p1", RED, [0])], day=NIGHT_2, version=2)
    labels = labelled_images(places)

    class Killed(BaseException):
        pass

    removed: list[Any] = []

    def remove(paths: list[Any]) -> None:
        if removed:
            raise Killed
        removed.extend(paths)
        delete(paths)

    delete = housekeeping_files.remove
    with monkeypatch.context() as patch:
        patch.setattr(partitions, "remove", remove)
        with pytest.raises(Killed):
            prune.run(FakeRecords(), config(places))
    assert dates(places) == [DAY, NIGHT_2]
    assert labelled_images(places) == labels
    assert prune.run(FakeRecords(), config(places))["images"]["files"] == 1
    assert dates(places) == [NIGHT_2]
    assert labelled_images(places) == labels
    current = CurrentImages()
    assert sum(len(columns["product_id"]) for _, columns in read_seen(shards(places.seen, [DAY]), current)) == 2


def test_a_dry_run_counts_the_same_and_deletes_nothing(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0])])
    write_labelled(places, [("p1", RED, [0])], day=NIGHT_2, version=2)
    before = files(places)
    counted = prune.run(FakeRecords(), config(places, dry_run=True))
    assert files(places) == before
    assert counted == prune.run(FakeRecords(), config(places))
    assert counted["images"]["files"] == 1


def test_nothing_that_was_written_in_the_last_hour_is_deleted(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0])])
    write_labelled(places, [("p1", RED, [0])], day=NIGHT_2, version=2)
    (file,) = shards(places.images, [DAY])
    os.utime(str(file), (NOW.timestamp() - 3500,) * 2)
    prune.run(FakeRecords(), config(places))
    assert dates(places) == [DAY, NIGHT_2]
    os.utime(str(file), (NOW.timestamp() - 3700,) * 2)
    prune.run(FakeRecords(), config(places))
    assert dates(places) == [NIGHT_2]


def test_dates_within_the_days_to_keep_stay(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0])], day=LATELY)
    write_labelled(places, [("p1", RED, [0])], day=LATELY + timedelta(days=1), version=2)
    prune.run(FakeRecords(), config(places))
    assert len(dates(places)) == 2
    prune.run(FakeRecords(), config(places, keep_days=9))
    assert len(dates(places)) == 1


def test_dates_that_a_training_in_progress_reads_stay(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0])])
    write_labelled(places, [("p1", RED, [0])], day=NIGHT_2, version=2)
    (file,) = shards(places.images, [DAY])
    record = places.local_home / "training" / "shop-2" / "begun.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"files": ["/".join(file.parts[-3:])], "starts": {}}))
    prune.run(FakeRecords(), config(places))
    assert dates(places) == [DAY, NIGHT_2]
    record.unlink()
    prune.run(FakeRecords(), config(places))
    assert dates(places) == [NIGHT_2]


def test_files_of_runs_that_were_published_long_ago_go(places: Places) -> None:
    for run_id in ("old", "new", "failed"):
        for directory in (places.predictions(run_id), places.selections(run_id)):
            Path(str(directory)).mkdir(parents=True)
            (directory / "2026-11-01--part-1.parquet").write_bytes(b"12345")
    published = {"old": NOW - timedelta(days=366), "new": NOW - timedelta(days=364)}
    counts = prune.run(FakeRecords(published=published), config(places))
    assert counts["predictions"] == counts["selections"] == {"files": 1, "bytes": 5}
    for root in ("predictions", "selections"):
        assert sorted(path.name for path in Path(str(places.home)).glob(f"{root}/*")) == ["run_id=failed", "run_id=new"]


def test_thumbnails_go_with_the_predictions_of_their_run_but_those_of_waiting_answers_stay(places: Places) -> None:
    for run_id in ("old", "older", "new", "failed"):
        for day in (DAY, NIGHT_2):
            for shard in ("part-1.parquet", "part-2.parquet"):
                write_whole(Path(str(thumbnail_file(places, run_id, day, shard))), b"1234")
    old = NOW - timedelta(days=366)
    published = {"old": old, "older": old, "new": NOW - timedelta(days=364)}
    waiting = [("old", NIGHT_2, "part-2.parquet#0#1#5"), ("old", DAY, "../../part-1.parquet#0#0#0")]
    waiting.append(("old", DAY, "part-2.parquet#0#1"))  # its picture is made of the stored image
    records = FakeRecords(published=published, waiting=waiting)
    before = files(places)
    assert prune.run(records, config(places, dry_run=True))["thumbnails"] == {"files": 7, "bytes": 28}
    assert files(places) == before
    assert prune.run(records, config(places))["thumbnails"] == {"files": 7, "bytes": 28}
    left = [name for name in files(places) if "run_id=old" in name]
    assert left == [f"thumbnails/run_id=old/ingest_date={NIGHT_2}/part-2.parquet"]
    root = Path(str(places.home)) / "thumbnails"
    assert sorted(path.name for path in root.iterdir()) == ["run_id=failed", "run_id=new", "run_id=old"]
    assert len(files(places)) == 9
    records.waiting.clear()
    assert prune.run(records, config(places))["thumbnails"]["files"] == 1
    assert len(files(places)) == 8


def write_features(places: Places, backbone: str, architecture: str = "efficientnetb0", *, days: int = 400) -> Path:
    key = FeatureKey(architecture, backbone, 224, 224, "own", "tensorflow")
    directory = key.directory(places)
    store = FeatureStore(directory, key, 3)
    store.add(["a"], np.zeros((1, 3), np.float32))
    store.flush()
    for file in directory.iterdir():
        os.utime(file, ((NOW - timedelta(days=days)).timestamp(),) * 2)
    return directory


def test_old_features_of_backbones_that_no_release_uses_go(places: Places) -> None:
    used, unused = write_features(places, "used"), write_features(places, "unused")
    young, start = write_features(places, "young", days=300), write_features(places, "tuned", "xception")
    pixels = write_features(places, "", PIXELS)
    unreadable = places.features / "efficientnetb0-224-0123456789abcdef"
    unreadable.mkdir()
    (unreadable / "part-1.parquet").write_bytes(b"no Parquet")
    os.utime(unreadable / "part-1.parquet", (0, 0))
    manifest = Path(str(places.releases)) / "shop-1" / "release.json"
    manifest.parent.mkdir(parents=True)
    networks = [{"architecture": name, "input_px": 224} for name in ("efficientnetb0", "xception")]
    training = {"efficientnetb0_backbone_sha256": "used"}
    manifest.write_text(json.dumps({"networks": networks, "training": training}))
    counts = prune.run(FakeRecords(), config(places, manifests=(manifest,)))
    assert counts["features"]["files"] == 1
    assert not unused.exists()
    assert all(directory.exists() for directory in (used, young, start, pixels, unreadable))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"training": {}, "networks": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"training": {}, "networks": [{"architecture": "xception", "input_px": Infinity}]}',
        '{"training": {}, "networks": [{"architecture": "xception", "input_px": true}]}',
        '{"training": {"xception_backbone_sha256": [1]}, "networks": [{"architecture": "xception", "input_px": 224}]}',
        '{"training": {}, "networks": [{"architecture": "xception", "input_px": 224}]}' + " " * MAX_BYTES,
    ],
    ids=["cut off", "nested", "infinite", "true", "digest", "too large"],
)
def test_a_release_that_could_not_be_read_ended_the_prune_in_a_traceback(places: Places, text: str) -> None:
    """Nobody knows then which backbones are used: all features stay."""
    write_features(places, "unused")
    manifest = Path(str(places.releases)) / "shop-1" / "release.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(text)
    assert prune.run(FakeRecords(), config(places, manifests=(manifest,)))["features"]["files"] == 0


def test_nothing_is_deleted_while_a_run_is_running(places: Places) -> None:
    write_labelled(places, [("p1", RED, [0]), ("p2", BLUE, [2])])
    write_labelled(places, [("p1", RED, [0]), ("p2", BLUE, [2])], day=NIGHT_2, version=2)
    before = files(places)
    with pytest.raises(RunFailed) as told:
        prune.run(FakeRecords(running=["nightly-2026-11-03"]), config(places))
    assert str(told.value) == (
        "run nightly-2026-11-03 is running in driver-7:4711, and prune would delete files under it; wait for its end, "
        "or end it by `shelfwise runs resume nightly-2026-11-03` if that process has died, and prune again"
    )
    assert files(places) == before
    with pytest.raises(RunFailed, match="is running"):
        prune.run(FakeRecords(running=["nightly-2026-11-03"]), config(places, dry_run=True))


def test_copies_of_catalogs_of_an_earlier_version_stayed_for_ever(places: Places) -> None:
    keep_full_catalog(places, DAY, "shop")
    names = [Path(str(places.catalogs), f"{'0a' * 16}.parquet"), Path(str(places.catalogs), "own.parquet")]
    for path in names:
        path.write_bytes(b"rows")
        os.utime(path, (NOW.timestamp(), NOW.timestamp() - timedelta(days=400).total_seconds()))
    before = files(places)
    assert prune.run(FakeRecords(), config(places, dry_run=True))["catalogs"] == {"files": 1, "bytes": 4}
    assert files(places) == before
    assert prune.run(FakeRecords(), config(places, keep_days=500))["catalogs"]["files"] == 0
    assert prune.run(FakeRecords(), config(places))["catalogs"] == {"files": 1, "bytes": 4}
    assert before.keys() - files(places).keys() == {f"catalogs/{names[0].name}"}
    assert was_read_in_full(places, "shop")


def test_unfinished_files_of_processes_that_were_killed_stayed_for_ever(places: Places) -> None:
    """A killed task of ingest leaves up to 128 MB, which no retry finds: each writer has a name of its own."""
    write_labelled(places, [("p1", RED, [0])])
    [partition] = Path(str(places.images)).iterdir()
    shard = partition / "part-00.parquet"
    killed = f"""
import os
from pathlib import Path
from models.whole_files import in_place_of
with in_place_of(Path({str(shard)!r})) as scratch:
    scratch.write_bytes(b"half")
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", killed], cwd=ROOT).returncode == -9
    [left] = [path for path in partition.iterdir() if path.suffix == ".tmp"]
    own = partition / ".notes.tmp"
    own.write_bytes(b"of somebody")
    for path in (left, own):
        os.utime(path, (NOW.timestamp(), NOW.timestamp() - 2 * housekeeping_files.LATELY_SECONDS))
    lately = left.with_name(f".part-01.parquet.{'0a' * 16}.tmp")
    lately.write_bytes(b"at work")
    os.utime(lately, (NOW.timestamp(), NOW.timestamp() - 60))
    before = files(places)
    assert prune.run(FakeRecords(), config(places, dry_run=True))["leftovers"] == {"files": 1, "bytes": 4}
    assert files(places) == before
    assert prune.run(FakeRecords(), config(places))["leftovers"] == {"files": 1, "bytes": 4}
    assert before.keys() - files(places).keys() == {str(left.relative_to(Path(str(places.home))))}
    assert lately.exists()

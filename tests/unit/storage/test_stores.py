"""Places in an object store: a real S3 server that is there, away for a while, or refuses."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from upath import UPath

from jobs.dataset import local_copies as shard_copies
from jobs.dataset.partitions import partition_dates
from jobs.dataset.schema import IMAGES
from jobs.dataset.shards import ShardWriter, row_count, shards, whole_file
from jobs.errors import RunFailed, UsageError
from jobs.releases.new_releases import check_new
from jobs.releases.stored import local_release, share, stored_releases
from jobs.storage import faults as store_faults
from jobs.storage import stores
from jobs.storage.faults import StoreDenied, StoreError
from jobs.storage.places import Place, Places
from jobs.storage.stores import check_usable, children, place, uri
from models import temporary
from models.release import MANIFEST, ReleaseError
from tests.dataset_rows import image_row
from tests.object_store import ObjectStore
from tests.unit.dataset.test_shards import DAY


@pytest.fixture
def home(s3: ObjectStore, request: pytest.FixtureRequest) -> UPath:
    """An empty place in a bucket."""
    found = place(f"s3://shop/{request.node.name}")
    assert isinstance(found, UPath)
    found.fs.makedirs("shop", exist_ok=True)
    return found


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary directory, empty."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_faults, "PATIENCE_SECONDS", 1.0)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("photos", "photos"),
        ("/photos/a b", "/photos/a b"),
        ("file:///photos", "/photos"),
        ("file://localhost/photos", "/photos"),
        ("FILE:/photos", "/photos"),
        ("file:///photos/red%20shirt%231.csv", "/photos/red shirt#1.csv"),
        ("/photos/red%20shirt.csv", "/photos/red%20shirt.csv"),
        ("file:shop.csv", "file:shop.csv"),
        ("s3://shop/home/", "s3://shop/home"),
        ("S3A://shop/home", "s3://shop/home"),
        ("s3://shop/100%20 #1?.jpg", "s3://shop/100%20 #1?.jpg"),
    ],
)
def test_a_text_becomes_a_path_or_a_store_uri(text: str, found: str) -> None:
    assert str(place(text)) == found
    assert isinstance(place(text), UPath) == found.startswith("s3://")
    assert place(pickle.loads(pickle.dumps(place(text)))) == place(text)


@pytest.mark.parametrize(
    "text",
    [
        "/photos/a b",
        "s3://shop/home",
        "hdfs:///shop/home",
        "hdfs://name/shop/home",
        "hdfs://name:8020/shop/home",
        "hdfs://me@name:8020/shop",
        "abfs://shop/home",
        "abfs://shop@account.dfs.core.windows.net/home",
    ],
)
def test_a_place_becomes_text_and_a_place_again(text: str) -> None:
    """A task on another machine finds the same place by it: of the same namenode, of the same account."""
    where = place(text) if text.startswith(("/", "s3")) else UPath(text)
    assert uri(where) == text
    assert uri(where / "part-1.parquet") == f"{text}/part-1.parquet"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("ftp://host/a", "unknown kind"),
        ("file://host/a", "received host 'host'"),
        ("file://", "with a path, received one without"),
        ("memory://a", "unknown kind"),
        ("github://a:b@c/d", "unknown kind"),
        ("http://host/catalog.csv", "unknown kind"),
        ("s3://", "names no bucket"),
        ("s3://key:secret@bucket/a", "names no bucket"),
        ("s3://bucket/a::file:///etc/passwd", "names no bucket"),
        ("gs://bucket/a", "pip install gcsfs"),
        ("abfs://container/a", "pip install adlfs"),
    ],
)
def test_an_invalid_place_is_a_wrong_call(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        place(text)
    assert "secret" not in str(caught.value)


def written(home: Place, count: int) -> list[Place]:
    places = Places(home)
    writer = ShardWriter(places.partition(places.images, DAY), IMAGES, shard_bytes=1)
    for number in range(count):
        writer.add(image_row(f"p{number}"))
    return shards(places.images, [DAY])


def test_shards_in_a_store_are_those_on_disk(home: UPath, tmp_path: Path, scratch: Path) -> None:
    there, here = written(home, 3), written(tmp_path, 3)
    assert [path.name for path in there] == [path.name for path in here]
    assert partition_dates(home / "images", DAY, DAY) == [DAY]
    assert row_count(there) == 3
    for remote, local in zip(there, here, strict=True):
        assert stores.read_bytes(remote) == stores.read_bytes(local)
        with stores.on_disk(remote) as copy:
            assert pq.read_table(copy) == pq.read_table(local)
    assert children(home / "nothing", "*") == []
    assert not list(scratch.iterdir()), "no copy stays behind"


def test_a_file_that_is_read_twice_is_copied_once(home: UPath, tmp_path: Path, scratch: Path) -> None:
    there, here = written(home, 2), written(tmp_path, 1)
    with stores.on_disk_once() as local:
        copied = [local(file) for file in there]
        assert [path.read_bytes() for path in copied] == [stores.read_bytes(file) for file in there]
        stores.delete(there[0])
        assert [local(file) for file in there] == copied, "the store is not asked again"
        assert local(here[0]) == here[0]
    assert not list(scratch.iterdir()), "no copy stays behind"


def test_a_file_that_is_not_finished_never_appears(home: UPath, scratch: Path) -> None:
    with pytest.raises(RuntimeError, match="half"), whole_file(home / "a.parquet", IMAGES):
        raise RuntimeError("half")
    assert not stores.is_file(home / "a.parquet")
    assert not list(scratch.iterdir())


def test_copies_are_one_ahead_two_at_most_and_gone_afterwards(home: UPath, scratch: Path) -> None:
    every = written(home, 5)
    for number, (shard, path, waited_seconds) in enumerate(shard_copies.on_disk_in_turn(every)):
        assert waited_seconds > 0
        assert shard == every[number]
        assert path.read_bytes() == stores.read_bytes(shard)
        ahead = every[number + 1 : number + 2]
        until = time.monotonic() + 10
        while (found := copies(scratch)) != 1 + len(ahead) and time.monotonic() < until:
            time.sleep(0.01)
        assert found == 1 + len(ahead), "the next one is copied while this one is read"
    assert not list(scratch.iterdir())


def copies(scratch: Path) -> int:
    return sum(path.name.endswith(".parquet") for path in scratch.rglob("*"))


@pytest.mark.parametrize("under", [False, True])
def test_what_a_killed_process_copied_is_removed_by_the_next(scratch: Path, under: bool) -> None:
    parent = scratch / "release-copies" if under else None
    program = (
        "import os, tempfile\nfrom models.temporary import temporary_directory\n"
        f"tempfile.tempdir = {str(scratch)!r}\nfrom pathlib import Path, PosixPath\n"
        f"with temporary_directory({parent!r}) as directory:\n"
        "    (directory / 'copy').write_bytes(b'1')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[3]).returncode == -9
    assert len(list(scratch.rglob("copy"))) == 1
    with temporary.temporary_directory(parent) as mine:
        assert not list(scratch.rglob("copy"))
        (mine / "mine").touch()
        temporary.remove_left_behind(mine.parent)
        assert (mine / "mine").is_file(), "this process is alive"
    assert not list((parent or scratch).iterdir())


def test_a_run_waits_for_a_store_that_is_unavailable_for_a_while(s3: ObjectStore, home: UPath) -> None:
    written(home, 1)
    s3.stop()
    back = threading.Timer(2, s3.start)
    back.start()
    try:
        assert children(home / "images", "*") == [], "the server is a new one and holds nothing"
    finally:
        back.join()


@pytest.mark.parametrize("damage", ["blank", "cut"])
def test_a_damaged_file_in_a_store_is_not_tried_again(home: UPath, damage: str) -> None:
    [shard] = written(home, 1)
    data = bytearray(shard.read_bytes())
    footer_bytes = int.from_bytes(data[-8:-4], "little")
    if damage == "blank":
        data[-8 - footer_bytes : -8] = bytes(footer_bytes)
    else:
        del data[-20:]
    shard.write_bytes(bytes(data))
    started = time.monotonic()
    with pytest.raises(
        RunFailed, match=rf"^{re.escape(str(shard))} cannot be read \(.*\); delete that file and ingest its date again"
    ):
        row_count([shard])
    assert time.monotonic() - started < 30, "a store that is away is waited for much longer"


def test_a_store_that_stays_unavailable_gives_one_sentence(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    gone = place("s3://elsewhere/home")
    assert isinstance(gone, UPath)
    gone = UPath("s3://elsewhere/home", **{**gone.storage_options, "skip_instance_cache": True})
    with pytest.raises(StoreError, match=r"s3://elsewhere/home.* could not be written for \d+ s .*run the same again"):
        check_usable(gone)


def test_a_missing_bucket_and_missing_rights_give_one_sentence(s3: ObjectStore, home: UPath) -> None:
    with pytest.raises(StoreError, match="there is no bucket s3://nowhere; make it"):
        check_usable(place("s3://nowhere/home"))
    with (
        pytest.raises(StoreError, match="there is no bucket s3://nowhere"),
        whole_file(place("s3://nowhere/a.parquet"), IMAGES),
    ):
        pass
    check_usable(home)
    with s3.strict(known=True), pytest.raises(StoreDenied, match="may not be written: the credentials"):
        check_usable(place(str(home)))
    with s3.strict(known=False), pytest.raises(StoreError, match=r"found no more \(InvalidAccessKeyId\); renew them"):
        check_usable(place(str(home)))
    check_usable(home)


def test_a_full_disk_gives_one_sentence_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(StoreError, match=r"no space is left on the disk of .*; free some"),
        whole_file(tmp_path / "a.parquet", IMAGES),
    ):
        pass
    assert not list(tmp_path.iterdir())


class TestReleases:
    @pytest.fixture
    def places(self, home: UPath, tmp_path: Path) -> Places:
        return Places(home, tmp_path / "local")

    def test_a_release_is_fetched_once_and_verified(self, places: Places, tiny_release: Path) -> None:
        share(tiny_release, places)
        [stored] = stored_releases(places)
        copy = local_release(stored, places)
        names = sorted(path.name for path in tiny_release.iterdir())
        assert sorted(path.name for path in copy.iterdir()) == names
        before = {path: path.stat().st_mtime_ns for path in copy.iterdir()}
        assert local_release(stored, places) == copy
        assert {path: path.stat().st_mtime_ns for path in copy.iterdir()} == before, "not fetched again"

    def test_a_store_has_one_release_of_each_name(self, places: Places, tiny_release: Path, tmp_path: Path) -> None:
        check_new(tmp_path / tiny_release.name, places)
        with pytest.raises(UsageError, match=r"with `shelfwise release promote \S+ --alias challenger`$"):
            check_new(tiny_release, places)
        share(tiny_release, places)
        share(tiny_release, places)
        with pytest.raises(UsageError, match=r"s3://.* is there already and a release is never changed"):
            check_new(tmp_path / tiny_release.name, places)
        other = tmp_path / tiny_release.name
        shutil.copytree(tiny_release, other)
        manifest = other / MANIFEST
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "temperature": 1.7}))
        with pytest.raises(UsageError, match=r"s3://.* is another release of that name"):
            share(other, places)

    def test_a_copy_that_was_altered_is_fetched_again(self, places: Places, tiny_release: Path) -> None:
        share(tiny_release, places)
        copy = local_release(stored_releases(places)[0], places)
        [weights] = copy.glob("*.weights.h5")
        weights.write_bytes(b"altered")
        assert local_release(stored_releases(places)[0], places) == copy
        assert weights.read_bytes() == (tiny_release / weights.name).read_bytes()

    def test_a_release_that_was_altered_in_the_store_is_refused(self, places: Places, tiny_release: Path) -> None:
        share(tiny_release, places)
        stored = stored_releases(places)[0]
        assert isinstance(stored, UPath)
        [weights] = children(stored, "*.weights.h5")
        assert isinstance(weights, UPath)
        stored.fs.pipe_file(weights.path, b"altered")
        with pytest.raises(ReleaseError, match="was altered"):
            local_release(stored, places)
        assert not any(path.name == MANIFEST for path in places.local_home.rglob("*")), "no half copy stays"

    def test_a_missing_release_gives_one_sentence(self, places: Places) -> None:
        with pytest.raises(ReleaseError, match=r"no release at s3://shop/.*/none"):
            local_release(places.home / "none", places)

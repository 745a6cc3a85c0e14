"""Where Fashion-MNIST comes from, in which order, and that no other pixels are used. Its sources are tiny stand-ins."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from models import fashion_mnist
from models.fashion_mnist import CATEGORIES, DEBIAN_PACKAGE, load

COUNTS = {"train": 3, "t10k": 2}


def articles(part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The stand-in for the published pixels."""
    random = np.random.default_rng(COUNTS[part])
    images = random.integers(0, 256, (COUNTS[part], 28, 28), np.uint8)
    return images, np.arange(COUNTS[part], dtype=np.uint8)


def write_source(directory: Path, *, flaw: str = "") -> Path:
    """Write the four files; those with a flaw could be told from the published ones."""
    directory.mkdir(parents=True, exist_ok=True)
    for part in COUNTS:
        images, labels = articles(part)
        if flaw == "other pixels":
            images = np.invert(images)
        pixels = images.tobytes()[: -1 if flaw == "too few pixels" else None]
        packed = gzip.compress(bytes(16) + pixels)
        if flaw == "cut off":
            packed = packed[:-12]
        if flaw == "not gzip":
            packed = b"<html>404</html>"
        (directory / f"{part}-images-idx3-ubyte.gz").write_bytes(packed)
        (directory / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + labels.tobytes()))
    return directory


class World:
    """The four places, each empty until a test fills it; `used` says who was asked to fetch something."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.named, self.debian = tmp_path / "named", tmp_path / "debian"
        self.cache, self.bin = tmp_path / "cache", tmp_path / "bin"
        self._log = tmp_path / "log"
        self._monkeypatch = monkeypatch
        self.bin.mkdir()
        digests = {part: hashlib.sha256(b"".join(a.tobytes() for a in articles(part))).hexdigest() for part in COUNTS}
        monkeypatch.setattr(fashion_mnist, "COUNTS", COUNTS)
        monkeypatch.setattr(fashion_mnist, "PIXELS_SHA256", digests)
        monkeypatch.setattr(fashion_mnist, "DEBIAN_PLACE", self.debian)
        monkeypatch.delenv("SHELFWISE_FASHION_MNIST", raising=False)
        monkeypatch.setenv("PATH", str(self.bin))
        self.offer_keras(None)

    @property
    def used(self) -> list[str]:
        return self._log.read_text().split() if self._log.exists() else []

    def name(self, directory: Path) -> None:
        self._monkeypatch.setenv("SHELFWISE_FASHION_MNIST", str(directory))

    def offer_apt(self, *, source: Path | None, status: int = 0, needs_own_lists: bool = False) -> None:
        """Put apt-get and dpkg-deb on PATH; the package holds `source`, or apt-get fails with `status`."""
        tools = {name: shutil.which(name, path="/usr/bin:/bin") for name in ("cp", "mkdir", "touch")}
        inside = f"unpacked{self.debian}"
        lists = 'case "$*" in *Dir::State::lists=*/lists*) ;; *) exit 100 ;; esac; ' if needs_own_lists else ""
        fetch = f'[ {status} = 0 ] && {{ [ "$1" = update ] || {tools["touch"]} {DEBIAN_PACKAGE}_1_all.deb; }}'
        self._script("apt-get", f'echo "$1-$2" >>{self._log}; {lists}{fetch}')
        copy = f"{tools['mkdir']} -p {inside}; {tools['cp']} {source}/* {inside}/" if source else "true"
        self._script("dpkg-deb", f'echo "unpack-$2" >>{self._log}; {copy}')

    def offer_keras(self, parts: dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]] | None) -> None:
        """Put a keras in the place of the real one; without parts its download fails as the real one's does."""

        def load_data() -> tuple[object, object]:
            with self._log.open("a") as log:
                log.write("keras\n")
            if parts is None:
                raise Exception("URL fetch failure on https://...: None -- unreachable")
            return parts["train"], parts["t10k"]

        keras = ModuleType("keras")
        keras.datasets = SimpleNamespace(fashion_mnist=SimpleNamespace(load_data=load_data))  # type: ignore[attr-defined]
        self._monkeypatch.setitem(sys.modules, "keras", keras)

    def _script(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A machine without Fashion-MNIST."""
    return World(tmp_path, monkeypatch)


def assert_loads(world: World) -> None:
    for part in COUNTS:
        loaded = load(part, cache_dir=world.cache)
        images, labels = articles(part)
        np.testing.assert_array_equal(loaded.images, images)
        np.testing.assert_array_equal(loaded.labels, labels)
        assert loaded.pixels_sha256 == fashion_mnist.PIXELS_SHA256[part]


class TestOrder:
    def test_the_named_directory_is_tried_first(self, world: World) -> None:
        world.name(write_source(world.named))
        write_source(world.debian, flaw="other pixels")
        assert_loads(world)
        assert world.used == []

    def test_a_named_directory_that_lacks_a_file_is_an_error_and_nothing_else_is_tried(self, world: World) -> None:
        world.name(write_source(world.named))
        write_source(world.debian)
        (world.named / "t10k-labels-idx1-ubyte.gz").unlink()
        with pytest.raises(FileNotFoundError, match=f"SHELFWISE_FASHION_MNIST names {world.named}, which lacks"):
            load("train", cache_dir=world.cache)

    def test_the_directory_of_the_debian_package_is_tried_second(self, world: World) -> None:
        write_source(world.debian)
        world.offer_apt(source=None)
        assert_loads(world)
        assert world.used == []

    def test_then_the_debian_package_is_downloaded_without_root_and_cached(self, world: World, tmp_path: Path) -> None:
        world.offer_apt(source=write_source(tmp_path / "package"))
        assert_loads(world)
        assert world.used == [f"download-{DEBIAN_PACKAGE}", f"unpack-{DEBIAN_PACKAGE}_1_all.deb"], "fetched only once"
        assert [path.name for path in world.cache.iterdir()] == ["fashion-mnist"]

    def test_without_package_lists_they_are_downloaded_without_root(self, world: World, tmp_path: Path) -> None:
        world.offer_apt(source=write_source(tmp_path / "package"), needs_own_lists=True)
        assert_loads(world)
        assert [use.split("-")[0] for use in world.used] == ["download", "update", "download", "unpack"]
        assert [path.name for path in world.cache.iterdir()] == ["fashion-mnist"]

    def test_keras_is_tried_last(self, world: World) -> None:
        world.offer_keras({part: articles(part) for part in COUNTS})
        assert_loads(world)
        assert set(world.used) == {"keras"}

    @pytest.mark.parametrize("status", [100, 0])
    def test_keras_is_tried_if_apt_fails_or_gives_another_package(self, status: int, world: World) -> None:
        world.offer_apt(source=None, status=status)
        world.offer_keras({part: articles(part) for part in COUNTS})
        assert_loads(world)
        assert list(world.cache.iterdir()) == [], "nothing half-fetched stays"

    def test_without_any_source_the_error_gives_the_remedy(self, world: World) -> None:
        with pytest.raises(
            FileNotFoundError, match=f"install Debian's package {DEBIAN_PACKAGE}, or set SHELFWISE_FASH"
        ):
            load("train", cache_dir=world.cache)


class TestOtherPixels:
    def test_other_pixels_in_a_directory_are_refused(self, world: World) -> None:
        write_source(world.debian, flaw="other pixels")
        with pytest.raises(ValueError, match=rf"train part in {world.debian} is not the published one \(SHA-256"):
            load("train", cache_dir=world.cache)

    def test_other_pixels_from_keras_are_refused(self, world: World) -> None:
        world.offer_keras({part: (np.invert(articles(part)[0]), articles(part)[1]) for part in COUNTS})
        with pytest.raises(ValueError, match="in the Keras cache is not the published one"):
            load("t10k", cache_dir=world.cache)

    def test_other_labels_with_the_right_pixels_are_refused(self, world: World) -> None:
        world.offer_keras({part: (articles(part)[0], articles(part)[1][::-1].copy()) for part in COUNTS})
        with pytest.raises(ValueError, match="is not the published one"):
            load("t10k", cache_dir=world.cache)

    @pytest.mark.parametrize("flaw", ["too few pixels", "cut off", "not gzip"])
    def test_damaged_files_give_one_sentence_that_names_their_directory(self, flaw: str, world: World) -> None:
        write_source(world.debian, flaw=flaw)
        with pytest.raises(ValueError, match=f"{world.debian} .*; fetch them again"):
            load("train", cache_dir=world.cache)


def test_the_taxonomy_has_ten_distinct_leaves_whose_paths_agree_with_their_ids() -> None:
    assert len({category.category_id for category in CATEGORIES}) == 10
    for category in CATEGORIES:
        levels = [level.lower().replace(" ", "-") for level in category.category_path.split(" > ")]
        assert category.category_id == ".".join(levels)

"""Fixtures for all kinds of tests: small catalogs, small releases, and an empty home."""

from __future__ import annotations

import csv
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import hypothesis
import numpy as np
import pytest

from models.serving.environment import prepare_environment
from models.spec import Category
from tests.browser import browser, chromium
from tests.extent import ALL
from tests.object_store import s3
from tests.standalone import QUICK_SUBMIT
from tests.untrained import untrained_release

__all__ = ["browser", "chromium", "s3"]  # fixtures of every folder

prepare_environment()

# No time limit for an input, because the machine may be busy. The usual run draws the same inputs each time, so that a
# new one that fails is met in `make check-all`, not by somebody whose change has nothing to do with it.
hypothesis.settings.register_profile("shelfwise", deadline=None, derandomize=not ALL, print_blob=True)
hypothesis.settings.load_profile("shelfwise")

CATEGORIES = (
    Category("apparel.tops.shirt", "Apparel > Tops > Shirt"),
    Category("apparel.bottoms.trousers", "Apparel > Bottoms > Trousers"),
    Category("footwear.closed.sneaker", "Footwear > Closed > Sneaker"),
)


def make_release(directory: Path, *, architectures: Mapping[str, int], release_id: str = "tiny-1") -> Path:
    """Write a release of untrained networks that answers with `CATEGORIES`."""
    return untrained_release(directory, architectures, CATEGORIES, release_id=release_id)


SLOW_FIRST = (
    "dags/test_scheduler.py",
    "cluster/test_faults.py",
    "dags/test_dag_runs.py",
    "dags/test_training_by_decisions.py",
    "end_to_end/test_object_store.py",
    "end_to_end/test_readme.py",
    "cluster/test_clusters.py",
    "end_to_end/test_nights.py",
    "review/test_pages_in_a_browser.py",
    "review/test_look_of_pages.py",
    "end_to_end/test_first_release.py",
    "end_to_end/test_learned_decisions.py",
    "publishing/test_kills.py",
    "end_to_end/test_backfills.py",
    "end_to_end/test_nights_in_one_spark.py",
    "end_to_end/test_runs.py",
)
"""Test files that take minutes. A worker takes whole files, so these must start first, in parallel to all others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the slow files to the front and keep the order of the others; the Makefile makes pytest-xdist keep it."""

    def place(item: pytest.Item) -> int:
        name = f"{item.path.parent.name}/{item.path.name}"
        return SLOW_FIRST.index(name) if name in SLOW_FIRST else len(SLOW_FIRST)

    items.sort(key=place)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their parameter: an archive holds the time, and all workers must collect the same names."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session", autouse=True)
def _java() -> Iterator[None]:
    """Make every Java process of Spark listen on the loopback interface only, with options for a short run.

    Tests that run as a user's night does set `USUAL_SPARK` in SHELFWISE_SPARK_CONF.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        patch.setenv("SPARK_SUBMIT_OPTS", QUICK_SUBMIT)
        yield


@pytest.fixture(scope="session", autouse=True)
def _kept_by_all_homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let all homes share what takes ten seconds to make: the releases that OpenVINO computes, and Spark's classes."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # the workers' directories lie side by side
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHELFWISE_ENGINES_DIR", str(shared / "engines"))
        patch.setenv("SHELFWISE_JAVA_DIR", str(shared / "java"))
        yield


@pytest.fixture(scope="session")
def tiny_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained release of one network: EfficientNetB0 at 32 px."""
    return make_release(tmp_path_factory.mktemp("release"), architectures={"efficientnetb0": 32})


@pytest.fixture(scope="session")
def tiny_pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained release of EfficientNetB0 and Xception."""
    place = tmp_path_factory.mktemp("pair")
    return make_release(place, architectures={"efficientnetb0": 32, "xception": 71}, release_id="pair-1")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set SHELFWISE_HOME to an empty directory, and remove other settings of this machine."""
    for name in ("SHELFWISE_DATABASE_URL", "SHELFWISE_RELEASE_DIR", "SHELFWISE_MASTER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SHELFWISE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def picture(seed: int, *, width_px: int = 60, height_px: int = 40) -> bytes:
    """Return a small JPEG that depends on the seed alone."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    smooth = cv2.resize(coarse, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
    return bytes(cv2.imencode(".jpg", smooth)[1].tobytes())


class SmallShop:
    """A catalog of small images in a directory, with a CSV file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.rows: dict[tuple[str, int], str] = {}
        self.titles: dict[str, str] = {}
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def catalog(self) -> str:
        """Write the CSV file again and return its path."""
        path = self.directory / "catalog.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("product_id", "image_no", "image_uri", "title"))
            writer.writerows((*key, uri, self.titles.get(key[0])) for key, uri in self.rows.items())
        return str(path)

    def add(self, product_id: str, *, seed: int | None = None, image_no: int = 0) -> Path:
        """Add an image of a product; it depends on the seed, by default on product_id and image_no."""
        path = self.directory / f"{product_id}-{image_no}.jpg"
        path.write_bytes(picture(hash_of(product_id, image_no) if seed is None else seed))
        self.rows[product_id, image_no] = path.name
        return path

    def add_many(self, products: Sequence[str]) -> None:
        """Add several products with one image each."""
        for product_id in products:
            self.add(product_id)


def hash_of(product_id: str, image_no: int) -> int:
    """Return a seed that is the same in every process, unlike hash()."""
    return zlib.crc32(f"{product_id}/{image_no}".encode())


@pytest.fixture
def shop(tmp_path: Path) -> SmallShop:
    """A small catalog without products."""
    return SmallShop(tmp_path / "shop")

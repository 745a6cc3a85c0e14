"""One standalone cluster for the tests of this folder: two workers of one core each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.storage.places import Places
from tests.standalone import ROOT, Standalone, Worker, standalone

BARE_SITE = ROOT / "tests" / "cluster" / "bare_site"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """The cluster."""
    with standalone(tmp_path_factory.mktemp("cluster"), [Worker(1), Worker(1)]) as running:
        yield running


@pytest.fixture(scope="session")
def bare_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """A worker whose Python has the packages that the project needs and nothing of the project, as a cluster's have."""
    with standalone(tmp_path_factory.mktemp("bare"), [Worker(1)], python_path=BARE_SITE) as running:
        yield running


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """An empty home that all machines see."""
    return Places(tmp_path / "home")

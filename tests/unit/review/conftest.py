"""A small database and a server of the review pages, without Spark and PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.storage.places import Places
from sql.store import ProductDatabase, open_database
from tests.review_site import Client, Site, like_the_demo, review_site


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like the demo's database, which tests copy."""
    path = tmp_path_factory.mktemp("filled") / "shelfwise.db"
    database = open_database(f"sqlite:///{path}")
    database.upgrade()
    like_the_demo(database, waiting=40, known=40)
    return path


@pytest.fixture
def demo(filled: Path, tmp_path: Path) -> ProductDatabase:
    """A database like the demo's."""
    return open_database(f"sqlite:///{shutil.copy(filled, tmp_path / 'shelfwise.db')}")


@pytest.fixture
def site(demo: ProductDatabase, tmp_path: Path) -> Iterator[Site]:
    """A server for one person, ada."""
    with review_site(demo, tmp_path) as opened:
        yield opened


@pytest.fixture
def ada(site: Site) -> Client:
    """A client with a session."""
    return site.client()


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """The places of an empty home."""
    return Places(tmp_path / "home")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are opened from now on."""
    names: list[Path] = []
    open_file = Path.open

    def noting(path: Path, *args: Any, **options: Any) -> Any:
        names.append(path)
        return open_file(path, *args, **options)

    monkeypatch.setattr(Path, "open", noting)
    return names

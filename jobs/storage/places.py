"""Where state lies: the directories below `SHELFWISE_HOME`, on a disk or in an object store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from upath import UPath

from jobs.errors import UsageError

Place = Path | UPath
"""A path of this machine, or a place in an object store; see `jobs.storage.stores`."""


@dataclass(frozen=True)
class Places:
    """The directories under `SHELFWISE_HOME`.

    Attributes:
        home: Where the dataset, predictions and releases are; may be in an object store.
        local: A directory of this machine for what cannot be there: scratch files, caches, training, the embedded
            database. None is `home`.
    """

    home: Place
    local: Path | None = None

    @property
    def local_home(self) -> Path:
        """Return the directory of this machine."""
        found = self.local or self.home
        if not isinstance(found, Path):
            raise UsageError(f"{found} is in a store, and scratch files need a disk; set SHELFWISE_LOCAL_DIR")
        return found

    @property
    def scratch(self) -> Path:
        """Files that live no longer than a run."""
        return self.local_home / "scratch"

    @property
    def releases(self) -> Place:
        """Releases of one's own, a directory each."""
        return self.home / "releases"

    @property
    def images(self) -> Place:
        """The Petastorm dataset, `ingest_date=YYYY-MM-DD/` below it."""
        return self.home / "images"

    @property
    def seen(self) -> Place:
        """What ingest read and did not store, `ingest_date=YYYY-MM-DD/` below it."""
        return self.home / "seen"

    @property
    def catalog_rows(self) -> Place:
        """What the catalog says anew of images that are stored, `ingest_date=YYYY-MM-DD/` below it."""
        return self.home / "catalog_rows"

    @property
    def ingests(self) -> Place:
        """What the last ingest of each date reported, `ingest_date=YYYY-MM-DD/` below it."""
        return self.home / "ingests"

    @property
    def of_runs(self) -> tuple[Place, ...]:
        """The directories that runs fill, each with directories named by ingest date or run."""
        of_dates = (self.images, self.seen, self.catalog_rows, self.ingests)
        return *of_dates, self.predictions("").parent, self.selections("").parent

    def partition(self, root: Place, ingest_date: date) -> Place:
        """Return one date's directory under `images`, `seen` or `catalog_rows`."""
        return root / f"ingest_date={ingest_date.isoformat()}"

    def predictions(self, run_id: str) -> Place:
        """Return one run's prediction files."""
        return self.home / "predictions" / f"run_id={run_id}"

    def selections(self, run_id: str) -> Place:
        """Return where one run's choice of images lies, where it does not take all."""
        return self.home / "selections" / f"run_id={run_id}"

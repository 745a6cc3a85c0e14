"""The directories below `SHELFWISE_HOME` in which all state is stored, on a disk or in an object store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from upath import UPath

from jobs.errors import UsageError

Place = Path | UPath
"""A path on this machine, or a path in an object store; see `jobs.storage.stores`."""


@dataclass(frozen=True)
class Places:
    """The directories under `SHELFWISE_HOME`.

    Attributes:
        home: Directory of the dataset, predictions and releases; may be in an object store.
        local: Directory on this machine for what cannot be in an object store: scratch files, caches, training, the
            embedded database. None uses `home`.
    """

    home: Place
    local: Path | None = None

    @property
    def local_home(self) -> Path:
        """Directory on this machine.

        Raises:
            UsageError: If `home` is in a store and no local directory is given; set SHELFWISE_LOCAL_DIR.
        """
        directory = self.local or self.home
        if not isinstance(directory, Path):
            raise UsageError(f"{directory} is in a store, and scratch files need a disk; set SHELFWISE_LOCAL_DIR")
        return directory

    @property
    def scratch(self) -> Path:
        """Directory of files that are needed only during a run."""
        return self.local_home / "scratch"

    @property
    def features(self) -> Path:
        """Cache of the features that frozen backbones computed of images; may be deleted at any time."""
        return self.local_home / "features"

    @property
    def releases(self) -> Place:
        """Directory of the user's own releases, each in a subdirectory."""
        return self.home / "releases"

    @property
    def images(self) -> Place:
        """Petastorm dataset of the stored images, partitioned by `ingest_date=YYYY-MM-DD/`."""
        return self.home / "images"

    @property
    def seen(self) -> Place:
        """Records of images that ingest read but did not store, partitioned by `ingest_date=YYYY-MM-DD/`."""
        return self.home / "seen"

    @property
    def catalog_rows(self) -> Place:
        """Changed catalog rows of images that are stored already, partitioned by `ingest_date=YYYY-MM-DD/`."""
        return self.home / "catalog_rows"

    @property
    def catalogs(self) -> Place:
        """Names of the full catalogs that were read, partitioned by `ingest_date=YYYY-MM-DD/`."""
        return self.home / "catalogs"

    @property
    def ingests(self) -> Place:
        """Reports of the last ingest of each date, partitioned by `ingest_date=YYYY-MM-DD/`."""
        return self.home / "ingests"

    @property
    def label_map(self) -> Place:
        """File of the map from the shop's category texts to category_ids that the last ingest with one has kept."""
        return self.home / "label_map.csv"

    @property
    def of_runs(self) -> tuple[Place, ...]:
        """Directories to which runs write, each with one subdirectory for each ingest date or run."""
        of_dates = (self.images, self.seen, self.catalog_rows, self.catalogs, self.ingests)
        of_one = (self.predictions(""), self.selections(""), self.thumbnails(""))
        return *of_dates, *(directory.parent for directory in of_one)

    def partition(self, root: Place, ingest_date: date) -> Place:
        """Return one date's directory under `images`, `seen`, `catalog_rows`, `catalogs` or `ingests`."""
        return root / f"ingest_date={ingest_date.isoformat()}"

    def predictions(self, run_id: str) -> Place:
        """Return the directory of a run's prediction files."""
        return self.home / "predictions" / f"run_id={run_id}"

    def thumbnails(self, run_id: str) -> Place:
        """Return the directory of a run's thumbnails, partitioned by `ingest_date=YYYY-MM-DD/`."""
        return self.home / "thumbnails" / f"run_id={run_id}"

    def selections(self, run_id: str) -> Place:
        """Return the directory of a run's selection of images; a run that predicts all images has none."""
        return self.home / "selections" / f"run_id={run_id}"

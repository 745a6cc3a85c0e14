"""Delete from the home what nobody needs any more: old pictures, files of published runs, unused features, leftovers.

    shelfwise db prune --keep-runs 30 --keep-days 365

`jobs.housekeeping.partitions` says which images are deleted. The prediction files and selections of a run are deleted
when it was published more than `keep_days` ago, and so are its thumbnails, but for those of answers that still wait for
a person; those of a run that is running, has failed or is unknown are kept. Unfinished files of processes that were
killed are deleted at once.
Releases, seen/, catalog_rows/ and the dates of catalogs/ are never deleted. Catalogs themselves, which earlier versions
copied into catalogs/ of a home in a store, are.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.dataset.ingest_marks import running_ingests
from jobs.errors import RunFailed
from jobs.housekeeping.features import unused_features
from jobs.housekeeping.files import LATELY_SECONDS, FileCount, count, newest, remove
from jobs.housekeeping.partitions import delete_images, unneeded_dates
from jobs.housekeeping.records import DatabaseRecords, Records
from jobs.housekeeping.thumbnails import delete_thumbnails, unneeded_thumbnails
from jobs.storage.places import Place, Places
from jobs.storage.stores import children
from models.whole_files import temporary_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from sql.store import ProductDatabase

log = logging.getLogger(__name__)

KINDS = ("images", "predictions", "selections", "thumbnails", "features", "catalogs", "leftovers")

_COPIED_CATALOG = re.compile(r"[0-9a-f]{32}\.parquet")


@dataclass(frozen=True)
class PruneConfig:
    """Configuration of a prune of the home.

    Attributes:
        places: Directories and stores of the home.
        manifests: Paths of release.json of all releases that may be used.
        keep_days: Days for which what is no longer needed is kept, at least 1.
        dry_run: Whether files are only counted.
        now: Present moment.
    """

    places: Places
    manifests: Sequence[Place]
    keep_days: int
    dry_run: bool = False
    now: datetime | None = None

    @property
    def moment(self) -> datetime:
        """Moment before which something must have ended to be deleted."""
        return (self.now or datetime.now(UTC)) - timedelta(days=self.keep_days)

    @property
    def lately(self) -> float:
        """Moment since which nothing that was written is deleted, in seconds since 1970."""
        return (self.now or datetime.now(UTC)).timestamp() - LATELY_SECONDS


@dataclass(frozen=True)
class _Directory:
    """Files of one directory that go together, and the function that deletes one of them."""

    kind: str
    files: Sequence[Place]
    delete: Callable[[Place], None]


def records_of(database: ProductDatabase) -> Records:
    """Return what housekeeping asks a migrated database."""
    return DatabaseRecords(database)


def refuse_while_running(records: Records, places: Places) -> None:
    """Raise RunFailed if a driver works on a run, or has died and left it unfinished, or if an ingest is running."""
    _refuse_while_ingesting(places)
    for run_id, holder in records.at_work():
        raise RunFailed(
            f"run {run_id} is running in {holder}, and prune would delete files under it; wait for its end, or end it "
            f"by `shelfwise runs resume {run_id}` if that process has died, and prune again"
        )


def _refuse_while_ingesting(places: Places) -> None:
    for ingest in running_ingests(places):
        raise RunFailed(
            f"an ingest is running in {ingest.holder} since {ingest.began_at_utc:%Y-%m-%d %H:%M} UTC, and prune would "
            f"delete files under it; wait for its end, or delete {ingest.mark} if that process has died, and prune "
            "again"
        )


def run(records: Records, config: PruneConfig) -> dict[str, Any]:
    """Delete from the home what nobody needs; the same again goes on where a killed prune has ended.

    Args:
        records: The product database.
        config: What to keep.

    Returns:
        Number and bytes of the deleted files by kind, one of `KINDS`. With `dry_run`, of those that would be deleted.

    Raises:
        RunFailed: If a run or an ingest is running, or a file is damaged or cannot be deleted; what was deleted before
            stays so.
    """
    refuse_while_running(records, config.places)
    counts = dict.fromkeys(KINDS, FileCount())
    for directory in _unneeded(records, config):
        if newest(directory.files) >= config.lately:
            log.info("prune: files of %s were written lately and are kept", directory.files[0].parent)
            continue
        counts[directory.kind] += count(directory.files)
        if config.dry_run:
            continue
        refuse_while_running(records, config.places)  # a night may begin meanwhile
        for file in directory.files:
            _refuse_while_ingesting(config.places)
            directory.delete(file)
    return {kind: asdict(counts[kind]) for kind in KINDS}


def _unneeded(records: Records, config: PruneConfig) -> Iterator[_Directory]:
    """Yield the directories that nobody needs and that have files."""
    places = config.places
    for day in unneeded_dates(places, records, config.moment.date()):
        files = children(places.partition(places.images, day), "part-*.parquet")
        yield _Directory("images", files, partial(delete_images, places))
    published = records.published_before(config.moment)
    for kind, root in (("predictions", places.predictions("").parent), ("selections", places.selections("").parent)):
        for directory in children(root, "run_id=*"):
            files = children(directory, "*.parquet") if directory.name.removeprefix("run_id=") in published else []
            if files:
                yield _Directory(kind, files, _remove)
    for files in unneeded_thumbnails(places, records, published):
        yield _Directory("thumbnails", files, delete_thumbnails)
    for directory in unused_features(places, config.manifests):
        files = children(directory, "*.parquet")
        if files and newest(files) < config.moment.timestamp():
            yield _Directory("features", files, _remove)
    copied = [file for file in children(places.catalogs, "*.parquet") if _COPIED_CATALOG.fullmatch(file.name)]
    if copied and newest(copied) < config.moment.timestamp():
        yield _Directory("catalogs", copied, _remove)
    for directory in places.of_runs:
        if isinstance(directory, Path):  # a store shows no file before it is whole
            for file in temporary_files(directory):
                yield _Directory("leftovers", [file], _remove)


def _remove(file: Place) -> None:
    remove([file])

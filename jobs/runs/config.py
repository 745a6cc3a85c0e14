"""What one run is: its name, kind and dates, and what each of its steps needs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from jobs.errors import UsageError, check_name
from jobs.ingest.config import HttpLimits, ProductSource
from jobs.spark.config import SparkConfig
from jobs.storage.places import Places
from models.release import Release
from models.spec import MAX_NAME_CHARACTERS


@dataclass(frozen=True)
class RunConfig:
    """Which run it is, for publish and for the summary.

    Attributes:
        run_id: Its name; the same for a rerun.
        kind: `nightly` or `backfill`.
        run_date: The night; of a backfill, its last date.
        dates: The ingest dates that it predicts and publishes.
        max_rejected: Share of a night's new images that may be rejected, in [0, 1].
        force: Replace answers of a newer release too; never those of newer images or of people.
        category: Take only products that are now in this category or below it; empty takes all.
        only_missing: Take only images that the release has not answered.
        call: The arguments that call it again; see `jobs.cli.resume`.
    """

    run_id: str
    kind: str
    run_date: date
    dates: tuple[date, ...] = field(default_factory=tuple)
    max_rejected: float = 0.2
    force: bool = False
    category: str = ""
    only_missing: bool = False
    call: tuple[str, ...] = ()

    @property
    def selects(self) -> bool:
        """Whether it takes only some images of its partitions."""
        return bool(self.category) or self.only_missing

    def __post_init__(self) -> None:
        """Refuse a run_id that could leave its directory, and a share outside [0, 1]."""
        check_name("run id", self.run_id)
        if not 0.0 <= self.max_rejected <= 1.0:
            raise UsageError(f"--max-rejected is a share between 0 and 1, received {self.max_rejected}")


def nightly_run_id(run_date: date) -> str:
    """Return the name of a night, the same whenever it is run again: `nightly-2026-11-01`."""
    return f"nightly-{run_date}"


def backfill_run_id(first: date, last: date, release_id: str, *, category: str = "", only_missing: bool = False) -> str:
    """Return the name of a backfill: its range, its release, and which part of the catalog it takes."""
    parts = ["backfill", str(first), str(last), release_id, *([category] if category else [])]
    name = "-".join([*parts, "missing"] if only_missing else parts)
    return name if len(name) <= MAX_NAME_CHARACTERS else _with_digest(name, name)


def shadow_run_id(run_id: str, release_id: str) -> str:
    """Return the name under which a challenger answers a run; no other run and no other challenger has it."""
    # Always with the digest: both names may hold dots, and a run may be called `night.shadow.shop-2` by its caller.
    return _with_digest(f"{run_id}.shadow.{release_id}", run_id, release_id)


def _with_digest(name: str, *of: str) -> str:
    """Cut a name so that it ends with a digest of what it must tell apart from everything else."""
    digest = hashlib.sha256("\0".join(of).encode()).hexdigest()[:16]
    return f"{name[: MAX_NAME_CHARACTERS - len(digest) - 1]}-{digest}"


@dataclass(frozen=True)
class Workshop:
    """What every step needs.

    Attributes:
        places: Where state lives.
        spark: How Spark is started.
        release: The release that predicts, verified.
        release_dir: Its directory.
        products: The table that the catalog `products` means.
        batch_size: Images a call of the networks; None finds out on an accelerator.
        http: How images are fetched from web servers.
        precision: `auto`, `float32` or `mixed_float16`.
        release_name: What finds the release again when its directory is gone; empty is the directory.
    """

    places: Places
    spark: SparkConfig
    release: Release
    release_dir: Path
    products: ProductSource
    batch_size: int | None = None
    http: HttpLimits = field(default_factory=HttpLimits)
    precision: str = "auto"
    release_name: str = ""

"""Configuration of a run: its kind, dates and options, and the resources that its steps share."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from jobs.errors import UsageError, check_name
from jobs.ingest.config import HttpLimits, IngestConfig, ProductSource
from jobs.spark.config import SparkConfig
from jobs.storage.places import Places
from models.release import Release
from sql.records import SharedPictures


@dataclass(frozen=True)
class RunConfig:
    """Configuration of a run: its identifier, kind, dates and options.

    Attributes:
        run_id: Identifier of the run; a rerun has the same.
        kind: `nightly` or `backfill`.
        run_date: Date of the night; for a backfill, its last date.
        dates: Ingest dates to predict and publish.
        max_rejected: Largest share of a night's new images that may be rejected, in [0, 1].
        force: Whether to replace predictions of a newer release too; those of newer images and decisions of people are
            never replaced.
        category: Select only products that are now in this category or below it; empty selects all.
        only_missing: Select only images that the release has not predicted yet.
        include_left: Let a backfill also select images of products that no catalog names any more.
        allow_shift: Whether to publish answers for images that are unlike those that the release was calibrated on, as
            far as whole nights, partitions and categories would be held back; single images still wait for a person.
        call: Command-line arguments that start the run again; see `jobs.cli.resume`.
    """

    run_id: str
    kind: str
    run_date: date
    dates: tuple[date, ...] = field(default_factory=tuple)
    max_rejected: float = 0.2
    force: bool = False
    category: str = ""
    only_missing: bool = False
    include_left: bool = False
    allow_shift: bool = False
    call: tuple[str, ...] = ()

    @property
    def selects(self) -> bool:
        """Whether the run predicts only a selection of its partitions' images."""
        return bool(self.category) or self.only_missing

    @property
    def leaves_out(self) -> bool:
        """Whether the run predicts its partitions without the images of products that have left."""
        return self.kind == "backfill" and not self.selects and not self.include_left

    def __post_init__(self) -> None:
        """Refuse a run_id that would be a path outside its directory, and a share outside [0, 1]."""
        check_name("run id", self.run_id)
        if not 0.0 <= self.max_rejected <= 1.0:
            raise UsageError(f"--max-rejected is a share between 0 and 1, received {self.max_rejected}")


@dataclass(frozen=True)
class RunContext:
    """Configuration and resources that all steps of a run share: home, Spark, release, limits.

    Attributes:
        places: Directories and stores of the home.
        spark: Settings of the Spark session.
        release: Verified release that predicts.
        release_dir: Directory of the release.
        products: Database table that the catalog name `products` stands for.
        batch_size: Images per call of the networks; None searches for the best size on an accelerator.
        http: Limits for fetching images from web servers.
        max_megapixels: Millions of pixels that ingest decodes of an image.
        precision: `auto`, `float32` or `mixed_float16`; `auto` may choose bfloat16 on processors.
        engine: `auto`, `openvino` or `keras`.
        engines_dir: Directory of releases in OpenVINO's format; None is `engines` in the home's local directory.
        release_name: Name or URI that finds the release if its directory is gone; empty means the directory.
        shared_picture_groups: Fewest groups of products whose same picture holds their answers back; 0 looks for none.
    """

    places: Places
    spark: SparkConfig
    release: Release
    release_dir: Path
    products: ProductSource
    batch_size: int | None = None
    http: HttpLimits = field(default_factory=HttpLimits)
    max_megapixels: int = IngestConfig.max_megapixels
    precision: str = "auto"
    engine: str = "auto"
    engines_dir: Path | None = None
    release_name: str = ""
    shared_picture_groups: int = SharedPictures.groups

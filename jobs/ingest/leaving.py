"""How many products leave a catalog in one night, and the refusal of a catalog that lacks too many of its products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.errors import RunRefused
from jobs.ingest.config import FEWEST_LEFT, IngestConfig
from jobs.ingest.full_catalogs import last_full_night
from jobs.ingest.membership import CatalogNight

if TYPE_CHECKING:
    from pyspark import Accumulator
    from pyspark.sql import DataFrame, SparkSession


class _ByPart:
    """Joins the dictionaries of an accumulator of Spark; a part that is computed again counts once."""

    def zero(self, value: dict[int, int]) -> dict[int, int]:
        """Return what no task has added to."""
        return {}

    def addInPlace(self, value1: dict[int, int], value2: dict[int, int]) -> dict[int, int]:
        """Join two dictionaries."""
        return value1 | value2


class KeptProducts:
    """Counts, while the rows are compared, the first images that a catalog named before and names now.

    A product has one image 0 at most. So their number is a lower bound of the products that stay, and nearly always the
    number itself; counting the products would need one more pass over all rows.
    """

    def __init__(self, spark: SparkSession) -> None:
        self._counts: Accumulator[dict[int, int]]
        self._counts = spark.sparkContext.accumulator({}, _ByPart())  # type: ignore[arg-type]

    def add(self, count: int) -> None:
        """Record, in a task, the count of the task's part of the rows."""
        from pyspark import TaskContext

        context = TaskContext.get()
        self._counts.add({context.partitionId() if context else 0: count})

    @property
    def at_least(self) -> int:
        """The count so far; complete once all rows were compared."""
        return sum(self._counts.value.values())


@dataclass(frozen=True)
class Left:
    """What leaves a catalog in one night.

    Attributes:
        images: Images that the catalog named before and does not name now.
        products: Products of these of which it names no image now.
    """

    images: int = 0
    products: int = 0


def count_left(changed: DataFrame, catalog: DataFrame, images: int) -> Left:
    """Count the products that leave.

    Args:
        changed: Changed rows, as `changed_rows` returns them.
        catalog: All rows of the catalog.
        images: Number of the rows of `changed` that are not in the catalog.
    """
    if not images:
        return Left()
    candidates = changed.where("NOT in_catalog").select("product_id").distinct()
    still_named = catalog.select("product_id").join(candidates, on="product_id", how="left_semi").distinct()
    return Left(images, candidates.count() - still_named.count())


def check_left(left: Left, rows: DataFrame, night: CatalogNight, config: IngestConfig, kept: KeptProducts) -> None:
    """Refuse a full catalog, before anything is written, that lacks too many of the products that it named before.

    Args:
        left: What leaves.
        rows: All compared rows, as `compared` returns them; counted only if the catalog is likely to be refused.
        night: The ingest date and the catalog.
        config: The share of products that may leave.
        kept: Lower bound of the products that stay.

    Raises:
        RunRefused: If more than `max_left` of the products and more than `FEWEST_LEFT` leave, or all of them.
    """
    at_least = left.products + kept.at_least
    few = left.products <= max(FEWEST_LEFT, config.max_left * at_least)
    if not left.products or config.max_left >= 1 or (few and kept.at_least):
        return
    named = rows.where(night.named_before_sql).select("product_id").distinct().count()
    if left.products == named:
        raise RunRefused(
            f"catalog {night.catalog_name!r}{_last_read(night, config)} named {named:,} products and now names none of "
            f"them: these are two catalogs of one name with other products; give this one its own --catalog-name, or "
            "--max-left 1 if all of them left; nothing was written"
        )
    if left.products > max(FEWEST_LEFT, config.max_left * named):
        raise RunRefused(
            f"catalog {night.catalog_name!r}{_last_read(night, config)} named {named:,} products and now lacks "
            f"{left.products:,} of them ({left.products / named:.0%}), more than the {config.max_left:.0%} that "
            "--max-left allows; correct the catalog, or raise --max-left if they left, give --partial if it names "
            "changes only, or --catalog-name if it is another catalog; nothing was written"
        )


def _last_read(night: CatalogNight, config: IngestConfig) -> str:
    day = last_full_night(config.places, night.day, night.catalog_name)
    return f" (last read in full for {day})" if day else ""

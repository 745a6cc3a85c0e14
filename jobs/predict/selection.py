"""Selection of the images that a backfill predicts: all images of its partitions, or those that options choose.

Reads the keys of images/ingest_date=D/ and looks them up in the product database. Writes selections/run_id=R/, one file
of keys per shard that contains a selected image. No image is copied: predict reads the same shards and decodes only the
selected rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.dataset.schema import IMAGES
from jobs.dataset.shards import ingest_date_of, row_count, shards, sound, whole_file, whole_table
from jobs.predict.config import PredictConfig
from jobs.storage.places import Place
from jobs.storage.stores import children, delete, on_disk
from sql.selection import answered_images, products_under, refuse_unknown_category

if TYPE_CHECKING:
    from sql.store import ProductDatabase

KEYS = ("product_id", "image_no", "image_sha256")
Key = tuple[str, int, str]

_SCHEMA = pa.schema([IMAGES.field(name) for name in KEYS])
_CHUNK = 5_000


@dataclass(frozen=True)
class Selected:
    """The images of one shard that a run predicts: all, or those that a selection chose.

    Attributes:
        shard: File of the dataset.
        images: Number of selected images.
        keys: (product_id, image_no, image_sha256) of the selected images; None selects all.
    """

    shard: Place
    images: int
    keys: frozenset[Key] | None = None

    @property
    def digest(self) -> str:
        """Digest of the selected keys, empty for all images: predictions for another selection are not reused."""
        if self.keys is None:
            return ""
        return hashlib.sha256(repr(sorted(self.keys)).encode()).hexdigest()[:16]


def choose(
    database: ProductDatabase | None,
    config: PredictConfig,
    release_id: str,
    *,
    category: str = "",
    only_missing: bool = False,
) -> list[Selected]:
    """Select the images that a run predicts: all of its partitions', or those that a backfill's options choose.

    Args:
        database: Migrated database; None if there is none yet: then no product has a category or a prediction.
        config: Configuration with the run's dates and places.
        release_id: Release that predicts.
        category: Select only products that are now in this category or below it; empty selects all.
        only_missing: Select only images that the release has not predicted yet.

    Returns:
        Shards with at least one selected image, in order of date and name.

    Raises:
        UnknownNameError: If the taxonomy does not contain the category.
    """
    every = shards(config.places.images, config.dates)
    if not (category or only_missing):
        return [Selected(shard, row_count([shard])) for shard in every]
    if database is not None and category:
        refuse_unknown_category(database, category)
    chosen = ((shard, frozenset(_wanted(database, shard, release_id, category, only_missing))) for shard in every)
    return [Selected(shard, len(keys), keys) for shard, keys in chosen if keys]


def write(config: PredictConfig, selected: list[Selected]) -> None:
    """Write the selection files of a run, and delete those of an earlier selection of the same run."""
    directory = config.places.selections(config.run_id)
    kept = {_name(each.shard) for each in selected}
    for path in children(directory, "*.parquet"):
        if path.name not in kept:
            delete(path)
    for each in selected:
        columns = list(zip(*sorted(each.keys or ()), strict=True))
        arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
        with whole_file(directory / _name(each.shard), _SCHEMA) as writer:
            writer.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA))


def of_shard(config: PredictConfig, shard: Place) -> Selected:
    """Return the selected images of a shard that a run predicts; read from the selection file if there is one."""
    if not config.selects:
        return Selected(shard, row_count([shard]))
    table = whole_table(config.places.selections(config.run_id) / _name(shard), _keys)
    keys = frozenset(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return Selected(shard, len(keys), keys)


def of_run(config: PredictConfig) -> list[Selected]:
    """Return the selected images that a run predicts, by shard, in order of date and name."""
    every = shards(config.places.images, config.dates)
    if config.selects:
        chosen = config.places.selections(config.run_id)
        names = {path.name for path in children(chosen, "*.parquet")}
        every = [shard for shard in every if _name(shard) in names]
    return [of_shard(config, shard) for shard in every]


def _keys(file: Any) -> pa.Table:
    return pq.read_table(file, schema=_SCHEMA)


def _name(shard: Place) -> str:
    return f"{ingest_date_of(shard)}--{shard.name}"


def _wanted(
    database: ProductDatabase | None, shard: Place, release_id: str, category: str, only_missing: bool
) -> Iterator[Key]:
    """Yield the keys of a shard's images that are in the category and, with `only_missing`, not predicted yet."""
    with on_disk(shard) as path, sound(shard), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_CHUNK, columns=list(KEYS)):
            keys = list(zip(*(batch.column(name).to_pylist() for name in KEYS), strict=True))
            products = [product_id for product_id, _, _ in keys]
            if category:
                under = products_under(database, category, products) if database else set()
                keys = [key for key in keys if key[0] in under]
            if only_missing and database:
                answered = answered_images(database, release_id, products)
                keys = [key for key in keys if (key[0], key[2]) not in answered]
            yield from keys

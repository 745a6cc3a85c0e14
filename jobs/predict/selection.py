"""Selection of the images that a backfill predicts: all images of its partitions, or those that options choose.

Reads the keys of images/ingest_date=D/ and looks them up in the product database. Writes selections/run_id=R/, one file
of keys per shard that contains a selected image. No image is copied: predict reads the same shards and decodes only the
selected rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.dataset.schema import IMAGE_KEY, IMAGES, ImageKey, image_keys
from jobs.dataset.shards import columns_of, ingest_date_of, row_count, shards, whole_file, whole_table
from jobs.predict.config import PredictConfig
from jobs.storage.places import Place
from jobs.storage.stores import children, delete

if TYPE_CHECKING:
    from sql.selection import StoredImage
    from sql.store import ProductDatabase

_SCHEMA = pa.schema([IMAGES.field(name) for name in IMAGE_KEY])
_CHUNK = 5_000


@dataclass(frozen=True)
class Selected:
    """The images of one shard that a run predicts: all, or those that a selection chose.

    Attributes:
        shard: File of the dataset.
        images: Number of selected images.
        keys: Keys of the selected images; None selects all.
    """

    shard: Place
    images: int
    keys: frozenset[ImageKey] | None = None

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
        only_missing: Select only images that the release has not predicted yet. Neither option selects pictures that
            were replaced or have left since.

    Returns:
        Shards with at least one selected image, in order of date and name.

    Raises:
        UnknownNameError: If the taxonomy does not contain the category.
        RunFailed: If a shard is damaged; the message names the remedy.
    """
    from sql.selection import refuse_unknown_category  # here, because executors read selections and have no database

    every = shards(config.places.images, config.dates)
    if not (category or only_missing):
        return [Selected(shard, row_count([shard])) for shard in every]
    if database is not None and category:
        refuse_unknown_category(database, category)
    selected = []
    for shard, columns in columns_of(every, [*IMAGE_KEY, "ingest_no"]):
        day = ingest_date_of(shard)
        images = [(*key, day, number) for key, number in zip(image_keys(columns), columns["ingest_no"], strict=True)]
        keys = frozenset(_wanted(database, images, release_id, category, only_missing))
        if keys:
            selected.append(Selected(shard, len(keys), keys))
    return selected


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


def of_shard(config: PredictConfig, shard: Place, images: int | None = None) -> Selected:
    """Return the selected images of a shard that a run predicts.

    Args:
        config: Configuration of the job; the selection file is read if the run selects images.
        shard: File of the dataset.
        images: Number of images in the shard; None reads it from the shard's footer.
    """
    if not config.selects:
        return Selected(shard, row_count([shard]) if images is None else images)
    table = whole_table(config.places.selections(config.run_id) / _name(shard), _keys)
    keys = frozenset(image_keys(table.to_pydict()))
    return Selected(shard, len(keys), keys)


def of_run(config: PredictConfig, known: Iterable[Selected] = ()) -> list[Selected]:
    """Return the selected images that a run predicts, by shard, in order of date and name.

    Args:
        config: Configuration of the job.
        known: Selected images of shards that the caller has read; only the other shards are read.
    """
    by_shard = {chosen.shard: chosen for chosen in known}
    every = shards(config.places.images, config.dates)
    if config.selects:
        chosen = config.places.selections(config.run_id)
        names = {path.name for path in children(chosen, "*.parquet")}
        every = [shard for shard in every if _name(shard) in names]
    return [by_shard.get(shard) or of_shard(config, shard) for shard in every]


def _keys(file: Any) -> pa.Table:
    return pq.read_table(file, schema=_SCHEMA)


def _name(shard: Place) -> str:
    return f"{ingest_date_of(shard)}--{shard.name}"


def _wanted(
    database: ProductDatabase | None, images: Sequence[StoredImage], release_id: str, category: str, only_missing: bool
) -> Iterator[ImageKey]:
    """Yield the keys of images that are in the category and, with `only_missing`, not predicted yet.

    A picture that was replaced or has left is not among them, because the database would give it no say.
    """
    from sql.selection import answered_images, products_under, replaced_images

    for start in range(0, len(images), _CHUNK):
        asked = images[start : start + _CHUNK]
        products = [product_id for product_id, *_ in asked]
        wanted = [(product_id, image_no, content) for product_id, image_no, content, *_ in asked]
        if category:
            under = products_under(database, category, products) if database else set()
            wanted = [key for key in wanted if key[0] in under]
        if only_missing and database:
            answered = answered_images(database, release_id, products)
            wanted = [key for key in wanted if (key[0], key[2]) not in answered]
        if wanted and database:
            replaced = replaced_images(database, asked)
            wanted = [key for key in wanted if key not in replaced]
        yield from wanted

"""Selection of the images that a backfill predicts: those of products that have not left, or those that options choose.

Reads the keys of images/ingest_date=D/ and looks them up in the product database. Writes selections/run_id=R/, one file
of keys per shard of which not all images are selected, or, where options choose, per shard that contains a selected
image. No image is copied: predict reads the same shards and decodes only the selected rows.
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
from jobs.storage.stores import children, delete, is_file

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
    include_left: bool = False,
) -> list[Selected]:
    """Select the images that a backfill predicts, of its partitions.

    Args:
        database: Migrated database; None if there is none yet: then no product has a category or a prediction.
        config: Configuration with the run's dates and places.
        release_id: Release that predicts.
        category: Select only products that are now in this category or below it; empty selects all.
        only_missing: Select only images that the release has not predicted yet. Neither option selects pictures that
            were replaced or have left since.
        include_left: Also select images of products that no catalog names any more.

    Returns:
        Shards with at least one selected image, in order of date and name; without `category` and `only_missing` all
        shards, also those whose products have all left.

    Raises:
        UnknownNameError: If the taxonomy does not contain the category.
        RunFailed: If a shard is damaged; the message names the remedy.
    """
    from sql.selection import refuse_unknown_category  # here, because executors read selections and have no database

    every = shards(config.places.images, config.dates)
    if not (category or only_missing):
        return _without_left(None if include_left else database, every)
    if database is not None and category:
        refuse_unknown_category(database, category)
    selected = []
    for shard, columns in columns_of(every, [*IMAGE_KEY, "ingest_no"]):
        day = ingest_date_of(shard)
        images = [(*key, day, number) for key, number in zip(image_keys(columns), columns["ingest_no"], strict=True)]
        wanted = _Wanted(release_id, category, only_missing, include_left)
        keys = frozenset(_chosen(database, images, wanted))
        if keys:
            selected.append(Selected(shard, len(keys), keys))
    return selected


def write(config: PredictConfig, selected: list[Selected]) -> None:
    """Write the selection files of a run, and delete those of an earlier selection of the same run."""
    directory = config.places.selections(config.run_id)
    selected = [each for each in selected if each.keys is not None]
    kept = {_name(each.shard) for each in selected}
    for path in children(directory, "*.parquet"):
        if path.name not in kept:
            delete(path)
    for each in selected:
        keys = sorted(each.keys or ())
        arrays = [pa.array([key[place] for key in keys], field.type) for place, field in enumerate(_SCHEMA)]
        with whole_file(directory / _name(each.shard), _SCHEMA) as writer:
            writer.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA))


def of_shard(config: PredictConfig, shard: Place, images: int | None = None) -> Selected:
    """Return the selected images of a shard that a run predicts.

    Args:
        config: Configuration of the job; the selection file is read if the run selects images or leaves some out.
        shard: File of the dataset.
        images: Number of images in the shard; None reads it from the shard's footer.
    """
    file = config.places.selections(config.run_id) / _name(shard)
    if not (config.selects or (config.leaves_out and is_file(file))):
        return Selected(shard, row_count([shard]) if images is None else images)
    table = whole_table(file, _keys)
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
        names = {path.name for path in children(config.places.selections(config.run_id), "*.parquet")}
        every = [shard for shard in every if _name(shard) in names]
    chosen = [by_shard.get(shard) or of_shard(config, shard) for shard in every]
    return [each for each in chosen if each.keys is None or each.keys]


def _keys(file: Any) -> pa.Table:
    return pq.read_table(file, schema=_SCHEMA)


def _name(shard: Place) -> str:
    return f"{ingest_date_of(shard)}--{shard.name}"


def _without_left(database: ProductDatabase | None, every: Sequence[Place]) -> list[Selected]:
    """Return shards without the images of products that have left; a shard with none of these is selected whole."""
    from sql.selection import any_has_left, left_since

    if database is None or not any_has_left(database):
        return [Selected(shard, row_count([shard])) for shard in every]
    selected = []
    for shard, columns in columns_of(every, IMAGE_KEY):
        day, keys = ingest_date_of(shard), list(image_keys(columns))
        left: set[ImageKey] = set()
        for start in range(0, len(keys), _CHUNK):
            asked = keys[start : start + _CHUNK]
            gone = left_since(database, day, {product_id for product_id, *_ in asked})
            left.update(key for key in asked if key[0] in gone)
        kept = frozenset(key for key in keys if key not in left) if left else None
        selected.append(Selected(shard, len(keys) if kept is None else len(kept), kept))
    return selected


@dataclass(frozen=True)
class _Wanted:
    """What `choose` selects by the options of a backfill."""

    release_id: str
    category: str
    only_missing: bool
    include_left: bool


def _chosen(database: ProductDatabase | None, images: Sequence[StoredImage], wanted: _Wanted) -> Iterator[ImageKey]:
    """Yield the keys of images that are in the category and, with `only_missing`, not predicted yet.

    A picture that was replaced or has left is not among them, because the database would give it no say.
    """
    from sql.selection import answered_images, products_under, replaced_images

    left = wanted.include_left
    for start in range(0, len(images), _CHUNK):
        asked = images[start : start + _CHUNK]
        products = [product_id for product_id, *_ in asked]
        keys = [(product_id, image_no, content) for product_id, image_no, content, *_ in asked]
        if wanted.category:
            under = products_under(database, wanted.category, products, include_left=left) if database else set()
            keys = [key for key in keys if key[0] in under]
        if wanted.only_missing and database:
            answered = answered_images(database, wanted.release_id, products)
            keys = [key for key in keys if (key[0], key[2]) not in answered]
        if keys and database:
            replaced = replaced_images(database, asked, include_left=left)
            keys = [key for key in keys if key not in replaced]
        yield from keys

"""Features of labelled images: what a frozen backbone computed of each, kept as Parquet files in the home.

Reads images/ingest_date=*/. Writes features/ARCHITECTURE-PX-KEY/part-*.parquet: one row for each content of an image.
The key contains all that the features depend on, so that the next run computes new images only. Each file appears
whole, while the run goes on: what a killed run has computed is kept. Each run reads all files of its keys first and
compares the checksums of their pages. The directory is a cache and may be deleted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.dataset.labels import LabelledImage
from jobs.dataset.shards import whole_file
from jobs.errors import RunFailed
from jobs.evaluation.config import Reading
from jobs.evaluation.image_predictions import decoded_batches, memory_fault_explained
from jobs.storage.places import Places
from models.spec import Images
from models.temporary import temporary_directory

VERSION = 1
"""Version of these files, and of how an image becomes a backbone's input."""

FILE_ROWS = 512
"""Images per file: a killed run loses at most the features of so many."""

_METADATA = b"shelfwise.features"

log = logging.getLogger(__name__)

Features = NDArray[np.float32]
Watch = Callable[[int], None]
"""Callback with the number of images whose features were computed."""


class Extractor(Protocol):
    """Interface of what computes features, see `models.serving.features.FeatureExtractor`."""

    @property
    def width(self) -> int:
        """Number of features of an image."""

    @property
    def side_px(self) -> int:
        """Side of the square images, in pixels."""

    def __call__(self, images: Images) -> Features:
        """Return the features of a batch, float32 (batch, features)."""


@dataclass(frozen=True)
class FeatureKey:
    """All that the features of an image depend on, beside the image.

    Attributes:
        architecture: Name of the backbone's architecture.
        backbone_sha256: SHA-256 of the backbone's weights.
        input_px: Side of the network's square input, in pixels.
        decode_px: Side of the squares to which images are decoded, in pixels; those of a release are as large as its
            largest input.
        preprocessing: Value range of the input, one of `models.spec.PREPROCESSING`.
        engine: What computes: openvino, or a backend of Keras: tensorflow, jax or torch.
        precision: Type in which it computes.
        version: Version of the files.
        middles: Number of earlier feature maps whose middles are joined, see `models.spec.Head`.
    """

    architecture: str
    backbone_sha256: str
    input_px: int
    decode_px: int
    preprocessing: str
    engine: str
    precision: str = "float32"
    version: int = VERSION
    middles: int = 0

    @property
    def text(self) -> str:
        """The key as one line of JSON, as it is stored in each file; without `middles` where there are none."""
        values = {name: value for name, value in asdict(self).items() if (name, value) != ("middles", 0)}
        return json.dumps(values, sort_keys=True)

    def directory(self, places: Places) -> Path:
        """Return the directory of the files with these features."""
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        return places.features / f"{self.architecture}-{self.input_px}-{digest[:16]}"


class FeatureStore:
    """The files of one key, and which images they contain."""

    def __init__(self, directory: Path, key: FeatureKey, width: int, *, last_width: int | None = None) -> None:
        """List the images whose features are there; files that cannot be used are named, and deleted.

        A damaged file, or one of another version, is no loss: its images are computed again.

        Args:
            directory: Directory of the files; need not exist.
            key: What the features depend on.
            width: Number of features of an image.
            last_width: Number of those of the last feature map, which come first; None if there is no other.
        """
        self.engine = key.engine
        """What computes the features."""
        self._directory, self._width = directory, width
        self._last_width = last_width or width
        features = pa.list_(pa.float32(), width)
        fields = [pa.field("image_sha256", pa.string(), nullable=False), pa.field("features", features, nullable=False)]
        self._schema = pa.schema(fields, metadata={_METADATA: key.text})
        self._files: dict[Path, list[str]] = {}
        self._waiting: dict[str, Features] = {}
        for file in sorted(directory.glob("part-*.parquet")):
            try:
                self._files[file] = [str(content) for content in self._table(file).column(0).to_pylist()]
            except MemoryError:  # pyarrow's own is also an ArrowException, and the file is not its cause
                raise
            except (pa.ArrowException, OSError, ValueError) as error:
                detail = (str(error) or type(error).__name__).splitlines()[0][:200]
                log.warning("%s cannot be used (%s); it is deleted, and its features are computed again", file, detail)
                file.unlink(missing_ok=True)

    def contents(self) -> set[str]:
        """Return the image_sha256 of all images whose features are there."""
        return {content for contents in self._files.values() for content in contents} | set(self._waiting)

    def add(self, contents: Sequence[str], features: Features) -> None:
        """Add the features of some images, float32 (images, features); write a file when there are enough."""
        self._waiting |= dict(zip(contents, features, strict=True))
        if len(self._waiting) >= FILE_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the added features as one file."""
        if not self._waiting:
            return
        contents = list(self._waiting)
        name = hashlib.sha256("\n".join(contents).encode()).hexdigest()[:16]
        target = self._directory / f"part-{name}-{len(contents):06d}.parquet"
        values = pa.array(np.stack(list(self._waiting.values())).ravel(), pa.float32())
        columns = [pa.array(contents, pa.string()), pa.FixedSizeListArray.from_arrays(values, self._width)]
        with temporary_directory(self._directory.parent) as scratch:
            with whole_file(scratch / target.name, self._schema, checksums=True) as writer:
                writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
            self._directory.mkdir(exist_ok=True)
            os.replace(scratch / target.name, target)
        self._files[target], self._waiting = contents, {}

    def load(self, contents: Sequence[str]) -> Features:
        """Return the features of some images in their order, float32 (images, features); file by file.

        Raises:
            RunFailed: If a file was deleted or damaged meanwhile; run the same command again.
        """
        rows: defaultdict[str, list[int]] = defaultdict(list)
        for row, content in enumerate(contents):
            rows[content].append(row)
        features = np.full((len(contents), self._width), np.nan, np.float32)
        for file, there in self._files.items():
            positions = [number for number, content in enumerate(there) if content in rows]
            if not positions:
                continue
            try:
                column = self._table(file).column(1).combine_chunks()
                values = column.values.to_numpy(zero_copy_only=False).reshape(len(there), self._width)
            except MemoryError:
                raise
            except (pa.ArrowException, OSError, ValueError) as error:
                raise RunFailed(f"{file} cannot be read any longer; run the same command again") from error
            for number in positions:
                features[rows[there[number]]] = values[number]
        return features

    def load_last(self, contents: Sequence[str]) -> Features:
        """Return those of the last feature map, as serving gives them, float32 (images, features); see `load`."""
        return np.ascontiguousarray(self.load(contents)[:, : self._last_width])

    def _table(self, file: Path) -> pa.Table:
        """Return a file's rows.

        Raises:
            ValueError: If it is of another version or width.
            pa.ArrowException, OSError: If a part of it is damaged; files of earlier versions have no checksums.
        """
        with pq.ParquetFile(file, page_checksum_verification=True) as opened:
            schema = opened.schema_arrow
            if (schema.metadata or {}).get(_METADATA) != self._schema.metadata[_METADATA] or schema != self._schema:
                raise ValueError("another version wrote it")
            return opened.read()


def key_in(directory: Path) -> FeatureKey | None:
    """Return the key of the features in a directory; None if no file has one of this version."""
    for file in sorted(directory.glob("part-*.parquet")):
        try:
            values = json.loads((pq.read_schema(file).metadata or {})[_METADATA])
            return FeatureKey(**values)
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
            continue
    return None


def missing(store: FeatureStore, images: Sequence[LabelledImage]) -> list[LabelledImage]:
    """Return the images whose features are not in a store, each content once."""
    there = store.contents()
    return list({image.image_sha256: image for image in images if image.image_sha256 not in there}.values())


def add_features(
    store: FeatureStore,
    images: Sequence[LabelledImage],
    extractor: Callable[[], Extractor],
    reading: Reading,
    watch: Callable[[int], Watch],
) -> None:
    """Compute the features of the images that are not in a store, each content once, and add them.

    Images that do not decode are left out.

    Args:
        store: Features of the backbone.
        images: Labelled images.
        extractor: Makes the backbone; called only if there is something to compute.
        reading: Settings for reading images.
        watch: Called with the number of images to compute; returns the callback for their progress.

    Raises:
        RunFailed: If a dataset file is damaged, or a batch does not fit the memory; what is computed is kept.
    """
    there, lacking = store.contents(), missing(store, images)
    if there:
        log.info("features: those of %s images are computed already", len({i.image_sha256 for i in images} & there))
    if not lacking:
        return
    compute, progress, done = extractor(), watch(len(lacking)), 0
    try:
        for decoded, squares, failed in decoded_batches(lacking, reading, side_px=compute.side_px):
            if decoded:
                with memory_fault_explained(len(squares), kept=", what is computed is kept"):
                    features = compute(squares)
                store.add([image.image_sha256 for image in decoded], features)
            done += len(decoded) + failed
            progress(done)
    finally:
        store.flush()


def usable(images: Sequence[LabelledImage], stores: Mapping[str, FeatureStore]) -> list[LabelledImage]:
    """Return the images whose features are in all stores; the others do not decode."""
    there: set[Any] = set.intersection(*(store.contents() for store in stores.values()))
    return [image for image in images if image.image_sha256 in there]

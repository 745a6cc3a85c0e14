"""Files of the home and of a catalog that are sound but of another shape, or damaged: one sentence, or made anew."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from upath import UPath

from jobs.dataset.partitions import partition
from jobs.dataset.schema import CATALOG_ROWS, PREDICTIONS, SEEN
from jobs.errors import RunFailed, UsageError
from jobs.ingest import catalog
from jobs.predict import tuning_file
from jobs.runs import publish
from jobs.runs.gates import RunGates
from jobs.storage.places import Places
from sql.records import PRODUCT_COLUMNS, PublishCounts
from sql.schema.products import category_predictions
from sql.store import open_database
from tests.dataset_rows import image_row, without_groups
from tests.sql.runs import RELEASE, SHIRT
from tests.sql.runs import publish as publish_rows

DAY = date(2026, 11, 1)


def written(directory: Path, schema: pa.Schema, lacking: str) -> Path:
    """Write a shard without one of its columns."""
    directory.mkdir(parents=True)
    pq.write_table(schema.remove(schema.get_field_index(lacking)).empty_table(), directory / "part-1.parquet")
    return directory / "part-1.parquet"


@pytest.mark.parametrize("lacking", ["outcome", "ingest_no", "detail"])
def test_a_seen_file_of_another_version_is_named(tmp_path: Path, lacking: str) -> None:
    places = Places(tmp_path)
    written(places.partition(places.seen, DAY), SEEN, lacking)  # type: ignore[arg-type]
    with pytest.raises(RunFailed, match=f"part-1.parquet was written by another version: it lacks {lacking}; delete"):
        partition(places, DAY)


@pytest.mark.parametrize("lacking", ["title", "ingest_no"])
def test_a_catalog_rows_file_of_another_version_is_named(tmp_path: Path, lacking: str) -> None:
    file = written(tmp_path / "ingest_date=2026-11-01", CATALOG_ROWS, lacking)
    with pytest.raises(RunFailed, match=f"part-1.parquet was written by another version: it lacks {lacking}; delete"):
        list(publish.product_rows(publish.RunFiles((), (), (file,), 0)))


def test_files_without_groups_are_published_as_null(tmp_path: Path) -> None:
    """The version before wrote them."""
    night = tmp_path / "ingest_date=2026-11-01"
    for number, schema in enumerate((CATALOG_ROWS, PREDICTIONS)):
        row = {**image_row(f"p{number}", title="a title", group_id="g"), "ingest_date": DAY, "release_id": "r"}
        night.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist([row], schema), night / f"part-{number}.parquet")
    files = publish.RunFiles((night / "part-1.parquet",), (), (night / "part-0.parquet",), 1)
    rows = [row for batch in publish.product_rows(files) for row in batch]
    assert [row[0] for row in rows] == ["p1", "p0"]
    assert [row[PRODUCT_COLUMNS.index("group_id")] for row in rows] == ["g", "g"]
    without_groups(tmp_path)
    former = [row for batch in publish.product_rows(files) for row in batch]
    assert former == [tuple(None if value == "g" else value for value in row) for row in rows]
    assert [row[0] for batch in publish.prediction_rows(files, RunGates("", "open")) for row in batch] == ["p1"]


FIRST_COLUMNS = (
    *("product_id", "release_id", "image_sha256", "image_no", "image_uri", "title", "category", "updated_at"),
    *("ingest_date", "ingest_no", "category_id", "confidence", "status", "top_k", "by_network", "reason", "detail"),
)
"""Columns of the prediction files of the first version."""


@pytest.mark.parametrize(
    "later",
    [
        (),
        ("group_id",),
        ("group_id", "catalog_name"),
        ("group_id", "catalog_name", "review_reason", "foreign_score"),
    ],
)
def test_prediction_files_of_each_earlier_version_are_published(tmp_path: Path, later: tuple[str, ...]) -> None:
    row = dict.fromkeys(PREDICTIONS.names) | {"product_id": "p", "release_id": RELEASE.release_id, "image_no": 0}
    row |= {"image_sha256": "0" * 64, "image_uri": "p.jpg", "ingest_date": DAY, "ingest_no": 1, "status": "review"}
    row |= {"category_id": SHIRT, "confidence": 0.5, "top_k": f'[["{SHIRT}", 0.5]]', "by_network": "{}"}
    row |= {"review_reason": "below_threshold"}
    table = pa.Table.from_pylist([row], PREDICTIONS).select([*FIRST_COLUMNS, *later])
    pq.write_table(table, tmp_path / "part-1.parquet")
    database = open_database(f"sqlite:///{tmp_path / 'shelfwise.db'}")
    database.upgrade()

    def publish_once() -> PublishCounts:
        files = publish.RunFiles((tmp_path / "part-1.parquet",), (), (), 1)
        return publish_rows(database, next(publish.prediction_rows(files, RunGates("", "open"))))

    assert publish_once().images_changed == 1
    with database.engine.connect() as connection:
        [stored] = connection.execute(sa.select(category_predictions)).mappings()
    assert (stored["category_id"], stored["review_reason"], stored["picture_at"]) == (SHIRT, "below_threshold", None)
    assert not publish_once().changed


@pytest.mark.parametrize("content", [b"no parquet at all", b"PAR1" + bytes(40) + b"PAR1"])
def test_a_damaged_catalog_in_a_store_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    (tmp_path / "catalog.parquet").write_bytes(content)
    monkeypatch.setattr(catalog, "place", UPath)  # takes the scheme of a store on the disk
    nothing: Any = None
    with pytest.raises(UsageError, match=r"catalog .*catalog.parquet cannot be read \(.*\); write it again"):
        catalog.read_catalog(nothing, f"local://{tmp_path}/catalog.parquet")


@pytest.mark.parametrize(
    "text", ["[]", "1", '{"r": 1}', '{"r": {"gpu": 1}}', '{"r": {"gpu": ["a", "b"]}}', '{"r": []}']
)
def test_an_invalid_tuning_file_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "tuning.json").write_text(text)
    assert tuning_file.known(Places(tmp_path), "r") == {}


def test_a_stored_tuning_is_read(tmp_path: Path) -> None:
    (tmp_path / "tuning.json").write_text('{"r": {"gpu": [64, "float32"]}}')
    assert tuning_file.known(Places(tmp_path), "r") == {"gpu": (64, "float32")}

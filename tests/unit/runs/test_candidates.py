"""After a run: what is asked first is chosen from the descriptors of what waits; a night never fails because of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from jobs.ingest.config import ProductSource
from jobs.runs import candidates
from jobs.runs.candidates import offer_candidates
from jobs.runs.config import RunContext
from jobs.spark.config import SparkConfig
from jobs.storage.places import Places
from models.known.images import FILE, KnownImages
from models.known.score import VERSION, NetworkImages
from models.spec import KnownSpec
from sql.label_candidates import keep_candidates
from sql.overrides import Override, set_overrides
from sql.store import ProductDatabase, open_database
from tests.sql.runs import BOOT, RELEASE, SHIRT, picture_of, prediction, publish
from tests.unit.predict.test_predict_loop import RELEASE as COLOURS
from tests.unit.runs.test_gated_nights import FOREIGN, World, world

__all__ = ["world"]

NIGHT = "nightly-2026-11-01"
SCALE = (0.01, 0.01, 0.001)


@pytest.fixture
def database(tmp_path: Path) -> ProductDatabase:
    made = open_database(f"sqlite:///{tmp_path}/shop.db")
    made.upgrade()
    return made


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    """A release that describes its images in three directions, the last of which hardly counts."""
    scale = np.array(SCALE, np.float32)
    network = NetworkImages(np.zeros(3, np.float32), np.eye(3, dtype=np.float16), np.ones((1, 3), np.int8), scale)
    (tmp_path / FILE).write_bytes(KnownImages({"xception": network}).content())
    release = replace(COLOURS, release_id=RELEASE.release_id, known=KnownSpec(FILE, "", 1.0, 20, 1, VERSION))
    spark = SparkConfig("local[1]", "1g", tmp_path)
    return RunContext(Places(tmp_path / "home"), spark, release, tmp_path, ProductSource("", own=True))


def describe(
    context: RunContext, descriptors: Mapping[str, Sequence[int] | None], *, run_id: str = NIGHT, content: str = "A"
) -> Path:
    """Write the file of a run with the descriptors of its products."""
    directory = Path(str(context.places.thumbnails(run_id))) / "ingest_date=2026-11-01"
    directory.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = [
        {
            "product_id": name,
            "image_no": 0,
            "image_sha256": picture_of(name, content),
            "thumbnail": b"jpeg",
            "descriptor": None if values is None else np.array(values, np.int8).tobytes(),
        }
        for name, values in descriptors.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), directory / "part-1.parquet")
    return directory / "part-1.parquet"


def waits(database: ProductDatabase, *names: str, **more: Any) -> None:
    publish(database, [prediction(name, SHIRT, 0.4, status="review") for name in names], **more)


def table(database: ProductDatabase) -> list[tuple[int, str, str, str]]:
    query = "SELECT place, product_id, run_id, release_id FROM label_candidates ORDER BY place"
    with database.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def asked(database: ProductDatabase) -> list[str]:
    return [product_id for _, product_id, _, _ in table(database)]


def test_near_equal_products_are_asked_once_in_order_of_use(context: RunContext, database: ProductDatabase) -> None:
    """The third direction has a small unit: what differs there alone is near-equal."""
    waits(database, "one", "two", "three", "other")
    same = {"one": [100, 0, 0], "two": [100, 5, 0], "three": [100, 0, 127]}
    describe(context, {**same, "other": [0, 100, 0]})
    offer_candidates(context, database, NIGHT)
    assert table(database)[0][0] == 1
    assert table(database)[1] == (2, "other", NIGHT, RELEASE.release_id)
    assert len(table(database)) == 2
    assert asked(database)[0] in same


def test_what_is_decided_is_not_asked_again_nor_what_looks_like_it(
    context: RunContext, database: ProductDatabase
) -> None:
    waits(database, "decided", "alike", "other")
    describe(context, {"decided": [100, 0, 0], "alike": [100, 1, 0], "other": [0, 100, 0]})
    set_overrides(database, [Override("decided", BOOT)], decided_by="maria")
    offer_candidates(context, database, NIGHT)
    assert asked(database) == ["other"]


def test_what_is_published_or_has_another_picture_now_is_not_asked(
    context: RunContext, database: ProductDatabase
) -> None:
    publish(database, [prediction("sure"), prediction("moved", status="review"), prediction("p", status="review")])
    describe(context, {"sure": [100, 0, 0], "p": [0, 0, 127], "gone": [0, 50, 0]})
    describe(context, {"moved": [0, 100, 0], "p": [1, 0, 0]}, run_id="nightly-2026-11-02", content="B")
    offer_candidates(context, database, NIGHT)
    assert asked(database) == ["p"]


def test_earlier_runs_of_the_release_count_as_far_as_the_limit(
    context: RunContext, database: ProductDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits(database, "p", "q")
    waits(database, "r", night=1)
    describe(context, {"p": [100, 0, 0], "q": [0, 100, 0]})
    describe(context, {"r": [70, -70, 0]}, run_id="nightly-2026-11-02")
    offer_candidates(context, database, "nightly-2026-11-02")
    assert sorted(asked(database)) == ["p", "q", "r"]
    monkeypatch.setattr(candidates, "MOST_PICTURES", 2)
    offer_candidates(context, database, "nightly-2026-11-02")
    assert sorted(asked(database)) == ["p", "r"]
    monkeypatch.setattr(candidates, "CANDIDATES", 1)
    offer_candidates(context, database, "nightly-2026-11-02")
    assert len(asked(database)) == 1


def kept(context: RunContext, database: ProductDatabase, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Choose again beside candidates of an earlier run; return the warnings, one line each."""
    keep_candidates(
        database, ["earlier"], run_id=NIGHT, release_id=RELEASE.release_id, at_utc=datetime(2026, 11, 1, tzinfo=UTC)
    )
    with caplog.at_level(logging.WARNING):
        offer_candidates(context, database, NIGHT)
    assert asked(database) == ["earlier"]
    assert all("\n" not in record.getMessage() for record in caplog.records)
    return [record.getMessage() for record in caplog.records]


def test_without_descriptors_the_earlier_candidates_stay(
    context: RunContext, database: ProductDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    waits(database, "p", "q", "r")
    assert kept(context, database, caplog) == []
    describe(context, {"p": None, "q": [0, 0, 0], "r": [1, 2]})
    assert kept(context, database, caplog) == []
    assert kept(replace(context, release=replace(context.release, known=None)), database, caplog) == []


def test_damaged_files_fail_no_night(
    context: RunContext, database: ProductDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    waits(database, "p")
    file = describe(context, {"p": [1, 2, 3]})
    (context.release_dir / FILE).write_bytes(b"no HDF5")
    (damaged,) = kept(context, database, caplog)
    assert damaged.startswith("label candidates: not chosen, those of an earlier run stay: ")
    caplog.clear()
    file.write_bytes(b"PAR1 no Parquet")
    assert len(kept(context, database, caplog)) == 1
    caplog.clear()
    pq.write_table(pa.table({"product_id": ["p"]}), file)
    assert len(kept(context, database, caplog)) == 1


def test_a_database_that_refuses_fails_no_night(
    context: RunContext, database: ProductDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    waits(database, "p")
    describe(context, {"p": [1, 2, 3]})
    with database.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE label_candidates"))
    with caplog.at_level(logging.WARNING):
        offer_candidates(context, database, NIGHT)
    (record,) = caplog.records
    assert "label candidates: not chosen" in record.getMessage()


def test_a_night_ends_with_the_choice(context: RunContext, world: World) -> None:
    """The night is held back, so that both of its products wait."""
    release = replace(world.context.release, known=context.release.known)
    world.context = replace(world.context, release=release, release_dir=context.release_dir)
    world.publish(FOREIGN)
    assert asked(world.database) == []
    pictures = world.rows("SELECT product_id, image_sha256 FROM category_predictions ORDER BY product_id")
    file = describe(
        replace(context, places=world.context.places), {"blue": [100, 0, 0], "red": [0, 100, 0]}, run_id="night"
    )
    rows = pq.read_table(file).to_pylist()
    pq.write_table(
        pa.Table.from_pylist([{**row, "image_sha256": dict(pictures)[row["product_id"]]} for row in rows]), file
    )
    world.publish(FOREIGN)
    assert sorted(asked(world.database)) == ["blue", "red"]

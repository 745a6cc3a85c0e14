"""Which rows of a shard a run takes, and that exactly these are decoded and predicted."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from jobs.dataset.reading import read_shard
from jobs.errors import RunFailed
from jobs.predict import selection
from jobs.predict.config import PredictConfig
from jobs.predict.job import finished, predict_shard, prediction_file
from jobs.predict.selection import Selected, of_run, of_shard
from jobs.runs.config import RunConfig
from jobs.runs.run_ids import backfill_run_id
from jobs.storage.places import Places
from sql.schema.products import product_images
from sql.store import ProductDatabase, open_database
from tests.unit.predict.test_predict_loop import DAY, RELEASE, ColourPredictor, write_images


def config_of(tmp_path: Path) -> PredictConfig:
    return PredictConfig("run-1", (DAY,), Places(tmp_path), tmp_path / "release", selects=True)


def keys(*numbers: int) -> frozenset[tuple[str, int, str]]:
    return frozenset((f"p{number:04d}", 0, f"{number:064d}") for number in numbers)


def test_only_wanted_images_are_decoded(tmp_path: Path) -> None:
    shard = write_images(Places(tmp_path), 200)
    wanted = keys(3, 5, 190)
    batches = list(read_shard(shard, side_px=8, batch_size=32, workers=2, wanted=wanted))
    assert sorted(np.concatenate([batch.columns["product_id"] for batch in batches])) == ["p0003", "p0005", "p0190"]
    assert sum(len(batch.images) for batch in batches) == 3
    assert all(batch.images.any() for batch in batches), "a black image was not decoded"
    assert not any(error for batch in batches for error in batch.errors)


def test_predictions_hold_the_choice_and_know_it(tmp_path: Path) -> None:
    config, shard = config_of(tmp_path), write_images(Places(tmp_path), 100)
    selection.write(config, [Selected(shard, 2, keys(1, 99))])
    report = predict_shard(shard, ColourPredictor(), RELEASE, config)
    assert report.images == 2
    assert finished(config, of_shard(config, shard), RELEASE.release_id)
    selection.write(config, [Selected(shard, 2, keys(1, 98))])
    assert not finished(config, of_shard(config, shard), RELEASE.release_id), "made for another choice"


def test_a_new_choice_replaces_the_old_one(tmp_path: Path) -> None:
    config, shard = config_of(tmp_path), write_images(Places(tmp_path), 10)
    selection.write(config, [Selected(shard, 1, keys(1))])
    assert [chosen.images for chosen in of_run(config)] == [1]
    selection.write(config, [])
    assert of_run(config) == []
    assert not prediction_file(config, shard).exists()


def test_without_a_database_all_is_missing_and_nothing_has_a_category(tmp_path: Path) -> None:
    config, shard = config_of(tmp_path), write_images(Places(tmp_path), 10)
    for options, images in (({"only_missing": True}, 10), ({"category": "colour.red"}, 0)):
        chosen = selection.choose(None, config, "colours-1", **options)
        assert sum(one.images for one in chosen) == images
    assert shard.exists()


def test_a_damaged_shard_stops_the_choice_with_a_remedy(tmp_path: Path) -> None:
    config, shard = config_of(tmp_path), write_images(Places(tmp_path), 10)
    shard.write_bytes(shard.read_bytes()[:-50])
    with pytest.raises(RunFailed, match=f"{shard.name} cannot be read .*; delete that file and ingest its date again"):
        selection.choose(None, config, "colours-1", only_missing=True)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "backfill-2026-11-01-2026-11-01-release-1"),
        ({"category": "apparel.tops"}, "backfill-2026-11-01-2026-11-01-release-1-apparel.tops"),
        (
            {"category": "apparel.tops", "only_missing": True},
            "backfill-2026-11-01-2026-11-01-release-1-apparel.tops-missing",
        ),
        ({"include_left": True}, "backfill-2026-11-01-2026-11-01-release-1-left"),
    ],
)
def test_a_backfill_is_named_for_what_it_takes(options: dict[str, object], name: str) -> None:
    assert backfill_run_id(DAY, DAY, "release-1", **options) == name  # type: ignore[arg-type]


def test_a_long_name_is_cut_and_stays_its_own() -> None:
    names = {backfill_run_id(DAY, DAY, "release-1", category="a" * 200 + end) for end in "xy"}
    assert len(names) == 2
    assert {len(RunConfig(name, "backfill", DAY).run_id) for name in names} == {128}


def test_a_backfill_of_a_category_with_any_name_has_a_run_id_of_its_own() -> None:
    categories = ("Men's Shoes", "Men s Shoes", "Home & Garden/Lamps", "靴.長靴", "靴.短靴", "../x")
    names = {backfill_run_id(DAY, DAY, "release-1", category=category) for category in categories}
    assert len(names) == len(categories)
    assert all(RunConfig(name, "backfill", DAY).run_id == name for name in names)
    assert min(names).startswith("backfill-2026-11-01-2026-11-01-release-1-")


def test_a_backfill_of_what_is_missing_skips_a_picture_that_has_left(tmp_path: Path) -> None:
    """What the database does not know yet is predicted: its night may have failed."""
    config, shard = config_of(tmp_path), write_images(Places(tmp_path), 3)
    database = open_database(f"sqlite:///{tmp_path / 'shop.db'}")
    database.upgrade()
    row = {"image_no": 0, "catalog_name": "shop", "ingest_date": DAY, "ingest_no": 1}
    rows = [
        {**row, "product_id": "p0000", "image_sha256": f"{0:064d}", "left_at": DAY + timedelta(days=1)},
        {**row, "product_id": "p0001", "image_sha256": f"{1:064d}", "left_at": None},
    ]
    with database.engine.begin() as connection:
        connection.execute(product_images.insert(), rows)
    (chosen,) = selection.choose(database, config, "colours-1", only_missing=True)
    assert (chosen.shard, chosen.keys) == (shard, keys(1, 2))
    (also_left,) = selection.choose(database, config, "colours-1", only_missing=True, include_left=True)
    assert also_left.keys == keys(0, 1, 2)


def left_shop(tmp_path: Path, left: dict[int, date | None]) -> ProductDatabase:
    """Return a database with the products of some numbers, and the nights on which they have left."""
    database = open_database(f"sqlite:///{tmp_path / 'shop.db'}")
    database.upgrade()
    row = {"image_no": 0, "catalog_name": "shop", "ingest_date": DAY, "ingest_no": 1}
    rows = [
        {**row, "product_id": f"p{number:04d}", "image_sha256": f"{number:064d}", "left_at": day}
        for number, day in left.items()
    ]
    with database.engine.begin() as connection:
        connection.execute(product_images.insert(), rows)
    return database


def test_a_plain_backfill_leaves_products_out_that_have_left(tmp_path: Path) -> None:
    """What was ingested after they left is of a night that was not published, and may bring them back."""
    config = replace(config_of(tmp_path), selects=False, leaves_out=True)
    shard, later = write_images(Places(tmp_path), 3), DAY + timedelta(days=1)
    whole = [Selected(shard, 3)]
    database = left_shop(tmp_path, {0: later, 1: None})
    assert selection.choose(database, config, "colours-1") == [Selected(shard, 2, keys(1, 2))]
    assert selection.choose(database, config, "colours-1", include_left=True) == whole
    assert selection.choose(None, config, "colours-1") == whole
    second = {"product_id": "p0000", "image_no": 1, "catalog_name": "shop"}
    with database.engine.begin() as connection:
        connection.execute(product_images.insert(), second)
    assert selection.choose(database, config, "colours-1") == whole, "a catalog names another image of it"
    with database.engine.begin() as connection:
        connection.execute(product_images.update().values(left_at=DAY))
    assert selection.choose(database, config, "colours-1") == whole, "it was ingested when it had left already"


def test_a_shard_of_which_images_are_left_out_is_predicted_in_part_and_each_other_one_whole(tmp_path: Path) -> None:
    config = replace(config_of(tmp_path), selects=False, leaves_out=True)
    shard = write_images(Places(tmp_path), 3)
    other = shard.with_name("part-other.parquet")
    other.write_bytes(shard.read_bytes())
    chosen = [Selected(shard, 1, keys(1)), Selected(other, 3)]
    selection.write(config, chosen)
    assert sorted(of_run(config), key=lambda each: each.images) == chosen
    assert predict_shard(shard, ColourPredictor(), RELEASE, config).images == 1
    assert predict_shard(other, ColourPredictor(), RELEASE, config).images == 3
    selection.write(config, [Selected(shard, 0, frozenset()), Selected(other, 3)])
    assert of_run(config) == [Selected(other, 3)], "all products of the other shard have left"
    selection.write(config, [Selected(shard, 3), Selected(other, 3)])
    assert [each.keys for each in of_run(config)] == [None, None]

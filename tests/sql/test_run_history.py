"""What is read from the rows of `runs`, on both engines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sql.run_history import seconds_per_image
from sql.store import ProductDatabase
from tests.sql.runs import CATEGORIES, NEWER_RELEASE, RELEASE, combine, prediction, run_record


def test_an_estimate_comes_from_the_release_s_last_runs(database: ProductDatabase) -> None:
    assert seconds_per_image(database, RELEASE.release_id) is None
    for night, images in enumerate([1_000_000, 10, 20, 30, 0, 40]):  # the first is too old to count
        run = run_record(night)
        database.publish(
            replace(run, summary={"predict": {"images": images, "seconds": 5.0}}),
            predictions=[[prediction(f"p{night}", night=night)]],
            rejections=(),
            products=(),
            categories=CATEGORIES,
            release=RELEASE,
            combine=combine,
        )
    assert seconds_per_image(database, RELEASE.release_id) == pytest.approx(25 / 100)
    assert seconds_per_image(database, NEWER_RELEASE.release_id) is None

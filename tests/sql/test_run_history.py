"""What is read from the rows of `runs`, on both engines."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sql.run_history import published_nights, seconds_per_image
from sql.store import ProductDatabase
from tests.sql.runs import NEWER_RELEASE, NIGHT, RELEASE, fail, prediction, publish_record, run_record


def test_an_estimate_comes_from_the_release_s_last_runs(database: ProductDatabase) -> None:
    assert seconds_per_image(database, RELEASE.release_id) is None
    for night, images in enumerate([1_000_000, 10, 20, 30, 0, 40]):  # the first is too old to count
        run = replace(run_record(night), summary={"predict": {"images": images, "seconds": 5.0}})
        publish_record(database, run, [prediction(f"p{night}", night=night)])
    assert seconds_per_image(database, RELEASE.release_id) == pytest.approx(25 / 100)
    assert seconds_per_image(database, NEWER_RELEASE.release_id) is None


def test_nights_say_what_of_them_is_published_if_they_know(database: ProductDatabase) -> None:
    for night, summary in ((0, {"published": {"ingest_no": 2}}), (1, {}), (2, {"published": {"ingest_no": 0}})):
        publish_record(database, replace(run_record(night), summary=summary))
    fail(database, run_record(3), "no space left")
    days = [NIGHT + timedelta(days=night) for night in range(3)]
    assert published_nights(database) == dict(zip(days, [2, None, 0], strict=True))

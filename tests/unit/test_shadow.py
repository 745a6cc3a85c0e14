"""Which challengers are refused before a night begins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.config import Places, ProductSource, SparkConfig, UsageError
from jobs.nightly import Workshop
from jobs.shadow import check
from tests.unit.test_predict_loop import RELEASE


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "release colours-1 is champion and challenger"),
        ({"release_id": "other", "taxonomy_version": "other"}, "only releases of the same categories"),
        (
            {"release_id": "other", "categories": RELEASE.categories[:2]},
            "answers with 2 categories of taxonomy",
        ),
    ],
)
def test_who_cannot_be_compared_is_refused(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    places = Places(tmp_path)
    spark = SparkConfig("local[1]", "1g", tmp_path)
    champion = Workshop(places, spark, RELEASE, tmp_path, ProductSource("", "", {}))
    with pytest.raises(UsageError, match=sentence):
        check(champion, replace(champion, release=replace(RELEASE, **changes)))

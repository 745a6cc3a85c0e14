"""Which challengers are refused, and that this never costs the champion's night."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.config import Places, ProductSource, RunConfig, SparkConfig, UsageError
from jobs.nightly import Workshop
from jobs.shadow import check, try_challenger
from models.release import Release, ReleaseError
from sql.store import open_database
from tests.unit.test_predict_loop import DAY, RELEASE


def workshop(tmp_path: Path, release: Release) -> Workshop:
    spark = SparkConfig("local[1]", "1g", tmp_path)
    return Workshop(Places(tmp_path), spark, release, tmp_path, ProductSource("", "", {}))


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
    with pytest.raises(UsageError, match=sentence):
        check(workshop(tmp_path, RELEASE), workshop(tmp_path, replace(RELEASE, **changes)))


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (UsageError("no release is challenger; promote one"), "UsageError: no release is challenger"),
        (ReleaseError("w.h5 was altered"), "ReleaseError: w.h5 was altered"),
        (RELEASE, "UsageError: release colours-1 is champion and challenger"),
        (replace(RELEASE, release_id="old", taxonomy_version="old"), "only releases of the same categories"),
    ],
)
def test_a_challenger_that_cannot_be_tried_is_told_in_a_sentence(
    found: Release | Exception, sentence: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def challenger() -> Workshop:
        if isinstance(found, Exception):
            raise found
        return workshop(tmp_path, found)

    champion, database = workshop(tmp_path, RELEASE), open_database(f"sqlite:///{tmp_path}/s.db")
    done = try_challenger(champion, challenger, database, RunConfig("night", "nightly", DAY))
    assert done["state"] == "failed"
    assert sentence in done["reason"]
    [warning] = caplog.records
    assert sentence in warning.getMessage()
    assert "run night stays published" in warning.getMessage()
    assert not warning.exc_info, "what was foreseen needs no traceback"

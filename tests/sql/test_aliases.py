"""Champion and challenger: promoted, rolled back, and tried in the shadow without any reader noticing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sql.aliases import aliases, clear_challenger, registered, roll_back, set_alias
from sql.errors import DatabaseError, UnknownNameError
from sql.named_queries import run_query
from sql.overrides import Override, clear_override, set_overrides
from sql.records import ReleaseRecord
from sql.selection import answered_images
from sql.shadow import publish_shadow
from sql.store import ProductDatabase
from tests.sql.runs import (
    BOOT,
    CATEGORIES,
    NEWER_RELEASE,
    RELEASE,
    SHIRT,
    T_SHIRT,
    answer,
    combine_by,
    dump,
    prediction,
    publish,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
THIRD = ReleaseRecord("release-3", "taxonomy-1")


def history(database: ProductDatabase, alias: str) -> list[tuple[str | None, str]]:
    """Return the release and the person of each change of an alias, the newest first."""
    rows = sorted(dump(database)["release_aliases"], reverse=True)
    return [(release_id, changed_by) for _, changed, release_id, _, changed_by in rows if changed == alias]


def promote(database: ProductDatabase, *releases: ReleaseRecord, alias: str = "champion") -> None:
    for number, release in enumerate(releases):
        set_alias(database, alias, release, changed_by="ann", at_utc=NOW + timedelta(hours=number))


def test_a_new_database_has_no_champion(database: ProductDatabase) -> None:
    assert aliases(database) == {}
    with pytest.raises(UnknownNameError, match="no champion before"):
        roll_back(database, changed_by="ann", at_utc=NOW)


def test_each_rollback_returns_to_the_champion_before(database: ProductDatabase) -> None:
    promote(database, RELEASE, NEWER_RELEASE, THIRD)
    assert aliases(database) == {"champion": "release-3"}
    assert roll_back(database, changed_by="bob", at_utc=NOW + timedelta(days=1)) == "release-2"
    assert roll_back(database, changed_by="bob", at_utc=NOW + timedelta(days=2)) == "release-1"
    with pytest.raises(UnknownNameError):
        roll_back(database, changed_by="bob", at_utc=NOW + timedelta(days=3))
    assert aliases(database) == {"champion": "release-1"}
    assert history(database, "champion") == [
        ("release-1", "bob"),
        ("release-2", "bob"),
        ("release-3", "ann"),
        ("release-2", "ann"),
        ("release-1", "ann"),
    ]


def rolled_back(database: ProductDatabase, steps: int) -> list[str]:
    return [roll_back(database, changed_by="bob", at_utc=NOW + timedelta(days=1)) for _ in range(steps)]


def test_a_former_champion_that_was_promoted_again_is_rolled_back_to_the_one_before(database: ProductDatabase) -> None:
    promote(database, RELEASE, NEWER_RELEASE, THIRD, RELEASE)
    assert rolled_back(database, 3) == ["release-3", "release-2", "release-1"]
    with pytest.raises(UnknownNameError):
        rolled_back(database, 1)


def test_promoting_the_previous_champion_is_not_a_rollback(database: ProductDatabase) -> None:
    """Only by the empty row between can the history tell the two apart."""
    promote(database, RELEASE, NEWER_RELEASE, RELEASE)
    assert aliases(database) == {"champion": "release-1"}
    assert rolled_back(database, 2) == ["release-2", "release-1"]
    promote(database, NEWER_RELEASE, THIRD, NEWER_RELEASE, THIRD)
    assert rolled_back(database, 4) == ["release-2", "release-3", "release-2", "release-1"]
    assert [release_id for release_id, _ in history(database, "champion")][-4:] == [
        "release-1",
        None,
        "release-2",
        "release-1",
    ]


def test_a_demoted_challenger_stays_in_the_history(database: ProductDatabase) -> None:
    promote(database, RELEASE, alias="challenger")
    assert clear_challenger(database, changed_by="bob", at_utc=NOW) == "release-1"
    assert aliases(database) == {}
    assert history(database, "challenger") == [(None, "bob"), ("release-1", "ann")]
    before = dump(database)
    assert clear_challenger(database, changed_by="eve", at_utc=NOW) is None
    assert dump(database) == before


def test_promoting_the_champion_again_changes_nothing(database: ProductDatabase) -> None:
    promote(database, RELEASE)
    before = dump(database)
    assert not set_alias(database, "champion", RELEASE, changed_by="eve", at_utc=NOW + timedelta(days=9))
    assert dump(database) == before


def test_a_promoted_challenger_is_no_longer_challenger(database: ProductDatabase) -> None:
    promote(database, RELEASE)
    promote(database, NEWER_RELEASE, alias="challenger")
    assert aliases(database) == {"champion": "release-1", "challenger": "release-2"}
    promote(database, NEWER_RELEASE)
    assert aliases(database) == {"champion": "release-2"}


def test_only_a_champion_gets_a_promotion_time(database: ProductDatabase) -> None:
    promote(database, RELEASE, alias="challenger")
    assert registered(database)["release-1"][1] is None
    promote(database, RELEASE)
    assert registered(database)["release-1"][1] == NOW


def test_an_unknown_alias_gives_one_sentence(database: ProductDatabase) -> None:
    with pytest.raises(UnknownNameError, match="expected champion or challenger"):
        promote(database, RELEASE, alias="winner")


def test_a_shadow_changes_only_the_history(database: ProductDatabase) -> None:
    publish(database, [prediction("p"), prediction("q", BOOT)], run_id="night")
    before = dump(database)
    rows = [prediction("p", T_SHIRT, 0.7), prediction("q", BOOT, 0.95)]
    for changed in (2, 0):
        assert (
            publish_shadow(
                database, "night", predictions=[rows], categories=CATEGORIES, release=NEWER_RELEASE, at_utc=NOW
            )
            == changed
        )
    after = dump(database)
    assert {name for name in after if after[name] != before[name]} == {"category_predictions", "releases"}
    assert answer(database, "p")["category_id"] == SHIRT

    publish(database, [prediction("p", BOOT), prediction("q", BOOT)], run_id="night")
    assert answer(database, "p")["category_id"] == BOOT, "the champion goes on answering"


def test_a_shadow_stays_hidden_without_a_champion(database: ProductDatabase) -> None:
    publish(database, [prediction("p", SHIRT)], run_id="night")
    renamed = [replace(category, category_path=f"Renamed > {category.category_id}") for category in CATEGORIES]
    shadow = [[prediction("p", T_SHIRT)]]
    publish_shadow(database, "night", predictions=shadow, categories=renamed, release=NEWER_RELEASE, at_utc=NOW)
    assert not any("Renamed" in str(row) for row in dump(database)["categories"])
    set_overrides(database, [Override("p", BOOT, None)], decided_by="ann")
    assert clear_override(database, "p", decided_by="ann", combine_by=combine_by)
    assert (answer(database, "p")["category_id"], answer(database, "p")["release_id"]) == (SHIRT, "release-1")
    assert answered_images(database, "release-2", ["p"]) == set(), "a backfill of what is missing answers it"

    publish(database, [prediction("p", T_SHIRT)], run_id="other night", release=NEWER_RELEASE)
    assert answer(database, "p")["category_id"] == T_SHIRT, "a run of its own counts"
    assert len(answered_images(database, "release-2", ["p"])) == 1


def test_a_shadow_without_its_run_is_refused(database: ProductDatabase) -> None:
    before = dump(database)
    with pytest.raises(DatabaseError, match="'night' is not published"):
        publish_shadow(database, "night", predictions=[[prediction("p")]], categories=CATEGORIES, release=NEWER_RELEASE)
    assert dump(database) == before


def test_release_agreement_says_where_they_differ(database: ProductDatabase) -> None:
    champion = [prediction("a", SHIRT, 0.9), prediction("b", SHIRT, 0.8), prediction("c", SHIRT, 0.7)]
    publish(database, [*champion, prediction("d", BOOT, 0.9), prediction("e", BOOT)], run_id="night")
    challenger = [prediction("a", SHIRT, 0.5), prediction("b", T_SHIRT, 0.6), prediction("c", T_SHIRT, 0.7)]
    rows = [*challenger, prediction("d", BOOT, 1.0), prediction("e", BOOT, content="another picture")]
    publish_shadow(database, "night", predictions=[rows], categories=CATEGORIES, release=NEWER_RELEASE)
    found = run_query(database, "release_agreement", {"release_id": "release-1", "other_release_id": "release-2"}, None)
    assert [tuple(round(cell, 6) if isinstance(cell, float) else cell for cell in row) for row in found.rows] == [
        (SHIRT, 3, 1, round(1 / 3, 6), 0.8, 0.6, T_SHIRT, 2),
        (BOOT, 1, 1, 1.0, 0.9, 1.0, None, 0),
    ]


def test_another_release_of_a_known_name_is_refused(database: ProductDatabase) -> None:
    networks = [{"architecture": "xception"}]
    first = replace(RELEASE, manifest={"temperature": 1.0, "networks": networks})
    publish(database, [prediction("p")], release=first)
    told_more = {"temperature": 1.0, "networks": [{**networks[0], "input_px": 71}], "told_later": "x"}
    publish(database, [prediction("p")], release=replace(first, manifest=told_more))
    before = dump(database)
    altered = replace(first, manifest={"temperature": 1.5, "networks": networks})
    with pytest.raises(DatabaseError, match=r"known as 'release-1', of other temperature; .* another name"):
        publish(database, [prediction("q")], night=1, release=altered)
    with pytest.raises(DatabaseError, match="of other temperature"):
        promote(database, altered)
    assert dump(database) == before

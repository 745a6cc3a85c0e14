"""What a report says of images that a release does not know, and of pictures that many products share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from jobs.report.facts import CategoryShare, Facts
from jobs.report.gallery import FoundImages, Gallery
from jobs.report.job import figures
from jobs.report.page import render
from jobs.report.verdict import FAILED, GOOD, LOOK, QUIET, assess_run
from sql.records import REVIEW_REASONS

DAY, MOMENT = date(2026, 11, 1), datetime(2026, 11, 1, 2, tzinfo=UTC)
UNLIKE = "these images are unlike those that release r-1 was calibrated on (60 of 70 beyond its limit); fine-tune"
NOTE = {
    **{"files": "f" * 64, "state": "computed", "images": 70, "foreign": 1, "not_computed": 0, "allow_shift": False},
    **{"foreign_nights": [], "foreign_groups": [], "shared_pictures": {"contents": [], "shown": []}},
}
SENTENCE = "90 of 100 products were tagged without a person (90%); 10 wait for one."
SHA = "0123456789abcdef" * 4


def facts(gates: Mapping[str, Any] | None, *, images: int = 100, **summary: Any) -> Facts:
    run = {
        "run_id": "nightly-2026-11-01",
        "kind": "nightly",
        "run_date": DAY,
        "release_id": "r-1",
        "state": "published",
        "counts": {"auto": 90, "review": 8, "unknown": 2} if images else {"auto": 0, "review": 0, "unknown": 0},
        "seconds": {},
        "summary": {**summary, **({} if gates is None else {"gates": {**NOTE, **gates}})},
        "error": None,
        "started_at_utc": MOMENT,
        "finished_at_utc": MOMENT,
        "retracted_at_utc": None,
    }
    shares = [CategoryShare("shop.shirt", "Shop > Shirt", images, 0, 1.0, None, 0.9, None, images)]
    product = {"product_id": "p1", "category_path": "Shop > Shirt", "confidence": 0.4, "ingest_date": DAY}
    certain = [{**product, "review_reason": "foreign_image"}, {**product, "product_id": "p2", "review_reason": None}]
    return Facts(run, shares if images else [], [], certain if images else [], [], [], {})


def group(category_id: str, images: int, foreign: int, day: str = "2026-11-01") -> dict[str, Any]:
    return {"ingest_date": day, "category_id": category_id, "images": images, "foreign": foreign}


def page(shown: Facts) -> str:
    html = render(shown, Gallery([], {}, {}, FoundImages()), made_at_utc=MOMENT)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", html))


def test_a_foreign_night_needs_a_look_and_says_so_first() -> None:
    night = {"foreign_nights": [{"ingest_date": "2026-11-01", "images": 70, "foreign": 60}], "sentence": UNLIKE}
    verdict = assess_run(facts({**night, "not_computed": 1}))
    assert verdict.level == LOOK
    assert verdict.unusual[0] == f"T{UNLIKE[1:]}."
    assert "For 1 image it could not be computed" in verdict.unusual[1]
    assert verdict.tasks[0].commands == (
        "shelfwise finetune --quick",
        "shelfwise publish --run-date 2026-11-01 --run-id nightly-2026-11-01 --release r-1 --allow-shift",
    )
    assert verdict.sentence == SENTENCE


def test_three_foreign_groups_are_named_the_worst_first() -> None:
    groups = [group("a", 20, 9), group("b", 20, 10), group("shop.shirt", 30, 20), group("c", 20, 9), group("d", 20, 8)]
    [sentence] = assess_run(facts({"foreign_groups": groups})).unusual
    assert sentence == (
        "Many images are unlike those that the release was calibrated on in “Shop > Shirt” (20 of 30 images), “b” (10 "
        "of 20 images), “a” (9 of 20 images) and 2 more; the answers of these categories wait for a person."
    )


def test_a_group_of_several_dates_is_named_once() -> None:
    groups = [group("a", 20, 9), group("a", 40, 20, "2026-11-02")]
    [sentence] = assess_run(facts({"foreign_groups": groups})).unusual
    assert "in “a” (29 of 60 images); the answers of this category wait" in sentence


def test_shared_pictures_are_named_with_what_to_do() -> None:
    others = [{"image_sha256": f"{n}" * 64, "products": 21, "categories": 3, "example": f"q{n}"} for n in range(1, 4)]
    shown = [{"image_sha256": SHA, "products": 1234, "categories": 4, "example": "p1\u202e"}, *others]
    verdict = assess_run(facts({"shared_pictures": {"contents": [SHA, *"abcdef"], "shown": shown}}))
    [sentence] = verdict.unusual
    assert verdict.level == LOOK
    assert sentence.startswith("Many different products have the same picture, perhaps one that says “no image”: 0123")
    assert "0123456789ab… under 1,234, such as “p1" in sentence
    assert sentence.endswith(
        "under 21, such as “q2” and 4 more. Their answers wait for a person, unless another picture of the product "
        "decides."
    )
    [task] = verdict.tasks
    assert task.commands == ("shelfwise query shared_pictures", f"shelfwise review allow-picture {SHA} --by NAME")


def test_an_open_gate_is_said_and_is_not_unusual() -> None:
    verdict = assess_run(facts({"state": "open"}))
    assert (verdict.level, verdict.unusual, verdict.tasks) == (GOOD, (), ())
    assert verdict.sentence == (
        f"{SENTENCE} Release r-1 has no description of the images that it knows, so every image passed; shelfwise "
        "release calibrate makes a release that has one."
    )
    quiet = assess_run(facts({"state": "open"}, images=0))
    assert quiet.level == QUIET
    assert quiet.sentence.startswith("No image was new or changed; every category stands. Release r-1 has no desc")


def test_an_open_gate_names_the_command_that_the_release_needs() -> None:
    quick = assess_run(facts({"state": "open", "remedy": "shelfwise finetune --quick --release-id NEW"})).sentence
    assert quick.endswith(
        "so every image passed; shelfwise finetune --quick --release-id NEW makes a release that has one."
    )


def test_a_gate_that_could_not_be_computed_says_what_to_do() -> None:
    remedy = "shelfwise release calibrate r-1 --release-id NEW"
    verdict = assess_run(
        facts({"state": "closed", "not_computed": 70, "closed_nights": ["2026-11-01"], "remedy": remedy})
    )
    assert verdict.level == LOOK
    assert [task.commands for task in verdict.tasks] == [(remedy,)]
    few = assess_run(facts({"state": "closed", "not_computed": 1, "closed_nights": [], "remedy": remedy}))
    assert (few.level, few.tasks) == (LOOK, ())


def failed(kind: str, error: str, **summary: Any) -> Facts:
    shown = facts(None, **summary)
    return replace(shown, run={**shown.run, "run_id": "again 1", "kind": kind, "state": "failed", "error": error})


def test_a_refused_backfill_is_not_advised_to_resume() -> None:
    """Its call has no --allow-shift, so that the same would be refused again."""
    call = ["backfill", "--from", "2026-11-01", "--to", "2026-11-02", "--run-id", "again 1", "--release", "r-1"]
    error = "RunRefused: nothing of run again 1 was published because of the ingest date 2026-11-01: these images are"
    verdict = assess_run(failed("backfill", error, call=call))
    assert verdict.level == FAILED
    [task] = verdict.tasks
    assert task.commands == (
        "shelfwise finetune --quick",
        "shelfwise backfill --from 2026-11-01 --to 2026-11-02 --run-id 'again 1' --release r-1 --allow-shift",
    )
    [task] = assess_run(failed("backfill", error)).tasks
    assert task.commands[1] == "shelfwise backfill --from FIRST --to 2026-11-01 --run-id 'again 1' --allow-shift"


@pytest.mark.parametrize(("kind", "error"), [("backfill", "RunFailed: no disk"), ("nightly", "RunRefused: 9 of 10")])
def test_other_failures_are_resumed(kind: str, error: str) -> None:
    [task] = assess_run(failed(kind, error, call=["a"])).tasks
    assert task.commands == ("shelfwise runs resume 'again 1'",)


def test_what_allow_shift_let_pass_is_said_and_is_not_unusual() -> None:
    night = {"ingest_date": "2026-11-01", "images": 70, "foreign": 60}
    found = {"foreign_nights": [night], "foreign_groups": [group("a", 20, 9)], "allow_shift": True}
    verdict = assess_run(facts(found))
    assert (verdict.level, verdict.unusual) == (GOOD, ())
    assert verdict.sentence.endswith(
        "was given: 69 of 90 images were beyond the limit of the release, and only these were held back."
    )
    assert assess_run(facts({"allow_shift": True})).sentence == SENTENCE, "it let nothing pass"


@pytest.mark.parametrize("gates", [None, {}])
def test_an_ordinary_night_and_a_run_of_an_earlier_version_say_nothing(gates: Mapping[str, Any] | None) -> None:
    verdict = assess_run(facts(gates))
    assert (verdict.level, verdict.sentence, verdict.unusual, verdict.tasks) == (GOOD, SENTENCE, (), ())
    assert "Why products wait" not in page(facts(gates))


def test_the_page_shows_products_by_reason_in_plain_words() -> None:
    text = page(facts({}, review_reasons={"below_threshold": 1200, "foreign_image": 7}))
    foreign, below = f"7: {REVIEW_REASONS['foreign_image']}", f"1,200: {REVIEW_REASONS['below_threshold']}"
    assert "Why products wait for a person" in text
    assert text.index(foreign) < text.index(below), "in the order of the reasons"
    least_certain = text[text.index("The least certain") :]
    assert least_certain.count(REVIEW_REASONS["foreign_image"]) == 1
    assert "None" not in least_certain


def test_the_figures_have_the_gates_and_the_reasons() -> None:
    document = figures(facts({"foreign": 3}, review_reasons={"foreign_image": 3}))
    assert (document["gates"], document["review_reasons"]) == ({**NOTE, "foreign": 3}, {"foreign_image": 3})
    assert figures(facts(None))["gates"] is None

"""Presence and pictures of positions agree with a plain reading of all events, whatever the order of the files."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jobs.dataset.presence import IMAGE_COLUMNS, SEEN_COLUMNS, CurrentImages
from tests.dataset_rows import image_row, seen_row

FIRST = date(2026, 11, 1)
Dated = tuple[date, dict[str, Any]]


def night(number: int) -> date:
    return FIRST + timedelta(days=number)


def columns(rows: list[dict[str, Any]], names: tuple[str, ...]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in names}


def current_images(stored: list[Dated], seen: list[Dated], last: date = date.max) -> CurrentImages:
    current = CurrentImages(last)
    for day, row in seen:
        current.note_seen(day, columns([row], SEEN_COLUMNS))
    if current.some_left:
        for day, row in seen:
            current.note_names(day, columns([row], SEEN_COLUMNS))
    for day, row in stored:
        current.note_images(day, columns([row], IMAGE_COLUMNS), Path(f"{day}-{row['image_no']}"))
    return current


def naive(stored: list[Dated], seen: list[Dated], last: date) -> tuple[dict[Any, date | None], dict[Any, str]]:
    """Return when each position left, None if it is present, and its content, by sorting all events."""
    names: dict[Any, list[tuple[Any, bool]]] = defaultdict(list)
    contents: dict[Any, list[Any]] = defaultdict(list)
    with_bytes = {(row["product_id"], row["image_sha256"]) for day, row in stored if day <= last}
    for day, row in [*stored, *seen]:
        position = row["product_id"], row["image_no"]
        since = date.fromisoformat(row["counts_from"]) if row.get("counts_from") else day
        outcome = row.get("outcome", "stored")
        if since <= last:
            # What counts from a later night is older than all that this night's own ingests record.
            number = 0 if row.get("counts_from") else row["ingest_no"]
            event = (since, number, outcome != "left")
            names[*position, row["catalog_name"] or ""].append((event[:2], event[2]))
        if outcome in ("stored", "unchanged") and day <= last:
            contents[position].append((day, row["ingest_no"], row["image_sha256"]))
    latest: dict[Any, list[tuple[Any, bool]]] = defaultdict(list)
    for (product_id, image_no, _), events in names.items():
        latest[product_id, image_no].append(max(events))
    left = {
        position: None if any(named for _, named in events) else max(since for (since, _), _ in events)
        for position, events in latest.items()
    }
    current = {position: max(rows)[2] for position, rows in contents.items()}
    return left, {key: content for key, content in current.items() if (key[0], content) in with_bytes}


KEYS = {
    "product_id": st.sampled_from(["p", "p", "p", "q"]),
    "image_no": st.integers(0, 1),
    "ingest_no": st.integers(1, 2),
    "catalog_name": st.sampled_from(["shop", "shop", "", None]),
}
CONTENTS = st.sampled_from(["a", "b"])
NIGHTS = st.integers(0, 3).map(night)
IMAGES = st.tuples(NIGHTS, st.fixed_dictionaries({**KEYS, "image_sha256": CONTENTS}))


@st.composite
def seen_rows(draw: st.DrawFn) -> Dated:
    day, outcome = draw(NIGHTS), draw(st.sampled_from(["left", "left", "named", "unchanged", "rejected"]))
    row = {**seen_row("", outcome), **draw(st.fixed_dictionaries(KEYS))}
    if outcome == "unchanged":
        row["image_sha256"] = draw(CONTENTS)
    if outcome in ("left", "named") and draw(st.booleans()):
        row["counts_from"] = (day + timedelta(days=draw(st.integers(1, 3)))).isoformat()
    return day, row


@given(
    st.lists(IMAGES, min_size=1, max_size=8),
    st.lists(seen_rows(), min_size=2, max_size=8),
    st.integers(0, 4).map(night),
)
def test_presence_and_pictures_agree_with_a_plain_reading_of_all_events(
    stored: list[Dated], seen: list[Dated], last: date
) -> None:
    current = current_images(stored, seen, last)
    left, contents = naive(stored, seen, last)
    assert {position: current.left_at(*position) for position in left} == left
    assert {position: current.is_present(*position) for position in left} == {
        position: since is None for position, since in left.items()
    }
    pictures = {image[:2]: image.stored for image in current.all()}
    assert {position: row.image_sha256 for position, row in pictures.items()} == contents
    rows = {(row["product_id"], row["image_no"], row["image_sha256"], day) for day, row in stored}
    for (product_id, _), row in pictures.items():
        assert (product_id, row.image_no, row.image_sha256, row.ingest[0]) in rows, "the row with the bytes"
    there = [(image.product_id, image.stored.image_sha256) for image in current.present()]
    assert len(there) == len(set(there))
    assert set(there) == {(key[0], content) for key, content in contents.items() if left[key] is None}


def test_only_positions_that_left_have_a_record_of_events() -> None:
    stored = [(FIRST, image_row(f"p{number}")) for number in range(9)]
    assert not current_images(stored, [(FIRST, seen_row("p1", "named"))]).some_left


def test_a_picture_moves_to_another_position_and_is_read_where_it_was_stored() -> None:
    stored = [(night(0), image_row("p", image_no=0, image_sha256="a"))]
    stored += [(night(0), image_row("p", image_no=1, image_sha256="b"))]
    swap = [(night(1), seen_row("p", "unchanged", image_no=no, image_sha256=sha)) for no, sha in ((0, "b"), (1, "a"))]
    images = list(current_images(stored, swap).present())
    assert [(image.image_no, image.stored.image_sha256, image.stored.image_no) for image in images] == [
        (0, "b", 1),
        (1, "a", 0),
    ]


def test_the_newest_of_two_pictures_that_returned_counts_whatever_is_read_first() -> None:
    stored = [(night(number), image_row("p", image_sha256=content)) for number, content in enumerate("abc")]
    returned = [
        (night(number), seen_row("p", "unchanged", image_sha256=content)) for number, content in ((3, "a"), (4, "b"))
    ]
    for rows in (returned, returned[::-1]):
        assert [image.stored.image_sha256 for image in current_images(stored, rows).all()] == ["b"]

"""The file of the people who may review."""

from __future__ import annotations

import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.errors import UsageError
from jobs.review.people import People
from models.whole_files import write_whole

PASSWORD = "several words together"


@pytest.fixture
def people(tmp_path: Path) -> People:
    """An empty file's people."""
    return People(tmp_path / "home" / "people.json")


def test_people_are_added_listed_and_removed(people: People) -> None:
    assert people.all() == []
    assert people.add("maria", PASSWORD)
    assert people.add(" ada ", PASSWORD)
    assert [one.name for one in people.all()] == ["ada", "maria"]
    assert people.accepts("maria", PASSWORD)
    assert not people.accepts("maria", PASSWORD + "!")
    assert not people.accepts("nobody", PASSWORD)
    assert not people.add("maria", "another long password"), "a new password for a known person"
    assert not people.accepts("maria", PASSWORD)
    assert people.accepts("maria", "another long password")
    people.remove("maria")
    assert not people.accepts("maria", "another long password")
    with pytest.raises(UsageError, match="no person 'maria': expected one of 'ada'"):
        people.remove("maria")


def test_the_file_is_for_its_owner_and_holds_no_password(people: People) -> None:
    umask = os.umask(0)
    try:
        people.add("maria", PASSWORD)
        people.add("ada", PASSWORD)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(people.path.stat().st_mode) == 0o600
    text = people.path.read_text(encoding="utf-8")
    assert PASSWORD not in text
    rows = [line for line in text.splitlines() if '"scrypt"' in line]
    assert len(set(rows)) == 2, "each has a salt of its own"


def test_a_file_that_others_can_open_is_refused(people: People) -> None:
    people.add("maria", PASSWORD)
    people.path.chmod(0o640)
    with pytest.raises(UsageError, match="run: chmod 600"):
        People(people.path).all()


def test_another_process_s_change_counts_at_once(people: People) -> None:
    people.add("maria", PASSWORD)
    assert people.fingerprint("maria")
    People(people.path).remove("maria")
    assert people.fingerprint("maria") == ""


def test_each_password_has_a_fingerprint_of_its_own(people: People) -> None:
    seen = set()
    for _ in range(2):
        people.add("maria", PASSWORD)
        seen.add(people.fingerprint("maria"))
    people.remove("maria")
    people.add("maria", PASSWORD)
    assert len({*seen, people.fingerprint("maria")}) == 3, "also the same password given again"


def test_people_who_are_added_at_the_same_time_are_all_there(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(path: Path, content: str) -> None:
        time.sleep(0.05)
        write_whole(path, content)

    monkeypatch.setattr("jobs.review.people.write_whole", slowly)
    names = ["ada", "jon", "li", "maria"]
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(lambda name: People(people.path).add(name, PASSWORD), names))
    assert [one.name for one in people.all()] == names


@pytest.mark.parametrize("name", ["", "  ", "a" * 101, "a\nb", "a\0b", "\u202eabc", "\ud800"])
def test_a_name_that_cannot_be_shown_is_refused(people: People, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a person's name: expected 1 to 100 printable"):
        people.add(name, PASSWORD)
    assert not people.path.exists()


@pytest.mark.parametrize("password", ["", "short", "x" * 1001])
def test_a_password_that_is_too_short_or_long_is_refused(people: People, password: str) -> None:
    with pytest.raises(UsageError, match=f"has {len(password)} characters: expected 12 to 1000"):
        people.add("maria", password)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"people": 1}', '{"people": {"a": {}}}', '{"people": {"a": {"salt": 1}}}']
)
def test_a_damaged_file_is_refused(people: People, content: str) -> None:
    people.add("maria", PASSWORD)
    people.path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match="is not the file of people that shelfwise wrote"):
        People(people.path).all()

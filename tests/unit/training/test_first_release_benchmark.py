"""The benchmark of a first release: which photographs it keeps back, to label them later."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.bench_first_release import copied, label


def files(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("dress", "hat"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            (tmp_path / "photos" / name / f"{number}.jpg").write_text(f"{name} {number}")
    return tmp_path / "photos"


def test_photographs_that_are_labelled_later_are_of_each_category(photos: Path, tmp_path: Path) -> None:
    later = copied(photos, tmp_path / "copy", without=4)
    assert [name.as_posix() for name in later] == ["dress/0.jpg", "dress/5.jpg", "hat/0.jpg", "hat/5.jpg"]
    assert files(tmp_path / "copy") == [name for name in files(photos) if Path(name) not in later]
    label(later, photos, tmp_path / "copy")
    assert files(tmp_path / "copy") == files(photos)
    assert (tmp_path / "copy" / "hat" / "5.jpg").read_text() == "hat 5"


def test_without_later_ones_all_are_there_at_once(photos: Path, tmp_path: Path) -> None:
    assert copied(photos, tmp_path / "copy", without=0) == []
    assert files(tmp_path / "copy") == files(photos)


def test_more_than_there_are_is_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="has 20 files, and --later is 21; give a smaller number"):
        copied(photos, tmp_path / "copy", without=21)

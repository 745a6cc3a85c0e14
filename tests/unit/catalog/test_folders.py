"""Directories of pictures: which files are products, what their ids are, and what is passed over and told."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from jobs.catalog import first_bytes
from jobs.catalog.files import read_part
from jobs.catalog.forms.folders import _natural, folder_rows
from jobs.catalog.layout import Layout
from jobs.catalog.passed_over import PassedOver
from jobs.catalog.rows import Part
from jobs.dataset.category_texts import shop_categories
from jobs.errors import UsageError
from jobs.images import formats
from jobs.storage.places import Place

STEM, PATH, FOLDER = (Layout("folders", product_id=each) for each in ("stem", "path", "folder"))
Rows = list[tuple[Any, ...]]


def rows(root: Place, layout: Layout = STEM, passed_over: PassedOver | None = None) -> Rows:
    """product_id, image_no, image_uri and category of each row."""
    found = folder_rows(root, layout, PassedOver() if passed_over is None else passed_over)
    return [(row[0], row[1], row[2], row[4]) for row in found]


def told(root: Place, layout: Layout = STEM) -> list[str]:
    passed_over = PassedOver()
    rows(root, layout, passed_over)
    return passed_over.sentences()


def made(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def stored(*names: str) -> UPath:
    root = UPath("memory://shop/photos")
    root.fs.store.clear()
    for name in names:
        root.fs.pipe_file(f"{root.path}/{name}", b"x")
    return root


@pytest.fixture(params=["disk", "store"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Makes files on a disk or in an object store."""
    return stored if request.param == "store" else lambda *names: made(tmp_path, *names)


def test_the_path_of_folders_is_the_category_and_loose_files_have_none(make: Any) -> None:
    root = make("hat/h1.jpg", "tops/shirt/s1.PNG", "loose.jpg", ".hidden/x.jpg", "hat/.DS_Store", "hat/.x.jpg")
    assert rows(root) == [
        ("loose", "0", "loose.jpg", None),
        ("h1", "0", "hat/h1.jpg", "hat"),
        ("s1", "0", "tops/shirt/s1.PNG", "tops.shirt"),
    ]


def test_files_that_are_no_pictures_are_passed_over_and_counted_by_suffix(make: Any) -> None:
    others = ("Thumbs.db", "desktop.ini", "notes.txt", "a/notes.TXT", "a/x.jpg~", "products.csv", "a/shelfwise.toml")
    root = make("a/1.jpg", "shelfwise.toml", *others)
    assert [row[0] for row in rows(root)] == ["1"]
    (sentence,) = told(root)
    assert sentence.startswith("passed over 7 other files (2 .txt, 1 .")
    assert sentence.endswith(" and 1 more)")


@pytest.mark.parametrize(
    "name", ["a.heic", "a.svg", "a.psd", "a.avif", "a.jpe", "a.JFIF", "a.pdf", "a.nef", "a.jpg?width=9"]
)
def test_a_file_that_may_be_a_picture_is_a_product(make: Any, name: str) -> None:
    """Its bytes decide later, and what is no image is rejected by name."""
    root = make(f"hats/{name}")
    assert [row[2:] for row in rows(root)] == [(f"hats/{name}", "hats")]
    assert told(root) == []


def test_of_a_file_without_a_suffix_the_first_bytes_decide(make: Any) -> None:
    """A `README` in two folders refused the night as two pictures of one name."""
    root = make("a/README", "b/README", "b/empty", "b/f3a9", "b/a v1.2", "c.jpg")
    for name in ("b/f3a9", "b/a v1.2"):
        (root / name).write_bytes(b"\xff\xd8\xff\xe0" + b"x" * 5000)
    (root / "b/empty").write_bytes(b"")
    (root / "a/README").write_bytes(b"# Notes\n")
    assert [row[2] for row in rows(root)] == ["c.jpg", "b/a v1.2", "b/f3a9"]
    assert told(root) == ["passed over 3 other files (3 without suffix)"]


def test_of_many_files_without_a_suffix_a_few_are_in_memory(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_bytes, "_AT_ONCE", 7)
    names = [f"h/{number:02d}" for number in range(20)]
    root = make(*names)
    for name in names[::2]:
        (root / name).write_bytes(b"GIF89a")
    assert [row[2] for row in rows(root)] == names[::2]


def test_a_pipe_is_no_picture_and_a_link_without_a_suffix_to_nothing_is_one(tmp_path: Path) -> None:
    root = made(tmp_path, "hats/1.jpg")
    os.mkfifo(root / "hats" / "pipe")
    (root / "hats" / "gone").symlink_to("nothing")
    assert [row[0] for row in rows(root)] == ["1", "gone"]
    assert told(root) == ["passed over 1 other file (1 without suffix)"]


def test_pictures_that_differ_in_their_suffix_keep_it_in_a_path(make: Any) -> None:
    root = make("hats/a.jpg", "hats/a.png", "hats/b.jpg", "shoes/a.jpg", "x.gif", "x.jpg")
    found = ["x.gif", "x.jpg", "hats/a.jpg", "hats/a.png", "hats/b", "shoes/a"]
    assert [row[0] for row in rows(root, PATH)] == found
    assert [row[:2] for row in rows(root, FOLDER)][-4:] == [("hats", "0"), ("hats", "1"), ("hats", "2"), ("shoes", "0")]


def test_every_image_format_has_a_suffix() -> None:
    known = {content.name for _, content in formats._SIGNATURES if content.is_image}
    assert known == formats.SUFFIXES.keys()
    assert all(suffix == suffix.lower() for suffixes in formats.SUFFIXES.values() for suffix in suffixes)


def test_folders_that_systems_keep_are_left_out(make: Any) -> None:
    root = make("hats/1.jpg", "hats/@eaDir/1.jpg/THUMB_XL.jpg", "#recycle/2.jpg", "__MACOSX/hats/3.jpg")
    assert [row[0] for row in rows(root)] == ["1"]


def test_a_path_is_the_id_without_its_suffix(make: Any) -> None:
    root = make("shirts/000.jpg", "shoes/red/000.jpg", "000.jpg", "shoes/a.b.jpg")
    assert [(row[0], row[1], row[3]) for row in rows(root, PATH)] == [
        ("000", "0", None),
        ("shirts/000", "0", "shirts"),
        ("shoes/a.b", "0", "shoes"),
        ("shoes/red/000", "0", "shoes.red"),
    ]
    assert [row[0] for row in rows(root)] == ["000", "000", "a.b", "000"]


def test_a_folder_is_a_product_with_its_pictures_in_natural_order(make: Any) -> None:
    names = ("10.jpg", "2.jpg", "1.jpg", "1-back.jpg", "9 b.png", "notes.txt")
    root = make("loose.jpg", "flat/1.jpg", *(f"shoes/red, new/sneaker 7/{name}" for name in names))
    folder = "shoes/red, new/sneaker 7"
    assert rows(root, FOLDER) == [
        ("loose", "0", "loose.jpg", None),
        ("flat", "0", "flat/1.jpg", None),
        *[
            (folder, str(number), f"{folder}/{name}", r"shoes.red\, new")
            for number, name in enumerate(["1.jpg", "1-back.jpg", "2.jpg", "9 b.png", "10.jpg"])
        ],
    ]


def test_pictures_over_the_most_of_a_product_are_passed_over_and_counted(make: Any) -> None:
    root = make(*(f"p1/{number}.jpg" for number in range(13)), "p2/1.jpg")
    found = rows(root, Layout("folders", product_id="folder", max_images=10))
    assert [row[2] for row in found] == [*(f"p1/{number}.jpg" for number in range(10)), "p2/1.jpg"]
    assert told(root, Layout("folders", product_id="folder", max_images=10)) == [
        "passed over 3 pictures over the most of a product (--max-images)"
    ]
    assert len(rows(root)) == 14


@given(st.lists(st.text(st.characters(blacklist_characters="/\x00"), min_size=1, max_size=8)))
def test_any_names_have_an_order(names: Sequence[str]) -> None:
    assert sorted(sorted(names), key=_natural) == sorted(sorted(names, reverse=True), key=_natural)


@given(st.lists(st.integers(0, 10**20), unique=True), st.sampled_from(["{}.jpg", "p{}.jpg", "P {}-front.png"]))
def test_numbers_in_names_are_in_their_order(numbers: list[int], name: str) -> None:
    found = sorted((name.format(number) for number in numbers), key=_natural)
    assert found == [name.format(number) for number in sorted(numbers)]


def test_a_comma_in_the_name_of_a_folder_separates_no_categories(make: Any) -> None:
    ((product_id, _, _, category),) = rows(make("Home, Garden/Pots/p1.jpg"))
    assert (product_id, category) == ("p1", r"Home\, Garden.Pots")
    assert [each.category_id for each in shop_categories(str(category))] == ["home-garden.pots"]


def test_white_space_around_an_id_goes_and_the_picture_is_still_found(make: Any) -> None:
    found = rows(make("hats/ p1\u00a0.jpg", "a\x1bb/p2.jpg"))
    assert found[0][0] == "p2"
    assert found[0][3] == "a\ufffdb"
    assert found[1] == ("p1", "0", "hats/ p1\u00a0.jpg", "hats")


def test_a_path_that_is_too_long_for_an_id_is_refused(make: Any) -> None:
    root = make(f"{'a' * 200}/{'b' * 100}.jpg")
    assert len(rows(root)) == 1
    with pytest.raises(UsageError, match=r"has in a path a product_id of 301 characters, over the limit of 255"):
        rows(root, PATH)


def test_a_name_that_is_no_utf_8_is_refused_as_an_id_and_named_as_a_picture(tmp_path: Path) -> None:
    """Both pictures had the id `caf?`, and were looked for by that name."""
    for name in (b"caf\xe8.jpg", b"caf\xe9.jpg"):
        (tmp_path / "hats").mkdir(exist_ok=True)
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/hats/" + name)).write_bytes(b"x")
    with pytest.raises(
        UsageError, match=r"has in a path the product_id 'caf\\udce8' with a byte or half of a .* rename"
    ):
        rows(tmp_path)
    found = rows(tmp_path, Layout("folders", product_id="folder"))
    assert [row[:3] for row in found] == [("hats", "0", "hats/caf\ufffd.jpg"), ("hats", "1", "hats/caf\ufffd.jpg")]


def test_a_folder_that_cannot_be_listed_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hats").mkdir()
    scandir = os.scandir

    def denied(path: str) -> Any:
        if str(path).endswith("hats"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(UsageError, match="hats may not be read by this user"):
        rows(tmp_path)


def test_a_link_to_a_hidden_folder_of_the_directory_is_followed(tmp_path: Path) -> None:
    root = made(tmp_path, ".versions/2/hats/1.jpg", ".versions/1/hats/0.jpg")
    (root / "current").symlink_to(".versions/2")
    assert rows(root) == [("1", "0", "current/hats/1.jpg", "current.hats")]
    assert told(root) == []
    (root / "linked root").symlink_to(".versions/2/hats")
    assert rows(root / "linked root") == [("1", "0", "1.jpg", None)]


def test_each_folder_is_read_once_whatever_links_to_it(tmp_path: Path) -> None:
    root = made(tmp_path, "tops/1.jpg", ".x/2.jpg", ".x/y/3.jpg")
    links = {
        "sale": "tops",
        "here": ".",
        "tops/up": "..",
        "a": ".x",
        "b": ".x/y",
        ".x/y/again": "..",
        ".x/tops": "../tops",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    assert [row[2] for row in rows(root)] == ["a/2.jpg", "a/y/3.jpg", "tops/1.jpg"]
    assert told(root) == [
        "passed over 4 links to folders that are read by their own names (here, sale, a/tops, tops/up)"
    ]


def test_links_that_lead_out_of_the_directory_are_not_followed_and_named(tmp_path: Path) -> None:
    made(tmp_path, "outside/1.jpg")
    root = made(tmp_path / "shop", "tops/2.jpg")
    (tmp_path / "shop2").mkdir()
    for name, target in {"out": "../outside", "tops/up": "../..", "near": "../shop2", ".hidden": "../outside"}.items():
        (root / name).symlink_to(target)
    assert [row[0] for row in rows(root)] == ["2"]
    assert told(root) == ["did not follow 3 links to folders outside of the directory (near, out, tops/up)"]


def test_links_to_files_and_to_nothing_are_pictures(tmp_path: Path) -> None:
    """A link to nothing becomes a rejection, so that the product is not missed."""
    root = made(tmp_path, "hats/1.jpg")
    (root / "hats" / "2.jpg").symlink_to("gone.jpg")
    (root / "hats" / "3.jpg").symlink_to("3.jpg")
    (root / "hats" / "4.jpg").symlink_to("1.jpg")
    assert [row[0] for row in rows(root)] == ["1", "2", "3", "4"]


def test_a_part_tells_what_was_passed_over_once(tmp_path: Path) -> None:
    root = made(tmp_path, "a/1.jpg", "b/notes.txt")
    found: list[PassedOver] = []
    batches = list(read_part(Part(str(root), number=2), STEM, found.append))
    assert [batch["position"].to_pylist() for batch in batches] == [[2 * 2**38]]
    assert [each.suffixes for each in found] == [{".txt": 1}]


def test_memory_does_not_grow_with_the_suffixes_and_names_are_printable() -> None:
    passed_over = PassedOver()
    for number in range(5000):
        passed_over.add_file(f".x{number}")
        passed_over.links.add(f"\x1b[31m{number}" + "y" * 500)
    assert len(passed_over.suffixes) <= 101
    assert passed_over.suffixes.total() == 5000
    files, links = passed_over.sentences()
    assert files.startswith("passed over 5,000 other files (4,900 other, 1 .x0, ")
    assert links.isprintable()
    assert len(links) < 600

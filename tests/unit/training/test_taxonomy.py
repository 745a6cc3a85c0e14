"""Which categories a taxonomy's file teaches."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from click import BadParameter
from click.testing import CliRunner

from jobs.cli.main import main_group
from jobs.dataset.labels import LabelledImage, labelled_images
from jobs.dataset.parts import part_of
from jobs.errors import UsageError
from jobs.storage.places import Places
from jobs.training.selection import Selection, split, training_set
from jobs.training.taxonomy import read_taxonomy, taxonomy_of
from models.release import SHIPPED
from tests.labelled import BLUE, GREEN, LEAVES, RED, write_labelled

ALL_NODES = """category_id,category_path
cold,Cold
cold.blue,Cold > Blue
cold.green,Cold > Green
warm,Warm
warm.red,Warm > Red
"""
FINETUNE = ("finetune", "--release-id", "shop-1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """What a shop exports: every node."""
    path = tmp_path / "taxonomy.csv"
    path.write_text(ALL_NODES)
    return path


def test_of_a_taxonomy_with_all_nodes_the_leaves_are_trained(file: Path, tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), [(f"p{number}", LEAVES[number % 3], [0]) for number in range(30)])
    categories, _ = taxonomy_of(labelled_images(Places(tmp_path)), file=file, name="")
    assert [(one.category_id, one.category_path) for one in categories] == [
        ("cold.blue", "Cold > Blue"),
        ("cold.green", "Cold > Green"),
        ("warm.red", "Warm > Red"),
    ]


def test_a_label_that_is_a_parent_is_refused_even_if_the_file_lists_it(file: Path, tmp_path: Path) -> None:
    """It would be in the database twice, as a leaf and as the node above one, and every publish would fail."""
    labels = [*LEAVES, "cold"]
    write_labelled(Places(tmp_path), [(f"p{number}", labels[number % 4], [0]) for number in range(80)])
    with pytest.raises(UsageError, match=r"20 images are labelled 'cold', which is not a leaf .* cold\.blue, cold"):
        taxonomy_of(labelled_images(Places(tmp_path)), file=file, name="")


def test_a_category_that_no_release_may_hold_is_refused_before_training(tmp_path: Path) -> None:
    file = tmp_path / "taxonomy.csv"
    file.write_text("category_id,category_path\na..b,A > B\nc,C\n,\n", encoding="utf-8")
    images = [LabelledImage(f"p{n}", 0, str(n), ("a..b", "c")[n % 2], Path()) for n in range(30)]
    with pytest.raises(
        UsageError, match=r"products are labelled 'a\.\.b', which has a level without a letter or a digit"
    ):
        taxonomy_of(images, file=file, name="")


def test_a_taxonomy_that_names_a_category_twice_is_refused(file: Path) -> None:
    file.write_text(f"{ALL_NODES}cold.blue,Blue\n")
    with pytest.raises(UsageError, match=r"names the category 'cold\.blue' 2 times"):
        read_taxonomy(file)
    file.write_text(f"{ALL_NODES}cold.blue,Blue\ncold,Cold\ncold,Chilly\n")
    with pytest.raises(UsageError, match=r"names 2 categories more than once: 'cold' \(3\), 'cold\.blue' \(2\); leave"):
        read_taxonomy(file)


def told(home: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    """Return the sentence that a call is refused with."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("SHELFWISE_HOME", str(home))
    with pytest.raises(UsageError) as refused:
        CliRunner().invoke(main_group, words, catch_exceptions=False, standalone_mode=False)
    return str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        FINETUNE,
        ("evaluate", "--release", SHIPPED.name),
        ("release", "calibrate", SHIPPED.name, "--release-id", "shop-1"),
        ("export-arrays", "--output", "shop.npz", "--side-px", "16"),
    ],
)
def test_every_command_has_the_option_leave_out(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_labelled(Places(tmp_path), [(f"p{number}", LEAVES[number % 3], [0]) for number in range(30)])
    sentence = told(tmp_path, monkeypatch, *words, "--leave-out", "cold", "--leave-out", "hats")
    assert "no product is labelled 'hats' or below it; --leave-out takes one of the 3 labels" in sentence
    (tmp_path / "long tail.txt").write_text("\ufeffcold\n\n shoes & boots \r\n  \nhats", encoding="utf-8")
    sentence = told(tmp_path, monkeypatch, *words, "--leave-out", "@long tail.txt", "--leave-out", "bags")
    assert "with 3 categories of --leave-out or below them: 'bags', 'hats', 'shoes & boots'; take" in sentence
    sentence = told(tmp_path, monkeypatch, *words, "--leave-out", "@short tail.txt")
    assert sentence.startswith("--leave-out @short tail.txt cannot be read (No such file or directory); name a text fi")
    (tmp_path / "latin.txt").write_bytes(b"b\xe9b\xe9s")
    assert "@latin.txt cannot be read (it is not UTF-8)" in told(
        tmp_path, monkeypatch, *words, "--leave-out=@latin.txt"
    )


def test_the_remedy_for_categories_with_too_few_products_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    products = [("one", BLUE, [0]), ("two", GREEN, [0]), *((f"p{number}", RED, [0]) for number in range(30))]
    write_labelled(Places(tmp_path), products)
    sentence = told(tmp_path, monkeypatch, *FINETUNE)
    assert sentence.startswith(
        "2 categories have fewer than 10 products: 'cold.blue' (1), 'cold.green' (1); label more"
    )
    assert sentence.endswith("or leave the categories out with --leave-out @FILE, a text file of one a line")
    options = ["--leave-out", BLUE]
    sentence = told(tmp_path, monkeypatch, *FINETUNE, *options)
    assert "category 'cold.green' has 1 products" in sentence
    assert "all such categories out with --min-products 10, or" in sentence
    assert sentence.endswith("leave the category out with --leave-out 'cold.green'")
    options += ["--leave-out", GREEN]
    assert "all labelled products are 'warm.red'" in told(tmp_path, monkeypatch, *FINETUNE, *options)


def labelled(counts: dict[str, int]) -> list[LabelledImage]:
    """Return images of as many products of each label."""
    names = [(label, f"{label}-{number}") for label, count in counts.items() for number in range(count)]
    return [LabelledImage(name, 0, name, label, Path()) for label, name in names]


@pytest.mark.parametrize("prefix", ["small.", "\ue000" * 3000])
def test_many_categories_with_too_few_products_give_one_sentence(prefix: str) -> None:
    images = labelled({"much.red": 10, "much.blue": 10} | {f"{prefix}{number:04d}": 3 for number in range(1250)})
    with pytest.raises(UsageError) as refused:
        taxonomy_of(images, file=None, name="")
    sentence = str(refused.value)
    assert sentence.startswith("1,250 categories have fewer than 10 products: '")
    assert "--min-products 10" in sentence
    assert len(sentence) <= 400
    if prefix == "small.":
        assert ": 'small.0000' (3), 'small.0001' (3), 'small.0002' (3), 'small.0003' (3) and 1,246 more; la" in sentence


def test_all_labels_that_are_parents_are_reported_at_once() -> None:
    with pytest.raises(UsageError, match=r"2 categories that are parents of other labels: 'cold', 'warm'; label them"):
        taxonomy_of(labelled(dict.fromkeys(("warm", RED, "cold", BLUE, GREEN), 10)), file=None, name="")


def test_min_products_leaves_categories_out_before_labels_are_checked(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Here `cold` is a parent with 9 products, `hats` is in no taxonomy, and both are no obstacle any more."""
    counts = {BLUE: 30, GREEN: 11, RED: 30, "cold": 9, "hats": 2}
    products = [(f"{label}-{number}", label, [0, 1]) for label, count in counts.items() for number in range(count)]
    write_labelled(Places(tmp_path), products)
    caplog.set_level(logging.INFO, "jobs.training.selection")
    plain = Selection(Places(tmp_path))
    for taxonomy in (None, file):
        with pytest.raises(UsageError, match="labelled 'cold', which is"):
            training_set(replace(plain, taxonomy=taxonomy))
        found = training_set(replace(plain, taxonomy=taxonomy, min_products=10))
        assert found.category_ids == (BLUE, GREEN, RED)
        assert sum(map(len, found.sides.values())) == 2 * (30 + 11 + 30)
    assert caplog.messages == ["2 categories with fewer than 10 products are left out, and so their 11 products"] * 2
    assert training_set(replace(plain, min_products=12)).category_ids == (BLUE, RED)
    assert training_set(replace(plain, leave_out=(GREEN,), min_products=10)).category_ids == (BLUE, RED)


@pytest.mark.parametrize("words", [FINETUNE, ("export-arrays", "--output", "shop.npz", "--side-px", "16")])
def test_min_products_above_the_largest_category_is_refused(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_labelled(Places(tmp_path), [(f"p{number}", LEAVES[number % 3 % 2], [0]) for number in range(30)])
    sentence = told(tmp_path, monkeypatch, *words, "--min-products", "1000")
    assert sentence.startswith("no category has the 1,000 products of --min-products, the largest, 'warm.red', has 20")
    with pytest.raises(BadParameter, match="9 is not in the range x>=10"):
        CliRunner().invoke(main_group, [*words, "--min-products", "9"], catch_exceptions=False, standalone_mode=False)


def test_no_picture_is_in_two_parts_and_each_category_needs_a_training_picture(tmp_path: Path) -> None:
    places, names = Places(tmp_path), [f"p{number}" for number in range(60)]
    write_labelled(places, [(name, RED, [0]) for name in names])
    alone = split(labelled_images(places))
    write_labelled(places, [(f"{name}-too", RED, [0]) for name in names], content="shared")
    sides = split(labelled_images(places))
    assert {part for part in sides if sides[part] != alone[part]} == {"test"}
    write_labelled(places, [(f"{name}-more", GREEN, [0]) for name in names], content="a gift card")
    with pytest.raises(UsageError, match=r"'cold.green' has no picture to learn from .* --leave-out 'cold.green'"):
        split(labelled_images(places))
    write_labelled(places, [(f"{name}-most", BLUE, [0]) for name in names], content="a gift card")
    with pytest.raises(
        UsageError, match=r"2 categories \('cold.blue', 'cold.green'\) have no picture .* --leave-out @F"
    ):
        split(labelled_images(places))


def test_an_empty_part_gives_one_sentence(tmp_path: Path) -> None:
    """By chance, or as a part that measures has all its pictures."""
    places, held_out = Places(tmp_path), ["a1", "a8", "article-00003"]
    assert {part_of(name) for name in held_out} == {"test", "validation"}
    write_labelled(places, [(name, RED, [0]) for name in held_out])
    for _ in range(2):
        with pytest.raises(UsageError, match="no product with a picture of its own falls into the part 'train'"):
            split(labelled_images(places))
        write_labelled(places, [(name, RED, [1]) for name in ("p1", *held_out[:2])], content="shared", version=1)

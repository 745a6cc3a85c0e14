"""Which categories a taxonomy's file teaches."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.cli import main_group
from jobs.config import Places, UsageError
from jobs.labels import labelled_images, part_of
from jobs.taxonomy import read_taxonomy, split, taxonomy_of
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


def test_the_leaves_of_every_node_are_taught(file: Path, tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), [(f"p{number}", LEAVES[number % 3], [0]) for number in range(30)])
    categories, _ = taxonomy_of(labelled_images(Places(tmp_path)), file=file, name="")
    assert [(one.category_id, one.category_path) for one in categories] == [
        ("cold.blue", "Cold > Blue"),
        ("cold.green", "Cold > Green"),
        ("warm.red", "Warm > Red"),
    ]


def test_a_parent_is_no_label_though_the_file_lists_it(file: Path, tmp_path: Path) -> None:
    """It would be in the database twice, as a leaf and as the node above one, and every publish would fail."""
    labels = [*LEAVES, "cold"]
    write_labelled(Places(tmp_path), [(f"p{number}", labels[number % 4], [0]) for number in range(80)])
    with pytest.raises(UsageError, match=r"20 images are labelled 'cold', which is not a leaf .* cold\.blue, cold"):
        taxonomy_of(labelled_images(Places(tmp_path)), file=file, name="")


def test_a_category_that_is_named_twice(file: Path) -> None:
    file.write_text(f"{ALL_NODES}cold.blue,Blue\n")
    with pytest.raises(UsageError, match=r"names the category 'cold\.blue' 2 times"):
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
        ("evaluate", "--release", "fashion-mnist-2"),
        ("release", "calibrate", "fashion-mnist-2", "--release-id", "shop-1"),
        ("export-arrays", "--output", "shop.npz", "--side-px", "16"),
    ],
)
def test_every_command_leaves_categories_out(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_labelled(Places(tmp_path), [(f"p{number}", LEAVES[number % 3], [0]) for number in range(30)])
    sentence = told(tmp_path, monkeypatch, *words, "--leave-out", "cold", "--leave-out", "hats")
    assert "no product is labelled 'hats' or below it; --leave-out takes one of the 3 labels" in sentence


def test_a_category_of_too_few_products_can_be_left_out_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    products = [("one", BLUE, [0]), ("two", GREEN, [0]), *((f"p{number}", RED, [0]) for number in range(30))]
    write_labelled(Places(tmp_path), products)
    options: list[str] = []
    for label in (BLUE, GREEN):
        sentence = told(tmp_path, monkeypatch, *FINETUNE, *options)
        assert f"category '{label}' has 1 products" in sentence
        assert sentence.endswith(f"leave the category out with --leave-out '{label}'")
        options += ["--leave-out", label]
    assert "all labelled products are 'warm.red'" in told(tmp_path, monkeypatch, *FINETUNE, *options)


def test_no_picture_is_in_two_parts_and_each_category_has_one_to_learn_from(tmp_path: Path) -> None:
    places, names = Places(tmp_path), [f"p{number}" for number in range(60)]
    write_labelled(places, [(name, RED, [0]) for name in names])
    alone = split(labelled_images(places))
    write_labelled(places, [(f"{name}-too", RED, [0]) for name in names], content="shared")
    sides = split(labelled_images(places))
    assert {part for part in sides if sides[part] != alone[part]} == {"test"}
    write_labelled(places, [(f"{name}-more", GREEN, [0]) for name in names], content="a gift card")
    with pytest.raises(UsageError, match=r"'cold.green' has no picture to learn from .* --leave-out 'cold.green'"):
        split(labelled_images(places))


def test_a_part_that_has_none_is_a_sentence(tmp_path: Path) -> None:
    """By chance, or as a part that measures has all its pictures."""
    places, held_out = Places(tmp_path), ["a1", "a8", "article-00003"]
    assert {part_of(name) for name in held_out} == {"test", "validation"}
    write_labelled(places, [(name, RED, [0]) for name in held_out])
    for _ in range(2):
        with pytest.raises(UsageError, match="no product with a picture of its own falls into the part 'train'"):
            split(labelled_images(places))
        write_labelled(places, [(name, RED, [1]) for name in ("p1", *held_out[:2])], content="shared", version=1)

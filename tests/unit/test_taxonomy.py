"""Which categories a taxonomy's file teaches."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.config import Places, UsageError
from jobs.labels import labelled_images
from jobs.taxonomy import read_taxonomy, taxonomy_of
from tests.labelled import LEAVES, write_labelled

ALL_NODES = """category_id,category_path
cold,Cold
cold.blue,Cold > Blue
cold.green,Cold > Green
warm,Warm
warm.red,Warm > Red
"""


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

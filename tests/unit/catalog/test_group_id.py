"""The column `group_id` of a catalog: variants of one article have the same one."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.catalog.forms.csv import read_csv
from jobs.catalog.layout import PRESETS, Layout
from jobs.catalog.rows import Part


def groups(path: Path, layout: Layout) -> list[tuple[str, str | None]]:
    """Return product_id and group_id of each row."""
    batches = read_csv(path, str(path), layout, Part(str(path)))
    return [(row["product_id"], row["group_id"]) for batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize(
    ("value", "group_id"), [("g1", "g1"), ("  g1 ", "g1"), ("", None), ("   ", None), ("a\x07b\x1b", "a\ufffdb\ufffd")]
)
def test_a_group_is_read_trimmed_and_printable(tmp_path: Path, value: str, group_id: str | None) -> None:
    (tmp_path / "c.csv").write_text(f"product_id,image_uri,group_id\np1,1.jpg,{value}\n")
    assert groups(tmp_path / "c.csv", Layout("csv")) == [("p1", group_id)]


def test_an_export_for_google_has_groups(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("id,image_link,item_group_id\np1,1.jpg,g1\np2,2.jpg,\n")
    layout = Layout("csv", columns=PRESETS["google"].columns)
    assert groups(tmp_path / "c.csv", layout) == [("p1", "g1"), ("p2", None)]


def test_rows_that_are_one_product_have_no_group(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("product_id,image_uri,group_id,parent\np1,1.jpg,g1,a\np2,2.jpg,g1,\n")
    assert groups(tmp_path / "c.csv", Layout("csv", group_by="parent")) == [("a", None), ("p2", None)]

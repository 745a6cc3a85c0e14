"""What is written once: the key of an image, the columns of a catalog, the reasons of a rejection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from jobs.dataset.schema import CATALOG_COLUMNS, IMAGE_KEY, image_keys
from sql.records import REJECTION_REASONS

ROOT = Path(__file__).parents[3]

COLUMNS: dict[str, list[Any]] = {
    "image_sha256": ["a1", "b2"],
    "title": ["A shirt", "A boot"],
    "image_no": [0, 3],
    "product_id": ["p1", "007"],
}


@pytest.mark.parametrize(
    "columns",
    [
        COLUMNS,
        pd.DataFrame(COLUMNS),
        pa.table(COLUMNS).to_pydict(),
        {name: np.array(values) for name, values in COLUMNS.items()},
        {**COLUMNS, "image_no": np.array([0, 3], np.int32)},
    ],
)
def test_keys_are_plain_values_in_the_order_of_the_rows(columns: Any) -> None:
    keys = image_keys(columns)
    assert keys == [("p1", 0, "a1"), ("007", 3, "b2")]
    # The digest of a selection and the seed of an image's augmentation are made from the text of its keys, and NumPy's
    # values have another text from its version 2 on.
    assert [tuple(map(type, key)) for key in keys] == [(str, int, str)] * 2
    assert IMAGE_KEY == ("product_id", "image_no", "image_sha256")


def test_the_list_of_rejection_reasons_is_exactly_what_the_jobs_use() -> None:
    """A reason that is not listed would fail only when a night is published, by the check of the table."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "jobs").rglob("*.py"))
    given = set(re.findall(r'Rejected\(\s*"(\w+)"', code)) | set(re.findall(r'"reason": "(\w+)"', code))
    assert given == set(REJECTION_REASONS)


def test_the_readme_names_the_columns_of_a_catalog() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in CATALOG_COLUMNS if f"`{name}`" not in text] == []

"""The key of an image is the same from whatever holds the columns: a data frame, a batch of the reader, or a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from jobs.dataset.schema import IMAGE_KEY, image_keys

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

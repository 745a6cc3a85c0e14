"""A night by Daft: python with_daft.py CATALOG DATABASE."""

from __future__ import annotations

import sys
from typing import Any

import daft
import numpy as np
from classifier import BATCH, Classifier, decode, photographs, write
from daft import DataType, Series, col


@daft.cls(max_concurrency=1)
class Classify:
    """Classifies photographs, the network loaded once a worker."""

    def __init__(self) -> None:
        """Load the network."""
        self._classifier = Classifier()

    @daft.method.batch(  # type: ignore[untyped-decorator]
        return_dtype=DataType.struct({"category": DataType.int64(), "confidence": DataType.float64()}), batch_size=BATCH
    )
    def classify(self, images: Series) -> Any:
        """Return the category and confidence of each photograph."""
        categories, confidences = self._classifier(np.stack([decode(jpeg) for jpeg in images.to_pylist()]))
        return [
            {"category": category, "confidence": confidence}
            for category, confidence in zip(categories, confidences, strict=True)
        ]


def main() -> None:
    """Read, decode, predict and write."""
    every = photographs(sys.argv[1])
    frame = daft.from_pydict({"product_id": list(every), "path": list(every.values())})
    frame = frame.with_column("jpeg", col("path").download())
    frame = frame.with_column("answer", Classify().classify(col("jpeg"))).select("product_id", "answer")
    rows = frame.to_pylist()
    write(sys.argv[2], [(row["product_id"], row["answer"]["category"], row["answer"]["confidence"]) for row in rows])


if __name__ == "__main__":
    main()

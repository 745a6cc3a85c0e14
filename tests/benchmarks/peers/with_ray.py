"""A night by Ray Data: python with_ray.py CATALOG DATABASE."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import ray
from classifier import BATCH, Classifier, decode, photographs, write


def read(row: dict[str, Any]) -> dict[str, Any]:
    """Read and decode one photograph."""
    return {"product_id": row["product_id"], "image": decode(Path(row["path"]).read_bytes())}


class Classify:
    """Classifies batches; an actor of Ray loads the network once."""

    def __init__(self) -> None:
        """Load the network."""
        self._classifier = Classifier()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return product, category and confidence of each photograph."""
        categories, confidences = self._classifier(np.asarray(batch["image"]))
        return {"product_id": batch["product_id"], "category": categories, "confidence": confidences}


def main() -> None:
    """Read, decode, predict and write."""
    every = photographs(sys.argv[1])
    ray.init(logging_level="ERROR", include_dashboard=False, runtime_env={"working_dir": str(Path(__file__).parent)})
    data = ray.data.from_items([{"product_id": name, "path": path} for name, path in every.items()])
    data = data.map(read).map_batches(Classify, batch_size=BATCH, concurrency=1, num_cpus=1)
    write(sys.argv[2], [(row["product_id"], row["category"], row["confidence"]) for row in data.iter_rows()])


if __name__ == "__main__":
    main()

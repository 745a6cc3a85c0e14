"""A night by Spark's predict_batch_udf: python with_spark.py CATALOG DATABASE."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from classifier import BATCH, Classifier, decode, photographs, write
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import SparkSession
from pyspark.sql.types import DoubleType, LongType, StructField, StructType

RETURNED = StructType([StructField("category", LongType()), StructField("confidence", DoubleType())])


def make_predict() -> Callable[[Any], dict[str, Any]]:
    """Load the network and return the function that classifies a batch."""
    classifier = Classifier()

    def predict(paths: Any) -> dict[str, Any]:
        images = np.stack([decode(Path(path).read_bytes()) for path in paths])
        categories, confidences = classifier(images)
        return {"category": np.array(categories), "confidence": np.array(confidences)}

    return predict


def main() -> None:
    """Read, decode, predict and write."""
    every = photographs(sys.argv[1])
    spark = SparkSession.builder.master("local[*]").config("spark.ui.enabled", "false").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    spark.sparkContext.addPyFile(str(Path(__file__).with_name("classifier.py")))
    classify = predict_batch_udf(make_predict, return_type=RETURNED, batch_size=BATCH)
    frame = spark.createDataFrame(list(every.items()), "product_id string, path string").repartition(2)
    rows = frame.select("product_id", classify("path").alias("answer")).toLocalIterator()
    write(sys.argv[2], [(row.product_id, row.answer.category, row.answer.confidence) for row in rows])
    spark.stop()


if __name__ == "__main__":
    main()

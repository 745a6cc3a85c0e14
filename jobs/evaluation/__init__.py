"""Evaluation of a release on labelled products, with the reader, networks and decision rule of predict and publish.

Reads images/ and a release. Writes evaluation.json and evaluation.html to the directory given by `--output`.

Others import: config, evaluate, image_predictions, markdown, page, product_predictions.
"""

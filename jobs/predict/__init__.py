"""Predict: runs a release's networks over the dataset's shards and writes one prediction file per shard, atomically.

Reads images/ and a release. Writes predictions/, selections/ and tuning.json of the home.

Others import: config, job, reports, selection.
"""

"""Predict: both networks over the dataset's shards, a prediction file for each shard, put in place whole.

Reads images/ and a release; writes predictions/ and selections/ of the home, and tuning.json.

Others import: config, job, selection.
"""

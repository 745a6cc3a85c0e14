"""Runs: a night, a backfill, or a challenger's shadow run, from the claim on the run to publishing.

Calls ingest, predict and publish in order; writes the product database in one transaction per run, and label_map.csv of
the home.

Others import: backfill, config, night, run_ids, shadow.
"""

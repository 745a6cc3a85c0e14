"""Runs: a night, a backfill and a challenger's shadow, from the claim on the run to its publishing.

Puts ingest, predict and publish in order; writes the product database in one transaction a run.

Others import: backfill, config, night, shadow.
"""

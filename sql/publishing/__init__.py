"""Merge a run into the database in one transaction: staging, history, answers, and the lease on the run.

Others import: answer_changes, answers, history, leases, publish, releases, run_rows, staging, taxonomy.
"""

"""Merge a run into the database in one transaction: staging, history, answers, and the lease on the run.

Others import: answer_changes, answers, history, leases, positions, publish, releases, replaced, run_rows, settling,
shared_pictures, staging, taxonomy.
"""

"""Spark: start and stop a session, send the code to executors, and explain Spark's failures in one sentence.

Reads no data; writes only Spark's own scratch files.

Others import: config, executors, faults, progress, session, task.
"""

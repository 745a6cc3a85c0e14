"""Spark: starting a session, sending code to executors, and saying in one sentence what went wrong there.

Reads no data; writes only Spark's own scratch files.

Others import: config, faults, progress, session.
"""

"""A release's networks ready to answer batches on the device that is there.

Others import: devices, environment, faults, predictor, tuning.
"""

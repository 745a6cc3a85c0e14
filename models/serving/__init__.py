"""Run the networks of a release on batches of images, on the processor or accelerator of this process.

Reads the weights files of a release; writes nothing.

Others import: devices, engines, environment, faults, features, predictor, tuning.
"""

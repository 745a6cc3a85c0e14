"""Run the networks of a release on batches of images, on the processor or accelerator of this process.

Reads the weights files of a release; writes nothing.

Others import: converted, devices, engines, environment, faults, features, openvino_engine, predictor, tuning.
"""

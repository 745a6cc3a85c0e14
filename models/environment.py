"""What must be set before TensorFlow is imported, and nothing that imports it."""

from __future__ import annotations

import os


def prepare_environment() -> None:
    """Set what TensorFlow and its libraries read when they are imported; what the caller has set already stays.

    oneDNN's kernels double the rate on CPUs and are off by default on AMD; the log level keeps TensorFlow's start-up
    chatter out of the job's output.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")

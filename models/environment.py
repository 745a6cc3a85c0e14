"""What must be done before TensorFlow is imported, and nothing that imports it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def prepare_environment() -> None:
    """Set what TensorFlow and its libraries read when they are imported; what the caller has set already stays.

    oneDNN's kernels double the rate on CPUs and are off by default on AMD; the log level keeps TensorFlow's start-up
    chatter out of the job's output.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")


@contextmanager
def quiet_start() -> Iterator[None]:
    """Hold back what native libraries write to stderr while they start, and show it only if the start fails.

    TensorFlow writes a dozen lines about absent accelerators before its log level counts.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)

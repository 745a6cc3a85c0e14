"""All tests; importing this package prepares the environment of their processes."""

from __future__ import annotations

import os

# The threads of NumPy's and SciPy's linear algebra wait for each other in busy loops. Where another process needs the
# cores too, such as the second worker of pytest-xdist, two threads fit a small head several times slower than one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

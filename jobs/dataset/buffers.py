"""Memory for decoded images that is used again, because the system clears every page of fresh memory."""

from __future__ import annotations

import math
import weakref
from collections import defaultdict

import numpy as np

from models.spec import Images


class Buffers:
    """Gives out arrays for images; the memory of an array that nobody holds any more is given out again.

    Several threads may take arrays. It keeps as much memory as was held at the same time.
    """

    def __init__(self) -> None:
        """Create it without memory."""
        self._free: dict[int, list[memoryview]] = defaultdict(list)

    def take(self, count: int, side_px: int) -> Images:
        """Return an array whose values are left over from earlier, uint8 (count, side_px, side_px, 3)."""
        shape = (count, side_px, side_px, 3)
        free = self._free[math.prod(shape)]
        try:
            memory = free.pop()
        except IndexError:
            memory = np.empty(math.prod(shape), np.uint8).data  # NumPy asks for large pages
        whole = np.frombuffer(memory, np.uint8)
        # Every view of an array over foreign memory holds that array, so the memory is free when the last view is gone.
        weakref.finalize(whole, free.append, memory).atexit = False
        return whole.reshape(shape)

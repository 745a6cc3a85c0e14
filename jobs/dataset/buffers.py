"""Memory for decoded images that is used again, because the system clears every page of fresh memory."""

from __future__ import annotations

import math
import weakref

import numpy as np

from models.spec import Images


class Buffers:
    """Gives out arrays for images; the memory of an array that nobody holds any more is given out again.

    Several threads may take arrays. It keeps as many pieces of memory as arrays were held at the same time, each large
    enough for the largest of them.
    """

    def __init__(self) -> None:
        """Create it without memory."""
        self._free: list[memoryview] = []
        self._largest, self._kept = 0, True

    def take(self, count: int, side_px: int) -> Images:
        """Return an array whose values are left over from earlier, uint8 (count, side_px, side_px, 3)."""
        shape = (count, side_px, side_px, 3)
        size_bytes = math.prod(shape)
        self._largest = max(self._largest, size_bytes)
        memory = self._memory(size_bytes)
        whole = np.frombuffer(memory, np.uint8, count=size_bytes)
        # Every view of an array over foreign memory holds that array, so the memory is free when the last view is gone.
        weakref.finalize(whole, self._take_back, memory).atexit = False
        return whole.reshape(shape)

    def forget(self) -> None:
        """Keep no memory from now on: what is held is freed with its last view."""
        self._kept = False
        self._free.clear()

    def _take_back(self, memory: memoryview) -> None:
        if self._kept:
            self._free.append(memory)

    def _memory(self, size_bytes: int) -> memoryview:
        try:
            while len(memory := self._free.pop()) < size_bytes:
                pass  # too small from now on
        except IndexError:
            return np.empty(max(self._largest, 1), np.uint8).data  # NumPy asks for large pages
        return memory

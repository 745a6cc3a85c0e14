"""A cache in memory that holds a number of bytes and forgets what was not used for longest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteCache(Generic[K, V]):
    """Maps keys to the values that were used last; several threads may use it."""

    def __init__(self, most_bytes: int) -> None:
        """Make an empty cache.

        Args:
            most_bytes: Most bytes of all values together; a larger value is not kept.
        """
        self._most_bytes, self._bytes = most_bytes, 0
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._values)

    @property
    def size_bytes(self) -> int:
        """Bytes of all values together."""
        return self._bytes

    def get(self, key: K) -> V | None:
        """Return the value of a key; None if it is not kept."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: K, value: V, size_bytes: int) -> None:
        """Keep a value of this size, and forget as many others as it takes."""
        with self._lock:
            self._bytes -= self._values.pop(key, (None, 0))[1]
            if size_bytes > self._most_bytes:
                return
            self._values[key] = (value, size_bytes)
            self._bytes += size_bytes
            while self._bytes > self._most_bytes:
                self._bytes -= self._values.popitem(last=False)[1][1]

"""Choose TCP ports for servers that tests start, so that parallel tests do not choose the same one."""

from __future__ import annotations

import os
import random
import socket
from collections import deque

_FIRST, _LAST = 15_000, 30_000
"""Range below the ports that the system chooses for outgoing connections and for servers without a fixed port."""

_LANES = 8
"""Number of pytest workers that have separate ports."""

_chosen: deque[int] = deque(maxlen=500)
"""Ports that this process chose last: their servers may not listen yet, or be stopped for a moment."""


def free_port() -> int:
    """Return a free port of the loopback interface; each pytest worker chooses from its own ports."""
    lane = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _LANES
    while True:
        port = random.randrange(_FIRST, _LAST, _LANES) + lane
        if port in _chosen:
            continue
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
        _chosen.append(port)
        return port

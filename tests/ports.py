"""Ports for servers that tests start: not yet anyone's when the server comes to listen, although others start too."""

from __future__ import annotations

import os
import random
import socket

_FIRST, _LAST = 15_000, 30_000
"""Below where the system takes ports for outgoing connections and for servers that leave the choice to it."""
_LANES = 8


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on; each of pytest's workers has ports of its own."""
    lane = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _LANES
    while True:
        port = random.randrange(_FIRST, _LAST, _LANES) + lane
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port

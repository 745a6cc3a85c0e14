"""urllib3 connections with an address check and a total deadline.

urllib3 implements the protocol and keeps connections open between requests. Three things are added below it. The
address is checked where the connection is made, so that neither a redirect nor a second DNS answer can avoid the check.
The host name stays in the Host header and in TLS. Each read from the socket checks a deadline, so that a server that
sends its headers or its body one byte at a time cannot block a worker.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from contextvars import ContextVar
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from jobs.ingest.addresses import AddressGuard

DEADLINE: ContextVar[float] = ContextVar("deadline", default=float("inf"))
"""Time of `time.monotonic`, in seconds, at which the current thread's request must have ended."""


class DeadlinePassed(TimeoutError):
    """Raised when a connection passes the deadline of its request, even though bytes were still arriving."""


class _TimedFile(io.RawIOBase):
    """File object of a socket whose reads stop at the deadline."""

    def __init__(self, connection: socket.socket) -> None:
        """Wrap the socket's own file object, which keeps the socket open until that object is closed."""
        self._socket, self._raw = connection, connection.makefile("rb", buffering=0)
        self._timeout = connection.gettimeout()

    def readable(self) -> bool:
        """Return True: the file can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read available bytes into the buffer, waiting at most until the socket's timeout or the deadline."""
        left = DEADLINE.get() - time.monotonic()
        if left <= 0:
            raise DeadlinePassed
        timeout = left if self._timeout is None else min(left, self._timeout)
        self._socket.settimeout(None if timeout == float("inf") else timeout)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Close the file object, which releases the socket."""
        self._raw.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    """HTTP response that reads its status, headers and body through a `_TimedFile`."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_TimedFile(sock))


def guarded_pools(guard: AddressGuard, **options: Any) -> urllib3.PoolManager:
    """Return urllib3 connection pools for http and https that check each address; they use no proxy.

    Args:
        guard: Checks each address before a connection.
        options: Arguments of `urllib3.PoolManager`.

    Returns:
        The pools. A request to a forbidden address raises `AddressRefused`.
    """

    class Plain(HTTPConnection):
        response_class = _TimedResponse

        def _new_conn(self) -> socket.socket:
            return _connect(self, guard)

    class Secure(HTTPSConnection):
        response_class = _TimedResponse

        def _new_conn(self) -> socket.socket:
            return _connect(self, guard)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    manager = urllib3.PoolManager(**options)
    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return manager


def _connect(connection: HTTPConnection, guard: AddressGuard) -> socket.socket:
    """Connect to a checked address; failures raise the exceptions on which urllib3 bases its own decisions."""
    timeout = min(float(connection.timeout or 60.0), DEADLINE.get() - time.monotonic())
    try:
        return guard.connect(
            connection.host,
            connection.port,
            timeout_seconds=max(timeout, 0.001),
            deadline=DEADLINE.get(),
            options=connection.socket_options or (),
        )
    except socket.gaierror as error:
        raise urllib3.exceptions.NameResolutionError(connection.host, connection, error) from error
    except TimeoutError as error:
        raise urllib3.exceptions.ConnectTimeoutError(connection, "no answer") from error
    except (OSError, UnicodeError) as error:
        raise urllib3.exceptions.NewConnectionError(connection, str(error)) from error

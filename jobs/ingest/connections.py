"""Connections of urllib3 that go only where a guard lets them and end when their time is over.

urllib3 speaks the protocol and keeps connections open between requests. Three things are added below it: the address
is checked where the connection is made, so that neither a redirect nor a second DNS answer leads past the check; the
name stays in the Host header and in TLS; and each read from the socket looks at a deadline, so that a server that
sends a byte now and then, in its headers or its body, cannot hold a worker.
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
"""The moment, of `time.monotonic`, at which this thread's request must have ended."""


class DeadlinePassed(TimeoutError):
    """A request took longer than it may in all, although bytes kept coming."""


class _TimedFile(io.RawIOBase):
    """A socket's file that reads until the deadline at most."""

    def __init__(self, connection: socket.socket) -> None:
        """Wrap the socket's own file, which keeps the socket open until it is closed."""
        self._socket, self._raw = connection, connection.makefile("rb", buffering=0)
        self._patience = connection.gettimeout()

    def readable(self) -> bool:
        """Answer that it is."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what is there, waiting no longer than the socket's timeout and the deadline allow."""
        left = DEADLINE.get() - time.monotonic()
        if left <= 0:
            raise DeadlinePassed
        patience = left if self._patience is None else min(left, self._patience)
        self._socket.settimeout(None if patience == float("inf") else patience)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Let go of the socket."""
        self._raw.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    """Reads its status, headers and body through a `_TimedFile`."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_TimedFile(sock))


def guarded_pools(guard: AddressGuard, **options: Any) -> urllib3.PoolManager:
    """Return urllib3's connection pools for http and https behind a guard; no proxy, no retry, no redirect of theirs.

    Args:
        guard: What decides where a connection may go.
        options: Of `urllib3.PoolManager`.

    Returns:
        The pools; what the guard refuses is raised by a request as `AddressRefused`.
    """

    class Plain(HTTPConnection):
        response_class = _TimedResponse

        def _new_conn(self) -> socket.socket:
            return _connected(self, guard)

    class Secure(HTTPSConnection):
        response_class = _TimedResponse

        def _new_conn(self) -> socket.socket:
            return _connected(self, guard)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    manager = urllib3.PoolManager(**options)
    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return manager


def _connected(connection: HTTPConnection, guard: AddressGuard) -> socket.socket:
    """Connect as urllib3 does, to a checked address, with its exceptions for its own decisions."""
    patience = min(float(connection.timeout or 60.0), DEADLINE.get() - time.monotonic())
    try:
        return guard.connect(
            connection.host,
            connection.port,
            timeout_seconds=max(patience, 0.001),
            deadline=DEADLINE.get(),
            options=connection.socket_options or (),
        )
    except socket.gaierror as error:
        raise urllib3.exceptions.NameResolutionError(connection.host, connection, error) from error
    except TimeoutError as error:
        raise urllib3.exceptions.ConnectTimeoutError(connection, "no answer") from error
    except (OSError, UnicodeError) as error:
        raise urllib3.exceptions.NewConnectionError(connection, str(error)) from error

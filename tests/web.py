"""A web server on the loopback interface that simulates faults, and records its requests."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Handler that answers a path with the function that the test has registered for it."""

    protocol_version = "HTTP/1.1"
    server: WebServer

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections += 1

    def do_GET(self) -> None:
        shop = self.server
        with shop.lock:
            shop.asked[self.path] += 1
            shop.hosts.add(self.headers.get("Host", ""))
            shop.headers[self.path] = {name: ", ".join(self.headers.get_all(name, [])) for name in self.headers}
            shop.running += 1
            shop.most_at_once = max(shop.most_at_once, shop.running)
        try:
            shop.answers.get(self.path, status(404))(self)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        finally:
            with shop.lock:
                shop.running -= 1

    def give(self, body: bytes, code: int = 200, **headers: str) -> None:
        """Send a complete answer."""
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Write no log lines."""


class WebServer(ThreadingHTTPServer):
    """The server, with its `answers` by path, counts of its requests, and the last headers of each path."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((address, port), Handler)
        self.answers: dict[str, Answer] = {}
        self.asked: Counter[str] = Counter()
        self.hosts: set[str] = set()
        self.headers: dict[str, dict[str, str]] = {}
        self.lock = threading.Lock()
        self.connections = self.running = self.most_at_once = 0

    def handle_error(self, *_: Any) -> None:
        """Ignore errors, because clients of these tests disconnect on purpose."""

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"http://{self.server_address[0]!s}:{self.server_port}"


@contextmanager
def web_server(address: str = "127.0.0.1", port: int = 0) -> Iterator[WebServer]:
    """Run a server while the block runs."""
    server = WebServer(address, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def image(body: bytes, *, etag: str | None = None, last_modified: str | None = None, seconds: float = 0.0) -> Answer:
    """Send these bytes after a delay, or 304 to a client that has them."""

    def answer(handler: Handler) -> None:
        time.sleep(seconds)
        known = {handler.headers.get("If-None-Match"), handler.headers.get("If-Modified-Since")} - {None}
        headers = {"ETag": etag, "Last_Modified": last_modified}
        sent = {name: value for name, value in headers.items() if value}
        if known & set(sent.values()):
            handler.send_response(304)
            handler.end_headers()
        else:
            handler.give(body, 200, **sent)

    return answer


def status(code: int, **headers: str) -> Answer:
    """Answer with a status code and no body."""
    return lambda handler: handler.give(b"", code, **headers)


def in_turn(*answers: Answer) -> Answer:
    """Use one answer after the other, and then repeat the last one."""
    left = list(answers)
    return lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)


def endless(*, seconds: float = 0.0, piece: bytes = b"\xff\xd8" * 2**15) -> Answer:
    """Send pieces without end, with a pause between them."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        while True:
            handler.wfile.write(piece)
            time.sleep(seconds)

    return answer


def dripping_headers(handler: Handler) -> None:
    """Begin an answer and never finish it."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        handler.wfile.write(b"a")
        time.sleep(0.05)


def silent(handler: Handler) -> None:
    """Send nothing until the client disconnects."""
    handler.connection.settimeout(20)
    handler.rfile.read(1)
    handler.close_connection = True


def reset(handler: Handler) -> None:
    """Drop the connection as a crashing server does."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def cut_short(body: bytes) -> Answer:
    """Announce the length of the whole file and send half of it."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2])
        handler.close_connection = True

    return answer


def unannounced(body: bytes) -> Answer:
    """Send a body without its length; it ends with the connection."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def promise(size: int) -> Answer:
    """Announce a number of bytes and send none."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(size))
        handler.end_headers()
        silent(handler)

    return answer

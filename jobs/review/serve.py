"""Serve the review pages: who may reach them from where, and the web server.

    shelfwise review serve

On the loopback interface one person opens a printed address. Elsewhere, people with names and passwords reach the pages
by HTTPS only: of this server, or of a proxy in front of it.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn

from jobs.errors import UsageError
from jobs.review.access import Access, Proxy
from jobs.review.connections import Connection
from jobs.review.people import People, checked_name
from jobs.storage.modes import refuse_open_to_others

log = logging.getLogger(__name__)

_MOST_REQUESTS = 500
"""Requests that are answered at the same time; others get 503.

Far more than `MOST_CONNECTIONS`: what is closed to make room is counted until its task has ended.
"""


@dataclass(frozen=True)
class Serving:
    """Where the pages are served, and to whom.

    Attributes:
        host: Address or host name to listen on.
        port: TCP port; 0 chooses a free one.
        by: Name of the one person on the loopback interface; empty for the system's user.
        names: Host names by which people reach the pages, where they listen on all addresses.
        tls_cert: File of the certificate; None without TLS.
        tls_key: File of its key.
        behind: Public address of a proxy, `https://review.shop.example`; empty without one.
        user_header: Header in which the proxy names the person; empty where people log in here.
        secret_header: Header in which the proxy sends the shared secret.
        secret_file: File with the shared secret; without one nothing that the proxy says of a request is believed.
    """

    host: str = "127.0.0.1"
    port: int = 8484
    by: str = ""
    names: Sequence[str] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind: str = ""
    user_header: str = ""
    secret_header: str = "X-Shelfwise-Secret"  # noqa: S105 - a header's name
    secret_file: Path | None = None

    @property
    def alone(self) -> bool:
        """Whether one person reaches the pages from this machine, by an address that works once."""
        return _is_loopback(self.host) and not self.behind


def access_of(serving: Serving, people: People, *, port: int, user: str) -> Access:
    """Decide who may reach the pages.

    Args:
        serving: Where they are served.
        people: The people who may log in.
        port: Port on which the server listens.
        user: Name of the system's user.

    Raises:
        UsageError: If other machines could reach the pages without HTTPS or without a login, or an option does not fit.
    """
    _check(serving)
    scheme = "https" if serving.tls_cert or serving.behind else "http"
    hosts = _hosts(serving, port, scheme)
    shared: dict[str, Any] = {
        "hosts": frozenset(hosts),
        "origins": frozenset(f"{scheme}://{host}" for host in hosts),
        "address": f"{scheme}://{hosts[0]}",
        "port": port,
        "secure": scheme == "https",
    }
    if serving.alone:
        return Access(**shared, by=checked_name(serving.by or user))
    shared["behind"] = bool(serving.behind)
    if serving.secret_file is not None:
        shared["proxy"] = Proxy(serving.secret_header, _secret(serving.secret_file), serving.user_header)
    if serving.user_header:
        return Access(**shared)
    if not people.all():
        raise UsageError(
            "nobody could log in: add the people who review with `shelfwise review people add NAME`, then start again"
        )
    return Access(**shared, people=people)


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens on a port.

    Raises:
        UsageError: If the port is taken, or the address is none of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"{host} is no address of this machine ({error.strerror}); give another --host") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        if getattr(error, "errno", 0) == errno.EADDRINUSE:
            raise UsageError(
                f"port {port} of {host} is taken, perhaps by another `shelfwise review serve`; stop that, or give "
                "another --port"
            ) from error
        raise UsageError(f"port {port} of {host} cannot be used ({error}); give another --host or --port") from error
    return listening


def run(
    application: Any,
    listening: socket.socket,
    *,
    serving: Serving,
    started: Callable[[uvicorn.Server], None] | None = None,
) -> None:
    """Serve the application until the process is interrupted.

    Args:
        application: The ASGI application.
        listening: Socket of `bound_socket`.
        serving: Where it is served.
        started: Is called with the server before it starts, so that another thread can stop it.

    Raises:
        UsageError: If the certificate or its key cannot be used.
    """
    config = uvicorn.Config(
        application,
        http=Connection,
        ws="none",
        loop="asyncio",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        log_level="warning",
        limit_concurrency=_MOST_REQUESTS,
        timeout_graceful_shutdown=5,
        ssl_certfile=serving.tls_cert,
        ssl_keyfile=serving.tls_key,
    )
    try:
        config.load()
    except (ssl.SSLError, OSError) as error:
        raise UsageError(
            f"{serving.tls_cert} and {serving.tls_key} cannot be used for TLS ({error}); give a certificate and its "
            "key as PEM files"
        ) from error
    server = uvicorn.Server(config)
    if started:
        started(server)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listening])


def _check(serving: Serving) -> None:
    if bool(serving.tls_cert) != bool(serving.tls_key):
        raise UsageError("--tls-cert and --tls-key belong together: give both, as PEM files")
    if serving.user_header and not serving.behind:
        raise UsageError("--user-header is believed behind a proxy only: give the proxy's public address with --behind")
    if serving.secret_file is not None and not serving.behind:
        raise UsageError("--secret-file is for a proxy in front: give the proxy's public address with --behind")
    if serving.user_header and serving.secret_file is None:
        raise UsageError(
            "--user-header needs --secret-file, a file with a secret that only the proxy sends: any user of this "
            "machine reaches its loopback interface and could name anybody"
        )
    if not _is_loopback(serving.host) and not serving.tls_cert and not serving.behind:
        raise UsageError(
            f"other machines would reach {serving.host} without encryption: give --tls-cert and --tls-key, or a proxy "
            "in front with --behind"
        )
    if not _is_loopback(serving.host) and serving.behind and not serving.tls_cert and serving.secret_file is None:
        raise UsageError(
            f"any machine would reach {serving.host} without encryption, past the proxy: listen on --host 127.0.0.1 if "
            "the proxy is on this machine; else give --secret-file, a file with a secret that only the proxy sends, "
            "and let only the proxy reach the port"
        )
    if serving.by and not serving.alone:
        raise UsageError("--by is for the loopback interface; elsewhere the person who is logged in decides")


def _hosts(serving: Serving, port: int, scheme: str) -> list[str]:
    """Return the values of the Host header under which people reach the pages, first the one that is printed."""
    if serving.behind:
        return [_public_host(serving.behind)]
    ip = _ip(serving.host)
    if serving.alone:
        names = [serving.host, "127.0.0.1", "localhost"]
    elif serving.names:
        names = list(serving.names)
    else:
        every = ip is not None and ip.is_unspecified
        names = [*([] if every else [serving.host]), socket.gethostname(), socket.getfqdn()]
    usual = {"http": 80, "https": 443}[scheme]
    named = dict.fromkeys(_as_in_urls(name) for name in names)
    return [name if port == usual else f"{name}:{port}" for name in named]


def _public_host(behind: str) -> str:
    """Return the Host header of requests to the public address of a proxy."""
    parts = urlsplit(behind)
    try:
        port = parts.port
    except ValueError:
        port = 0
    plain = parts.path in ("", "/") and not parts.query and not parts.fragment and "@" not in parts.netloc
    if parts.scheme != "https" or not parts.hostname or not plain or port == 0:
        raise UsageError(
            f"--behind {behind!r} is not the public address of a proxy: expected https://review.shop.example"
        )
    name = _as_in_urls(parts.hostname)
    return name if port in (None, 443) else f"{name}:{port}"


def _as_in_urls(host: str) -> str:
    """Return a host as browsers write it: in lower case, an IPv6 address short and in brackets."""
    ip = _ip(host)
    return host.lower() if ip is None else f"[{ip.compressed}]" if ip.version == 6 else str(ip)


def _secret(path: Path) -> str:
    try:
        refuse_open_to_others(path, "a secret")
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--secret-file {path} cannot be read ({error}); name a text file") from error
    if len(secret) < 20 or not secret.isascii():
        raise UsageError(f"the secret in {path} has {len(secret)} characters: expected at least 20 of ASCII")
    return secret


def _is_loopback(host: str) -> bool:
    ip = _ip(host)
    return host == "localhost" if ip is None else ip.is_loopback


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host is, with or without brackets; None for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None

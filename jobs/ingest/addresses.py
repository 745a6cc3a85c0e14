"""Which network addresses a catalog may make this program connect to.

A catalog is written by others. An image link in it must not become a way to speak to what only this machine can reach:
itself, its neighbours, a cloud's metadata service. So a name is resolved once, each address is looked at, and the
connection goes to that very address; what a second DNS answer would say does not matter.
"""

from __future__ import annotations

import ipaddress
import math
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PORTS = (80, 443, 8080, 8443)
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRefused(Exception):
    """A connection that was not made because of where it would have gone; its text never quotes more than the host."""


@dataclass(frozen=True)
class AddressGuard:
    """Lets connections through to public addresses on a web server's ports, and to networks that are named.

    Attributes:
        allowed: Networks that may be reached on any port although they are not public.
        ports: What a public address may be asked on.
    """

    allowed: tuple[Network, ...] = ()
    ports: tuple[int, ...] = PORTS

    def connect(
        self,
        host: str,
        port: int,
        *,
        timeout_seconds: float | None,
        deadline: float = math.inf,
        options: Sequence[tuple[int, int, int | bytes]] = (),
    ) -> socket.socket:
        """Connect to the first address of a host that answers and may be reached.

        Args:
            host: A name, or an address in any spelling that the resolver knows.
            port: The port.
            timeout_seconds: For each address.
            deadline: The moment, of `time.monotonic`, at which the last one must have answered.
            options: Arguments of `setsockopt`.

        Returns:
            The socket; its peer is an address that was checked.

        Raises:
            AddressRefused: If one of the host's addresses may not be reached, whichever would have answered.
            OSError: If the name does not resolve or no address answers.
        """
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for *_, where in found:
            self.check(host, str(where[0]), port)
        failure: OSError = OSError("the name has no address")
        for family, kind, protocol, _, where in found:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("its addresses did not answer in time")
            connection = socket.socket(family, kind, protocol)
            try:
                for option in options:
                    connection.setsockopt(*option)
                patience = left if timeout_seconds is None else min(timeout_seconds, left)
                connection.settimeout(None if patience == math.inf else patience)
                connection.connect(where)
            except OSError as error:
                connection.close()
                failure = error
            else:
                return connection
        raise failure

    def check(self, host: str, address: str, port: int) -> None:
        """Raise AddressRefused unless this address may be asked on this port; `host` is what the text calls it."""
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if any(parsed in network or _plain(parsed) in network for network in self.allowed):
            return
        if not is_public(parsed):
            raise AddressRefused(
                f"host {host[:80]} is at {parsed}, which is not a public address; "
                "SHELFWISE_HTTP_ALLOWED_NETWORKS names the networks that may be reached all the same"
            )
        if port not in self.ports:
            raise AddressRefused(f"port {port} is none of {', '.join(map(str, self.ports))}")


def is_public(address: Address) -> bool:
    """Say whether an address is one of the open internet; an IPv6 address is no better than the IPv4 one in it."""
    carried = list(_carried(address))
    if not all(inner.is_global and not inner.is_multicast and not inner.is_reserved for inner in carried):
        return False
    if isinstance(address, ipaddress.IPv4Address) or address in _NAT64 or address.ipv4_mapped is not None:
        return bool(carried)
    return address in _UNICAST and address.is_global and not address.is_multicast


def _plain(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 socket would reach, so that one network covers both spellings."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _carried(address: Address) -> Iterator[ipaddress.IPv4Address]:
    """Yield the IPv4 addresses that an address is or holds: mapped, NAT64, 6to4, Teredo."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    for inner in (address.ipv4_mapped, address.sixtofour, *(address.teredo or ())):
        if inner is not None:
            yield inner
    if address in _NAT64:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)

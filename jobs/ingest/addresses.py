"""Which network addresses a catalog may make this program connect to.

A catalog is written by others. Its image links must not let them reach hosts that only this machine can reach: the
machine itself, its private network, a cloud's metadata service. So a host name is resolved once, each of its addresses
is checked, and the connection uses a checked address. The name is never resolved again, so a different second DNS
answer (DNS rebinding) has no effect.
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
    """Raised instead of connecting to a forbidden address or port; the message names the host and never the URL."""


@dataclass(frozen=True)
class AddressGuard:
    """Allows connections to public addresses on the ports of web servers, and to explicitly allowed networks.

    Attributes:
        allowed: Networks that may be reached on any port although they are not public.
        ports: TCP ports that are allowed for public addresses.
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
        """Check all addresses of a host, then connect to the first one that answers.

        Args:
            host: Host name, or an IP address in any notation that the resolver accepts.
            port: TCP port.
            timeout_seconds: Longest wait for each address, in seconds; None for no limit of its own.
            deadline: Time of `time.monotonic`, in seconds, at which all attempts must have ended.
            options: Socket options to set before connecting, each the arguments of one `setsockopt` call.

        Returns:
            The connected socket; its peer is an address that was checked.

        Raises:
            AddressRefused: If any of the host's addresses is forbidden, even if another one would have answered.
            OSError: If the name does not resolve or no address answers.
        """
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for *_, address in addresses:
            self.check(host, str(address[0]), port)
        failure: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in addresses:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("its addresses did not answer in time")
            connection = socket.socket(family, kind, protocol)
            try:
                for option in options:
                    connection.setsockopt(*option)
                timeout = left if timeout_seconds is None else min(timeout_seconds, left)
                connection.settimeout(None if timeout == math.inf else timeout)
                connection.connect(address)
            except OSError as error:
                connection.close()
                failure = error
            else:
                return connection
        raise failure

    def check(self, host: str, address: str, port: int) -> None:
        """Raise AddressRefused unless connections to this address and port are allowed.

        Args:
            host: Host name for the error message.
            address: IPv4 or IPv6 address, with or without a zone (`fe80::1%eth0`).
            port: TCP port.
        """
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if any(parsed in network or _unmapped(parsed) in network for network in self.allowed):
            return
        if not is_public(parsed):
            raise AddressRefused(
                f"host {host[:80]} is at {parsed}, which is not a public address; "
                "SHELFWISE_HTTP_ALLOWED_NETWORKS names the networks that may be reached all the same"
            )
        self.check_port(port)

    def check_port(self, port: int) -> None:
        """Raise AddressRefused if no public address may be reached at this TCP port."""
        if port not in self.ports:
            raise AddressRefused(f"port {port} is none of {', '.join(map(str, self.ports))}")


def is_public(address: Address) -> bool:
    """Return whether an address is public; an IPv6 address is public only if each IPv4 address embedded in it is."""
    embedded = list(_embedded_ipv4(address))
    if not all(inner.is_global and not inner.is_multicast and not inner.is_reserved for inner in embedded):
        return False
    if isinstance(address, ipaddress.IPv4Address) or address in _NAT64 or address.ipv4_mapped is not None:
        return bool(embedded)
    return address in _UNICAST and address.is_global and not address.is_multicast


def _unmapped(address: Address) -> Address:
    """Return the IPv4 address of an IPv4-mapped IPv6 address, so that one IPv4 network matches both notations."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _embedded_ipv4(address: Address) -> Iterator[ipaddress.IPv4Address]:
    """Yield an IPv4 address itself, or the IPv4 addresses embedded in an IPv6 one: mapped, NAT64, 6to4, Teredo."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    for inner in (address.ipv4_mapped, address.sixtofour, *(address.teredo or ())):
        if inner is not None:
            yield inner
    if address in _NAT64:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)

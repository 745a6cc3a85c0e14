"""Where an image link may lead: only to the open internet, in whatever spelling and whatever DNS says later."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

from jobs.errors import UsageError
from jobs.ingest.addresses import AddressGuard, AddressRefused, is_public
from jobs.ingest.config import HttpLimits
from tests.web import web_server

PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "198.18.0.1",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "4000::1",
]
PUBLIC = ["8.8.8.8", "93.184.215.14", "2606:4700::6810:84e5", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address.partition("%")[0]))
    with pytest.raises(AddressRefused, match="not a public address"):
        AddressGuard().check("shop.example", address, 443)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed_on_the_ports_of_web_servers(address: str) -> None:
    AddressGuard().check("shop.example", address, 443)
    with pytest.raises(AddressRefused, match="port 22 is none of 80, 443"):
        AddressGuard().check("shop.example", address, 22)


def test_an_allowed_network_is_allowed_on_any_port_in_both_spellings() -> None:
    guard = HttpLimits(allowed_networks=("10.2.0.0/16", "fd00::/8")).guard
    for address in ("10.2.3.4", "::ffff:10.2.3.4", "fd00::1"):
        guard.check("shop.example", address, 9000)
    for address in ("10.3.0.1", "127.0.0.1", "::ffff:10.3.0.1"):
        with pytest.raises(AddressRefused):
            guard.check("shop.example", address, 80)


@pytest.mark.parametrize("text", ["10.2.0.1/16", "all", "10.2", ""])
def test_an_invalid_network_is_a_wrong_call(text: str) -> None:
    with pytest.raises(UsageError, match="SHELFWISE_HTTP_ALLOWED_NETWORKS"):
        HttpLimits(allowed_networks=(text,))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0"])
def test_every_spelling_of_this_machine_is_refused_before_a_connection_is_made(host: str) -> None:
    with web_server() as server:
        with pytest.raises(AddressRefused, match="not a public address"):
            AddressGuard().connect(host, server.server_port, timeout_seconds=2)
        assert server.connections == 0


def test_a_name_with_one_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("93.184.215.14", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1"):
        AddressGuard().connect("shop.example", 80, timeout_seconds=2)


def test_a_name_is_resolved_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answer is an allowed address and every later one is not: the connection must go to the first."""
    real, answers = socket.getaddrinfo, iter(["127.0.0.1"])

    def resolve(host: str, *arguments: Any, **options: Any) -> Any:
        return real(next(answers, "127.0.0.2") if host == "shop.example" else host, *arguments, **options)

    with web_server() as allowed, web_server("127.0.0.2", allowed.server_port) as secret:
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        guard = HttpLimits(allowed_networks=("127.0.0.1",)).guard
        with guard.connect("shop.example", allowed.server_port, timeout_seconds=2) as connection:
            assert connection.getpeername()[0] == "127.0.0.1"
        with pytest.raises(AddressRefused, match=r"127\.0\.0\.2"):
            guard.connect("shop.example", allowed.server_port, timeout_seconds=2)
        assert secret.connections == 0

"""Which addresses calls may be sent to."""

from __future__ import annotations

import socket

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override

from lava_grpc.gateway.addresses import AddressRefusedError, GuardedResolver, is_public


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001::1"),
        *("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),
    ],
)
def test_the_public_internet_may_be_called(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.0.1", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "0.1.2.3", "255.255.255.255"),
        "0.0.0.0",  # noqa: S104 - to be refused, not bound to
        *("224.0.0.1", "239.1.1.1", "240.0.0.1", "192.0.2.1", "198.18.0.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1"),
        *("2001:db8::1", "ff0e::1", "::127.0.0.1", "::8.8.8.8"),
        *("::ffff:127.0.0.1", "::ffff:a00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
        *("64:ff9b:1::1", "2002:7f00:1::1", "2002:a00:1::1", "2001:0:a00:1::1"),
        *("", "localhost", "8.8.8", "0x8.8.8.8"),
    ],
)
def test_all_else_may_not(address: str) -> None:
    assert not is_public(address)


class FixedResolver(AbstractResolver):
    """Resolves any name to given addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self.addresses
        ]

    @override
    async def close(self) -> None:
        pass


async def test_a_name_with_no_public_address_is_refused() -> None:
    guard = GuardedResolver(FixedResolver("10.0.0.1", "::1"))

    with pytest.raises(AddressRefusedError):
        await guard.resolve("rebound.example", 443)


async def test_only_the_public_addresses_of_a_name_are_connected_to() -> None:
    guard = GuardedResolver(FixedResolver("10.0.0.1", "8.8.8.8"))

    found = await guard.resolve("mixed.example", 443)

    assert [result["host"] for result in found] == ["8.8.8.8"]


async def test_a_host_that_the_operator_named_may_be_private() -> None:
    guard = GuardedResolver(FixedResolver("10.0.0.1"), {"inside.example", "port.example:9000"})

    assert await guard.resolve("Inside.example.", 443)
    assert await guard.resolve("port.example", 9000)
    with pytest.raises(AddressRefusedError):
        await guard.resolve("port.example", 443)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "017700000001", "[::1]", "::ffff:10.0.0.1"],
)
def test_an_address_in_any_spelling_is_judged_before_it_is_called(host: str) -> None:
    guard = GuardedResolver(FixedResolver())

    with pytest.raises(AddressRefusedError):
        guard.check_literal(host, 443)


def test_names_and_public_addresses_pass_the_check_of_literals() -> None:
    guard = GuardedResolver(FixedResolver(), {"127.0.0.1:9000", "[::1]:9000"})

    for host in ("api.openai.com", "8.8.8.8", "2606:4700:4700::1111"):
        guard.check_literal(host, 443)
    for host in ("127.0.0.1", "::1"):
        guard.check_literal(host, 9000)

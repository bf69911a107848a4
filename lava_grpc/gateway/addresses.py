"""Keeps calls out of the operator's own network, whatever a name resolves to.

A provider's host is checked by name before (`targets.py`). Names resolve to
what their owner likes, so the addresses are checked too, at connect time and
on the very addresses that are then connected to: a name that changes its mind
between a check and the connection (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from functools import lru_cache

from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override

# Only this range of IPv6 is given out for the public internet.
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOW_32_BITS = 0xFFFF_FFFF
# Both questions are asked on every call, of few hosts.
_REMEMBERED = 4096


class AddressRefusedError(OSError):
    """A host has no address that calls may be sent to. An OSError, as resolvers raise."""


@lru_cache(maxsize=_REMEMBERED)
def is_public(address: str) -> bool:
    """Whether `address`, spelled as a resolver spells it, is on the public internet.

    An IPv6 address that carries an IPv4 one (mapped, NAT64, 6to4, Teredo) is
    judged by that too. What is no address at all is not public.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return _is_public_v4(parsed)
    carried = _carried(parsed)
    if carried and not all(_is_public_v4(inner) for inner in carried):
        return False
    if parsed.ipv4_mapped is not None or parsed in _NAT64:
        return True
    return parsed in _PUBLIC_V6 and parsed.is_global and not parsed.is_multicast


def _is_public_v4(address: ipaddress.IPv4Address) -> bool:
    return address.is_global and not address.is_multicast


def _carried(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    carried = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        carried.append(ipaddress.IPv4Address(int(address) & _LOW_32_BITS))
    return [inner for inner in carried if inner is not None]


@lru_cache(maxsize=_REMEMBERED)
def literal_address(host: str) -> str | None:
    """The address that `host` itself is, None where it is a name.

    Takes every spelling that a socket does: `127.1`, `0x7f000001`, `2130706433`.
    """
    bare = host.removeprefix("[").removesuffix("]")
    if ":" in bare:
        return bare
    try:
        return socket.inet_ntoa(socket.inet_aton(bare))
    except OSError:
        return None


class GuardedResolver(AbstractResolver):
    """Resolves through `inner`, and leaves out every address that is not public.

    `private_hosts` (`host` or `host:port`, lower-case) are those that an
    operator named, and resolve to what they resolve to.
    """

    def __init__(self, inner: AbstractResolver, private_hosts: Collection[str] = ()) -> None:
        self._inner = inner
        self._private_hosts = frozenset(private_hosts)

    def may_be_private(self, host: str, port: int) -> bool:
        """Whether the operator named this host."""
        name = host.lower().rstrip(".")
        return not self._private_hosts.isdisjoint((name, f"{name}:{port}", f"[{name}]:{port}"))

    def check_literal(self, host: str, port: int) -> None:
        """Raise AddressRefusedError where `host` is an address itself, and not a public one.

        Such a host never comes to `resolve`.
        """
        address = literal_address(host)
        if address is None or is_public(address) or self.may_be_private(host, port):
            return
        raise AddressRefusedError("the address is not public")

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if self.may_be_private(host, port):
            return found
        public = [result for result in found if is_public(result["host"])]
        if found and not public:
            raise AddressRefusedError("the host has no public address")
        return public

    @override
    async def close(self) -> None:
        await self._inner.close()

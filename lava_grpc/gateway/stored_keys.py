"""Merchants' stored keys for the hot path: decrypted, and remembered for a moment."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import structlog

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.provider_key import SealedKey
from lava_grpc.core.time import Instant
from lava_grpc.gateway.key_pool import Pool, PooledKey
from lava_grpc.gateway.vault import SETTING, UnreadableError, Vault

MERCHANTS_MAX = 10_000
"""How many merchants' keys are remembered at most; past it, the longest unused is read again."""

USES_MAX = 10_000
"""How many keys' last uses wait to be written at most; more are not noted."""

_log = structlog.get_logger(__name__)


class KeySource(Protocol):
    """Where keys are read from, and their last use is written to."""

    async def usable(self, merchant_id: str) -> Sequence[SealedKey]:
        """The merchant's keys that are active."""
        ...

    async def used(self, uses: Mapping[tuple[str, str], Instant]) -> None:
        """Note when keys, by merchant's and own id, were last used."""
        ...


@dataclass(frozen=True, slots=True)
class StoredPool:
    """A merchant's keys for one provider or host. `unreadable` names one without its secret."""

    keys: Pool
    unreadable: str | None = None

    def readable(self) -> Pool:
        """The keys; refuses NOT_IMPLEMENTED (fact `setting`) where none can be decrypted.

        The platform's key is not used instead: the merchant would pay for it.
        """
        if not self.keys:
            raise Refusal(
                Reason.NOT_IMPLEMENTED,
                f"the stored provider key {self.unreadable} cannot be decrypted: the service lacks "
                "its encryption key, or the row was changed; rotate or delete it",
                facts={"setting": SETTING},
            )
        return self.keys


Pools = Mapping[str, StoredPool]
_NONE: Pools = MappingProxyType({})


class StoredKeys:
    """Each merchant's keys by provider id or host.

    A change counts at once in the process that made it, elsewhere within
    `cache_seconds`: so long a deleted key may still be used. `now` is a monotonic
    clock in seconds.
    """

    def __init__(
        self,
        source: KeySource,
        vault: Vault,
        now: Callable[[], float],
        *,
        cache_seconds: float,
        merchants_max: int = MERCHANTS_MAX,
    ) -> None:
        self._source = source
        self._vault = vault
        self._now = now
        self._cache_seconds = cache_seconds
        self._merchants_max = merchants_max
        self._known: OrderedDict[str, tuple[float, Pools]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Pools]] = {}
        self._uses: dict[tuple[str, str], Instant] = {}

    def remembered(self, merchant_id: str) -> Pools | None:
        """The merchant's keys, where they were read a moment ago."""
        known = self._known.get(merchant_id)
        return known[1] if known is not None and known[0] > self._now() else None

    async def read(self, merchant_id: str) -> Pools:
        """The merchant's keys. Calls that ask at once share one read."""
        asking = self._asking.get(merchant_id)
        if asking is None:
            asking = asyncio.create_task(self._read(merchant_id))
            self._asking[merchant_id] = asking
            asking.add_done_callback(lambda task: self._asked(merchant_id, task))
        return await asyncio.shield(asking)

    def forget(self, merchant_id: str) -> None:
        """A key of this merchant was changed here: the change counts at once."""
        self._known.pop(merchant_id, None)
        # What is being read may be older than the change.
        self._asking.pop(merchant_id, None)

    def used(self, merchant_id: str, provider_key_id: str, at: Instant) -> None:
        """A call went out with a key; written by the next `flush`."""
        key = (merchant_id, provider_key_id)
        if key in self._uses or len(self._uses) < USES_MAX:
            self._uses[key] = at

    async def flush(self) -> None:
        """Write what was used since; a failure loses it, and raises a Refusal."""
        uses, self._uses = self._uses, {}
        if uses:
            await self._source.used(uses)

    async def _read(self, merchant_id: str) -> Pools:
        # Counted from before the read: a key that is deleted meanwhile dies no later for it.
        until = self._now() + self._cache_seconds
        pools = self._opened(await self._source.usable(merchant_id))
        if self._asking.get(merchant_id) is asyncio.current_task():
            self._known[merchant_id] = (until, pools)
            self._known.move_to_end(merchant_id)
            if len(self._known) > self._merchants_max:
                self._known.popitem(last=False)
        return pools

    def _asked(self, merchant_id: str, task: asyncio.Task[Pools]) -> None:
        if self._asking.get(merchant_id) is task:
            del self._asking[merchant_id]
        if not task.cancelled():
            # Whoever waited has been told; if all of them went, nobody needs to be.
            task.exception()

    def _opened(self, sealed: Sequence[SealedKey]) -> Pools:
        if not sealed:
            return _NONE
        keys: dict[str, list[PooledKey]] = defaultdict(list)
        unreadable: dict[str, str] = {}
        for row in sealed:
            key = row.key
            try:
                secret = open_key(self._vault, row)
            except UnreadableError:
                _log.error("a provider key cannot be decrypted", provider_key=key.provider_key_id)
                unreadable[key.provider] = key.provider_key_id
                continue
            ident = f"{key.provider_key_id}.{key.version}"
            keys[key.provider].append(PooledKey(ident, secret, key.weight, key.provider_key_id))
        return {
            name: StoredPool(tuple(keys[name]), unreadable.get(name))
            for name in keys.keys() | unreadable.keys()
        }


def seal_key(vault: Vault, secret: str, *, merchant_id: str, provider: str, key_id: str) -> str:
    """The secret sealed for this merchant, provider and key, and for no other."""
    return vault.seal(secret, merchant_id, provider, key_id)


def open_key(vault: Vault, row: SealedKey) -> str:
    """The secret of a stored key; raises UnreadableError."""
    key = row.key
    return vault.open(
        row.sealed, row.sealed_with, key.merchant_id, key.provider, key.provider_key_id
    )

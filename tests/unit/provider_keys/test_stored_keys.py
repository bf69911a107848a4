"""Merchants' keys in memory: read once for a while, forgotten when changed, never too many."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.provider_key import ProviderKey, ProviderKeyStatus, SealedKey
from lava_grpc.core.time import Instant
from lava_grpc.gateway.stored_keys import USES_MAX, StoredKeys, seal_key
from lava_grpc.gateway.vault import Vault

VAULT = Vault([b"n" * 32])
SECONDS = 5.0


def sealed(ident: str, *, vault: Vault = VAULT, provider: str = "openai") -> SealedKey:
    status = ProviderKeyStatus.ACTIVE
    key = ProviderKey("mer_1", ident, provider, "n", "…", 2, status, created_at=1)
    secret = seal_key(
        vault, f"secret of {ident}", merchant_id="mer_1", provider=provider, key_id=ident
    )
    return SealedKey(key, secret, vault.newest)


@dataclass
class Source:
    """Rows, and how often they were read. Reads wait while `held`."""

    rows: list[SealedKey] = field(default_factory=list)
    reads: int = 0
    noted: dict[tuple[str, str], Instant] = field(default_factory=dict)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    free: asyncio.Event = field(default_factory=asyncio.Event)
    away: bool = False

    async def usable(self, merchant_id: str) -> Sequence[SealedKey]:
        assert merchant_id.startswith("mer_")
        self.reads += 1
        self.begun.set()
        rows = list(self.rows)
        await self.free.wait()
        if self.away:
            raise Refusal(Reason.STORE_UNAVAILABLE, "away")
        return rows

    async def used(self, uses: Mapping[tuple[str, str], Instant]) -> None:
        self.noted |= uses


@dataclass
class Clock:
    seconds: float = 100.0

    def __call__(self) -> float:
        return self.seconds


def keys(source: Source, clock: Clock, *, held: bool = False, most: int = 10) -> StoredKeys:
    if not held:
        source.free.set()
    return StoredKeys(source, VAULT, clock, cache_seconds=SECONDS, merchants_max=most)


async def test_keys_are_read_once_for_their_time() -> None:
    source, clock = Source([sealed("pvk_1"), sealed("pvk_2", provider="groq")]), Clock()
    stored = keys(source, clock)
    assert stored.remembered("mer_1") is None
    pools = await stored.read("mer_1")
    assert {name: [key.secret for key in pool.keys] for name, pool in pools.items()} == {
        "openai": ["secret of pvk_1"],
        "groq": ["secret of pvk_2"],
    }
    assert pools["openai"].keys[0].weight == 2
    clock.seconds += SECONDS - 0.1
    assert stored.remembered("mer_1") is pools
    clock.seconds += 0.2
    assert stored.remembered("mer_1") is None


async def test_that_there_are_none_is_remembered_too() -> None:
    source = Source()
    stored = keys(source, Clock())
    await stored.read("mer_1")
    assert stored.remembered("mer_1") == {}


async def test_calls_that_ask_at_once_share_one_read_whoever_of_them_goes() -> None:
    source = Source([sealed("pvk_1")])
    stored = keys(source, Clock(), held=True)
    first, *others = [asyncio.create_task(stored.read("mer_1")) for _ in range(5)]
    await source.begun.wait()
    first.cancel()
    source.free.set()
    assert all("openai" in pools for pools in await asyncio.gather(*others))
    assert source.reads == 1


async def test_the_time_counts_from_before_the_read() -> None:
    source, clock = Source(), Clock()
    stored = keys(source, clock, held=True)
    reading = asyncio.create_task(stored.read("mer_1"))
    await source.begun.wait()
    clock.seconds += SECONDS
    source.free.set()
    await reading
    assert stored.remembered("mer_1") is None


async def test_a_change_is_seen_at_once_even_by_a_read_that_had_begun() -> None:
    source, clock = Source([sealed("pvk_1")]), Clock()
    stored = keys(source, clock, held=True)
    reading = asyncio.create_task(stored.read("mer_1"))
    await source.begun.wait()
    source.rows.clear()
    stored.forget("mer_1")
    source.free.set()
    await reading
    assert stored.remembered("mer_1") is None
    assert await stored.read("mer_1") == {}
    assert stored.remembered("mer_1") == {}


async def test_what_could_not_be_read_is_asked_for_again() -> None:
    source = Source(away=True)
    stored = keys(source, Clock())
    with pytest.raises(Refusal):
        await stored.read("mer_1")
    source.away = False
    assert await stored.read("mer_1") == {}


async def test_a_key_that_does_not_decrypt_is_left_out_and_one_alone_is_refused() -> None:
    lost = Vault([b"l" * 32])
    source = Source(
        [sealed("pvk_1"), sealed("pvk_2", vault=lost), sealed("pvk_3", vault=lost, provider="groq")]
    )
    pools = await keys(source, Clock()).read("mer_1")
    assert [key.secret for key in pools["openai"].readable()] == ["secret of pvk_1"]
    with pytest.raises(Refusal, match="pvk_3") as refused:
        pools["groq"].readable()
    assert refused.value.reason is Reason.NOT_IMPLEMENTED
    assert refused.value.facts == {"setting": "LAVA_KEY_ENCRYPTION_KEYS"}


async def test_merchants_that_are_remembered_are_bounded() -> None:
    source = Source()
    stored = keys(source, Clock(), most=3)
    for number in range(5):
        await stored.read(f"mer_{number}")
    known = [stored.remembered(f"mer_{number}") is not None for number in range(5)]
    assert known == [False, False, True, True, True]


async def test_last_uses_are_written_together_and_bounded() -> None:
    source = Source()
    stored = keys(source, Clock())
    stored.used("mer_1", "pvk_1", 5)
    stored.used("mer_1", "pvk_1", 7)
    await stored.flush()
    assert source.noted == {("mer_1", "pvk_1"): 7}
    for number in range(USES_MAX + 10):
        stored.used("mer_1", str(number), 9)
    source.noted.clear()
    await stored.flush()
    assert len(source.noted) == USES_MAX


async def test_secrets_show_in_no_pool() -> None:
    pools = await keys(Source([sealed("pvk_1")]), Clock()).read("mer_1")
    assert "secret of" not in repr(pools)
    assert "secret of" not in repr(sealed("pvk_1"))

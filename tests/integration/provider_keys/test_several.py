"""Several keys for one provider: turns, rests, and answers that pass as they are."""

from __future__ import annotations

from collections import Counter

import pytest

from lava_grpc.testing.fake_provider.fault import Fault
from tests.integration.forward.calls import forward, over_grpc, request
from tests.integration.provider_keys.keys import bearers, stored, storing
from tests.support.service import running

MANAGED = {"openai": [{"key": "sk-one", "weight": 2}, {"key": "sk-two"}]}
ONE, TWO = "sk-stored-one-0123456789", "sk-stored-two-0123456789"


async def test_the_platforms_keys_take_turns_by_weight(sqlite_url: str) -> None:
    async with running(sqlite_url, provider_keys=MANAGED) as on:
        for _ in range(6):
            assert (await forward(on)).status_code == 200
        assert Counter(bearers(on)) == {"sk-one": 4, "sk-two": 2}


async def test_a_merchants_keys_take_turns_by_weight(database_url: str) -> None:
    async with storing(database_url, key_cache_seconds=0) as on:
        await stored(on, ONE, weight=3)
        await stored(on, TWO)
        for _ in range(8):
            assert (await forward(on)).status_code == 200
        # Though they are read anew for every call.
        assert Counter(bearers(on)) == {ONE: 6, TWO: 2}


@pytest.mark.parametrize("status", [429, 401, 403])
@pytest.mark.parametrize("edge", ["rest", "grpc"])
async def test_a_key_that_was_refused_rests_and_the_refusal_passes_as_it_is(
    sqlite_url: str, status: int, edge: str
) -> None:
    async with running(sqlite_url, provider_keys=MANAGED) as on:
        on.provider.fail_next(Fault(status=status, body='{"error": "as it is"}'))
        if edge == "rest":
            refused = await forward(on)
            told = (refused.status_code, refused.content)
            assert status != 429 or refused.headers["retry-after"] == "1"
        else:
            got = await over_grpc(on, request())
            told = (got.head.status, got.body)
        # It is not sent again with the other key: one call of the client's is one call.
        assert on.provider.calls_total == 1
        assert told == (status, b'{"error": "as it is"}')
        for _ in range(4):
            assert (await forward(on)).status_code == 200
        assert bearers(on) == ["sk-one", *["sk-two"] * 4]
        await on.verified()


async def test_where_every_key_rests_calls_go_out_all_the_same(sqlite_url: str) -> None:
    async with running(sqlite_url, provider_keys=MANAGED) as on:
        on.provider.fail_next(Fault(status=401), Fault(status=429))
        statuses = [(await forward(on)).status_code for _ in range(3)]
        assert statuses == [401, 429, 200]
        # The one that was denied rests longer than the one that was limited.
        assert bearers(on) == ["sk-one", "sk-two", "sk-two"]


async def test_a_rotation_ends_a_rest(sqlite_url: str) -> None:
    async with storing(sqlite_url) as on:
        first = await stored(on, ONE, weight=1000)
        await stored(on, TWO)
        on.provider.fail_next(Fault(status=401))
        await forward(on)
        await forward(on)
        path = f"/v1/provider_keys/{first['provider_key_id']}/rotate"
        await on.rest("POST", path, {"key": "sk-stored-new-0123456789"})
        await forward(on)
        assert bearers(on) == [ONE, TWO, "sk-stored-new-0123456789"]

"""Names are looked up once for all who ask, and a change counts at once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.gateway.directory import Directory

KEY = ("mer_1", "tokens")


class Meters:
    """Answers when it is told to, with what it then has."""

    def __init__(self) -> None:
        self.reads = 0
        self.found: Any = SimpleNamespace(meter="the old one")
        self.go = asyncio.Event()

    async def meter(self, merchant_id: str, ident: str) -> object:
        assert (merchant_id, ident) == KEY
        self.reads += 1
        found = self.found
        await self.go.wait()
        if isinstance(found, Exception):
            raise found
        return found


def _asking(directory: Directory, count: int) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(directory.meter(*KEY)) for _ in range(count)]


async def test_a_meter_is_read_once_for_all_who_ask_meanwhile_and_then_remembered() -> None:
    meters: Any = Meters()
    directory = Directory(meters)
    assert directory.meter_at_hand(*KEY) is None
    asking = _asking(directory, 5)
    await asyncio.sleep(0)
    asking[0].cancel()
    meters.go.set()
    told: list[object] = list(await asyncio.gather(*asking[1:]))
    assert told == ["the old one"] * 4
    assert await directory.meter(*KEY) == directory.meter_at_hand(*KEY)
    assert meters.reads == 1


async def test_a_meter_that_was_changed_meanwhile_is_read_anew() -> None:
    meters: Any = Meters()
    directory = Directory(meters)
    old = _asking(directory, 1)
    while not meters.reads:  # noqa: ASYNC110 - counted, not told
        await asyncio.sleep(0)
    meters.found = SimpleNamespace(meter="the new one")
    directory.forget_meters(KEY[0])
    new = _asking(directory, 2)
    await asyncio.sleep(0)
    meters.go.set()
    told: list[object] = list(await asyncio.gather(*old, *new))
    assert told == ["the old one", "the new one", "the new one"]
    remembered: object = directory.meter_at_hand(*KEY)
    assert remembered == "the new one"
    assert meters.reads == 2


@pytest.mark.parametrize("found", [None, ValueError("no database")])
async def test_nobody_remembers_a_meter_that_was_not_found(found: object) -> None:
    meters: Any = Meters()
    meters.found = found
    meters.go.set()
    directory = Directory(meters)
    for reads in (1, 2):
        told = await asyncio.gather(*_asking(directory, 2), return_exceptions=True)
        if found is None:
            assert all(isinstance(e, Refusal) and e.reason is Reason.NOT_FOUND for e in told)
        else:
            assert told == [found, found]
        assert meters.reads == reads

"""Health says no when calls would fail here, and says each thing once."""

from __future__ import annotations

import asyncio

import pytest

from lava_grpc.app.health import Health

PATIENCE_SECONDS = 0.02


class Told:
    """What health said, in order."""

    def __init__(self) -> None:
        self.said: list[bool] = []
        self._changed = asyncio.Event()

    def __call__(self, *, serving: bool) -> None:
        self.said.append(serving)
        self._changed.set()

    async def times(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.said) < count:
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
def told() -> Told:
    return Told()


async def test_nothing_is_said_before_the_process_takes_calls(told: Told) -> None:
    health = Health(PATIENCE_SECONDS, told)
    assert told.said == []
    health.started()
    assert told.said == [True]
    assert health.serving


async def test_a_long_outage_is_told_and_so_is_its_end(told: Told) -> None:
    health = Health(PATIENCE_SECONDS, told)
    health.started()
    health.reachable(reachable=False)
    assert health.serving, "for a moment it is sat out"
    await told.times(2)
    assert told.said == [True, False]
    health.reachable(reachable=False)
    health.reachable(reachable=True)
    assert told.said == [True, False, True]
    assert health.serving


async def test_patience_counts_from_the_first_failure(told: Told) -> None:
    health = Health(PATIENCE_SECONDS, told)
    health.started()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    failing = True

    def fail() -> None:
        # Attempts that fail more often than patience lasts must not put it off.
        if failing:
            health.reachable(reachable=False)
            loop.call_later(PATIENCE_SECONDS / 4, fail)

    fail()
    await told.times(2)
    failing = False
    assert told.said == [True, False]
    assert loop.time() - begun >= PATIENCE_SECONDS


async def test_a_short_outage_is_not_told(told: Told) -> None:
    health = Health(PATIENCE_SECONDS, told)
    health.started()
    health.reachable(reachable=False)
    health.reachable(reachable=True)
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(3 * PATIENCE_SECONDS, over.set)
    await over.wait()
    assert told.said == [True]


async def test_a_broken_rule_is_for_good(told: Told) -> None:
    health = Health(PATIENCE_SECONDS, told)
    health.started()
    health.broken()
    health.reachable(reachable=True)
    assert told.said == [True, False]
    assert health.is_broken
    assert not health.serving


async def test_a_process_that_stops_says_so_once_and_is_not_broken(told: Told) -> None:
    health = Health(PATIENCE_SECONDS, told)
    health.started()
    health.stopping()
    health.reachable(reachable=True)
    health.stopping()
    assert told.said == [True, False]
    assert not health.is_broken

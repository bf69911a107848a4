"""How long a batch under load waits for more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from lava_grpc.core.account import Account, AccountKind
from lava_grpc.core.commands import Command, ExpireGrants, Touched
from lava_grpc.core.ledger import Outcome
from lava_grpc.store import group_commit
from lava_grpc.store.group_commit import GroupCommit

FOR_EVER = 3600.0
COMMAND = ExpireGrants("mer_1", "con_1")
OUTCOME = Touched(Account("mer_1", "con_1", AccountKind.CUSTOMER, 0, 0, 0, closed=False))


class Store:
    """Commits at once, and tells the sizes of its batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        self.sizes.append(len(commands))
        return [OUTCOME] * len(commands)

    async def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "GATHER_SECONDS_MAX", FOR_EVER)
    monkeypatch.setattr(group_commit, "GATHER_COMMITS", 10**9)


def _ledger(store: Store, callers: int) -> GroupCommit:
    engine = SimpleNamespace(lost=lambda _: False, retryable=lambda _: False)
    database: Any = SimpleNamespace(store_engine=engine)
    stand_in: Any = store
    return GroupCommit(stand_in, database, callers=lambda: callers)


async def test_a_batch_that_all_callers_wait_for_waits_for_nobody() -> None:
    store = Store()
    ledger = _ledger(store, callers=5)
    ledger.start()
    async with asyncio.timeout(30):
        for _ in range(3):
            await asyncio.gather(*[ledger.submit(COMMAND) for _ in range(5)])
    assert store.sizes == [5, 5, 5]
    await ledger.stop()


async def test_under_load_a_batch_is_given_time_to_fill_to_twice_the_last() -> None:
    store = Store()
    ledger = _ledger(store, callers=100)
    ledger.start()
    async with asyncio.timeout(30):
        await asyncio.gather(*[ledger.submit(COMMAND) for _ in range(5)])
        first = [ledger.enqueue(COMMAND) for _ in range(9)]
        done, _ = await asyncio.wait(first, timeout=0)
        assert not done
        await asyncio.gather(*first, ledger.submit(COMMAND))
    assert store.sizes == [5, 10]
    await ledger.stop()

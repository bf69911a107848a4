"""How long a batch under load waits for more, and commands that are made with their batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from typing_extensions import override

from lava_grpc.core.account import Account, AccountKind
from lava_grpc.core.commands import Command, ExpireGrants, Touched
from lava_grpc.core.errors import InvariantBroken, Reason, Refusal
from lava_grpc.core.ledger import Outcome
from lava_grpc.store import group_commit
from lava_grpc.store.group_commit import GroupCommit, QueueBounds

FOR_EVER = 3600.0
COMMAND = ExpireGrants("mer_1", "con_1")
OUTCOME = Touched(Account("mer_1", "con_1", AccountKind.CUSTOMER, 0, 0, 0, closed=False))


class Store:
    """Commits at once, and tells the sizes of its batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.error: Exception | None = None
        self.fails_with_many = False

    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        if self.error is not None:
            raise self.error
        if self.fails_with_many and len(commands) > 1:
            raise ValueError("one of them is bad")
        self.sizes.append(len(commands))
        return [OUTCOME] * len(commands)

    async def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "GATHER_SECONDS_MAX", FOR_EVER)
    monkeypatch.setattr(group_commit, "GATHER_COMMITS", 10**9)


def _ledger(store: Store, callers: int, **bounds: int) -> GroupCommit:
    engine = SimpleNamespace(lost=lambda _: False, retryable=lambda _: False)
    database: Any = SimpleNamespace(store_engine=engine)
    stand_in: Any = store
    return GroupCommit(stand_in, database, QueueBounds(**bounds), callers=lambda: callers)


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


class Deferred:
    """A command to be made; `command` None: there is none after all."""

    def __init__(self, command: Command | None = COMMAND) -> None:
        self.command = command
        self.made = 0
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def make(self) -> Command | None:
        self.made += 1
        return self.command

    def conclude(self, outcome: Outcome) -> None:
        self.outcome.set_result(outcome)


async def test_a_deferred_command_is_made_when_its_batch_is_and_concluded_with_it() -> None:
    store = Store()
    ledger = _ledger(store, callers=3)
    ledger.start()
    first, none, last = Deferred(), Deferred(None), Deferred()
    for deferred in (first, none, last):
        ledger.defer(deferred)
    assert ledger.waiting == 3
    assert first.made == 0
    async with asyncio.timeout(30):
        assert await ledger.submit(COMMAND) == OUTCOME
        assert [await first.outcome, await last.outcome] == [OUTCOME, OUTCOME]
    assert store.sizes == [3]
    assert (first.made, none.made, last.made) == (1, 1, 1)
    assert not none.outcome.done()
    assert ledger.waiting == 0
    await ledger.stop()


async def test_one_that_is_applied_apart_is_made_once() -> None:
    store = Store()
    store.fails_with_many = True
    ledger = _ledger(store, callers=2)
    ledger.start()
    deferred = [Deferred(), Deferred()]
    for each in deferred:
        ledger.defer(each)
    async with asyncio.timeout(30):
        assert [await each.outcome for each in deferred] == [OUTCOME, OUTCOME]
    assert [each.made for each in deferred] == [1, 1]
    assert store.sizes == [1, 1]
    await ledger.stop()


async def test_those_that_wait_are_refused_where_the_ledger_ends_and_later_ones_at_once() -> None:
    store = Store()
    store.error = InvariantBroken("a rule")
    ledger = _ledger(store, callers=1)
    ledger.start()
    taken = Deferred()
    ledger.defer(taken)
    async with asyncio.timeout(30):
        told = await taken.outcome
    assert isinstance(told, Refusal)
    assert told.reason is Reason.INTERNAL
    await asyncio.sleep(0)
    with pytest.raises(Refusal, match="stopping"):
        ledger.defer(Deferred())


async def test_one_whose_batch_never_came_is_concluded_without_having_been_made() -> None:
    store = Store()
    store.error = InvariantBroken("a rule")
    ledger = _ledger(store, callers=1, batch_commands_max=1)
    ledger.start()
    taken, left = Deferred(), Deferred()
    ledger.defer(taken)
    ledger.defer(left)
    async with asyncio.timeout(30):
        told = await left.outcome
    assert isinstance(told, Refusal)
    assert told.reason is Reason.INTERNAL
    assert left.made == 0


async def test_one_that_raises_takes_no_neighbour_along() -> None:
    store = Store()
    ledger = _ledger(store, callers=4)
    ledger.start()
    unmade, untold, good = Deferred(), Deferred(), Deferred()

    def broken(*_: object) -> Command | None:
        raise ValueError("a secret")

    unmade.make = broken  # type: ignore[method-assign]
    untold.conclude = broken  # type: ignore[method-assign, assignment]
    with structlog.testing.capture_logs() as logs:
        for deferred in (unmade, untold, good):
            ledger.defer(deferred)
        async with asyncio.timeout(30):
            assert await good.outcome == OUTCOME
            told = await unmade.outcome
            assert await ledger.submit(COMMAND) == OUTCOME
    assert isinstance(told, Refusal)
    assert told.reason is Reason.INTERNAL
    assert len(logs) == 2
    assert "a secret" not in str(logs)
    await ledger.stop()


async def test_a_full_queue_defers_no_more() -> None:
    ledger = _ledger(Store(), callers=1, queue_commands_max=2)
    ledger.start()
    deferred = [Deferred(), Deferred()]
    for each in deferred:
        ledger.defer(each)
    with pytest.raises(Refusal) as refused:
        ledger.defer(Deferred())
    assert refused.value.reason is Reason.OVERLOADED
    async with asyncio.timeout(30):
        assert [await each.outcome for each in deferred] == [OUTCOME, OUTCOME]
    await ledger.stop()


async def test_others_have_their_turn_while_many_come_to_nothing() -> None:
    store = Store()
    ledger = _ledger(store, callers=1, batch_commands_max=2)
    ledger.start()
    made: list[int] = []
    seen: list[int] = []

    class Nothing(Deferred):
        @override
        def make(self) -> None:
            made.append(1)
            asyncio.get_running_loop().call_soon(lambda: seen.append(len(made)))

    for _ in range(6):
        ledger.defer(Nothing())
    last = Deferred()
    ledger.defer(last)
    async with asyncio.timeout(30):
        assert await last.outcome == OUTCOME
    assert seen == [2, 2, 4, 4, 6, 6]
    assert store.sizes == [1]
    await ledger.stop()

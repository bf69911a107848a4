from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from sqlalchemy.exc import DataError
from typing_extensions import override

from lava_grpc.core.commands import Command, Extend, Held, HoldIs, Release, Settled
from lava_grpc.core.errors import InvariantBroken, Reason, Refusal
from lava_grpc.core.hold import HoldKind, HoldState
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.money import SCALE
from lava_grpc.core.request_record import Flag, RequestStatus
from lava_grpc.store.group_commit import GroupCommit, QueueBounds
from lava_grpc.store.ledger_store import LedgerStore
from lava_grpc.store.migrations import upgrade
from lava_grpc.store.sweeper import Sweeper
from tests.conftest import MakePostgres
from tests.support.ledger import (
    MERCHANT,
    MovingClock,
    grant,
    held,
    ledger_on,
    place,
    settle,
    settled,
    tried,
)


def reasons(outcomes: Sequence[Outcome]) -> Counter[str]:
    return Counter(
        outcome.reason.value if isinstance(outcome, Refusal) else "ok" for outcome in outcomes
    )


async def test_two_hundred_at_once_admit_exactly_what_is_affordable(database_url: str) -> None:
    async with ledger_on(database_url) as on:
        await on.open_account("con_a", credit=10)
        outcomes = await asyncio.gather(*[tried(on.ledger, place("con_a", 1)) for _ in range(200)])
        assert reasons(outcomes) == {"ok": 10, "INSUFFICIENT_CREDITS": 190}
        account = await on.books.account(MERCHANT, "con_a")
        assert account is not None
        assert (account.balance, account.held) == (10 * SCALE, 10 * SCALE)
        await on.verified()


async def test_two_processes_admit_exactly_what_is_affordable(postgres_url: str) -> None:
    async with ledger_on(postgres_url) as one, ledger_on(postgres_url) as two:
        await one.open_account("con_a", credit=10)
        outcomes = await asyncio.gather(
            *[tried(on.ledger, place("con_a", 1)) for on in (one, two) for _ in range(100)]
        )
        assert reasons(outcomes) == {"ok": 10, "INSUFFICIENT_CREDITS": 190}
        await one.verified()


async def test_two_processes_with_crossed_accounts_do_not_deadlock(postgres_url: str) -> None:
    async with ledger_on(postgres_url) as one, ledger_on(postgres_url) as two:
        await one.open_account("con_a", credit=1000)
        await one.open_account("mer_wallet", credit=1000, kind="merchant")
        await one.open_account("con_z", credit=1000)
        outcomes = await asyncio.gather(
            *[
                tried(on.ledger, place(account, 1, wallet_id="mer_wallet"))
                for _ in range(50)
                for on, account in ((one, "con_a"), (two, "con_z"))
            ]
        )
        assert reasons(outcomes) == {"ok": 100}
        await one.verified()


async def test_one_request_id_on_two_processes_holds_once(postgres_url: str) -> None:
    async with ledger_on(postgres_url) as one, ledger_on(postgres_url) as two:
        await one.open_account("con_a", credit=100)
        await one.open_account("con_b", credit=100)
        outcomes = await asyncio.gather(
            *[
                tried(on.ledger, place(account, 1, request_id=f"same-{number}"))
                for number in range(30)
                for on, account in ((one, "con_a"), (two, "con_b"))
            ]
        )
        assert reasons(outcomes) == {"ok": 30, "REQUEST_ID_REUSED": 30}
        await one.verified()


async def test_what_is_settled_within_its_hold_is_charged_once(database_url: str) -> None:
    async with ledger_on(database_url) as on:
        await on.open_account("con_a", credit=10)
        hold = (await held(on.ledger, place("con_a", 6, request_id="job"))).hold
        command = settle("con_a", 4, request_id="job", hold_id=hold.hold_id)
        first, again = await asyncio.gather(
            settled(on.ledger, command), settled(on.ledger, command)
        )
        assert first.record.charge == again.record.charge
        assert {first.replayed, again.replayed} == {False, True}
        other = await tried(on.ledger, settle("con_a", 5, request_id="job"))
        assert isinstance(other, Refusal)
        assert other.reason is Reason.REQUEST_ID_REUSED
        account = await on.books.account(MERCHANT, "con_a")
        assert account is not None
        assert (account.balance, account.held) == (6 * SCALE, 0)
        record = await on.books.record(MERCHANT, "job")
        assert record == first.record
        await on.verified()


async def test_usage_without_credit_is_recorded_and_stops_the_next_call(database_url: str) -> None:
    async with ledger_on(database_url) as on:
        await on.open_account("con_a", credit=1)
        outcome = await settled(on.ledger, settle("con_a", 5, request_id="after"))
        assert outcome.record.flags == (Flag.OVERDRAWN,)
        refused = await tried(on.ledger, place("con_a", 1))
        assert isinstance(refused, Refusal)
        assert refused.facts["available"] == "0.0000000000"
        await on.ledger.submit(grant("con_a", 10))
        assert (await held(on.ledger, place("con_a", 6))).available == 0
        await on.verified()


async def test_release_and_extension_survive_repetition(database_url: str) -> None:
    async with ledger_on(database_url) as on:
        await on.open_account("con_a", credit=1)
        hold = (await held(on.ledger, place("con_a", 1))).hold
        extended = await on.ledger.submit(Extend(MERCHANT, hold.hold_id, ("con_a",), 600))
        assert isinstance(extended, HoldIs)
        assert extended.hold.expires_at > hold.expires_at
        release = Release(MERCHANT, hold.hold_id, ("con_a",))
        for _ in range(2):
            released = await on.ledger.submit(release)
            assert isinstance(released, HoldIs)
            assert released.hold.state is HoldState.RELEASED
        late = await tried(on.ledger, Extend(MERCHANT, hold.hold_id, ("con_a",), 600))
        assert isinstance(late, Refusal)
        assert late.reason is Reason.RESERVATION_ENDED
        await on.verified()


async def test_overdue_holds_make_room_in_the_same_transaction(database_url: str) -> None:
    async with ledger_on(database_url) as on:
        await on.open_account("con_a", credit=3)
        await on.open_account("mer_w", credit=3, kind="merchant")
        old = [await held(on.ledger, place("con_a", 1, ttl_seconds=1)) for _ in range(2)]
        await held(on.ledger, place("con_a", 1, wallet_id="mer_w", ttl_seconds=1))
        on.clock.move(2)
        assert (await held(on.ledger, place("con_a", 3, wallet_id="mer_w"))).available == 0
        ended = await on.books.hold(MERCHANT, old[0].hold.hold_id)
        assert ended is not None
        assert ended.state is HoldState.EXPIRED
        await on.verified()


async def test_the_sweeper_ends_what_nobody_touches(database_url: str) -> None:
    async with ledger_on(database_url) as on:
        await on.open_account("con_a", credit=5)
        await on.ledger.submit(grant("con_a", 2, expires_at=on.clock.now() + 1_000_000))
        await held(
            on.ledger, place("con_a", 1, request_id="job", kind=HoldKind.FORWARD, ttl_seconds=1)
        )
        on.clock.move(3)
        sweeper = Sweeper(on.database, on.ledger, on.clock)
        assert await sweeper.sweep() == 2
        assert await sweeper.sweep() == 0
        account = await on.books.account(MERCHANT, "con_a")
        assert account is not None
        assert (account.balance, account.held) == (5 * SCALE, 0)
        record = await on.books.record(MERCHANT, "job")
        assert record is not None
        assert (record.status, record.flags) == (RequestStatus.ERROR, (Flag.ABANDONED,))
        await on.verified()


async def test_a_caller_that_goes_disturbs_nobody(database_url: str) -> None:
    async with ledger_on(database_url) as on:
        await on.open_account("con_a", credit=100)
        leaving = [asyncio.ensure_future(on.ledger.submit(place("con_a", 1))) for _ in range(20)]
        staying = [asyncio.ensure_future(on.ledger.submit(place("con_a", 1))) for _ in range(20)]
        await asyncio.sleep(0)
        for task in leaving:
            task.cancel()
        outcomes = await asyncio.gather(*staying)
        assert all(isinstance(outcome, Held) for outcome in outcomes)
        assert not on.broken
        await on.verified()


async def test_a_charge_whose_caller_goes_is_made_all_the_same(database_url: str) -> None:
    async with ledger_on(database_url) as on:
        await on.open_account("con_a", credit=100)
        task = asyncio.ensure_future(on.ledger.submit(settle("con_a", 3, request_id="gone")))
        await asyncio.sleep(0)
        task.cancel()
        repeated = await settled(on.ledger, settle("con_a", 3, request_id="gone"))
        assert repeated.replayed
        await on.verified()


async def test_a_full_queue_refuses_with_a_pause(database_url: str) -> None:
    async with ledger_on(database_url, bounds=QueueBounds(queue_commands_max=5)) as on:
        await on.open_account("con_a", credit=100)
        outcomes = await asyncio.gather(*[tried(on.ledger, place("con_a", 1)) for _ in range(9)])
        assert reasons(outcomes) == {"ok": 5, "OVERLOADED": 4}
        refused = next(o for o in outcomes if isinstance(o, Refusal))
        assert refused.retry_after_seconds


async def test_a_command_past_its_deadline_is_dropped(database_url: str) -> None:
    async with ledger_on(database_url) as on:
        await on.open_account("con_a", credit=1)
        past = asyncio.get_running_loop().time() - 1
        with pytest.raises(Refusal) as refused:
            await on.ledger.submit(place("con_a", 1), deadline=past)
        assert refused.value.reason is Reason.DEADLINE_EXCEEDED
        assert (await held(on.ledger, place("con_a", 1))).available == 0


class FailingOn(LedgerStore):
    """Fails as a driver or a rule would whenever a batch holds a certain command."""

    bad: Command
    error: Exception

    @override
    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        if self.bad in commands:
            raise self.error
        return await super().apply(commands)


async def test_a_command_that_the_database_cannot_take_spares_its_neighbours(
    sqlite_url: str,
) -> None:
    async with ledger_on(sqlite_url) as on:
        await on.open_account("con_a", credit=100)
        store = FailingOn(on.database.store_engine, on.clock)
        store.bad = place("con_a", 1)
        store.error = DataError("INSERT", {}, ValueError("made up"))
        ledger = GroupCommit(store, on.database)
        ledger.start()
        commands = [place("con_a", 1), store.bad, place("con_a", 1)]
        outcomes = await asyncio.gather(*[tried(ledger, command) for command in commands])
        await ledger.stop()
        assert [type(outcome) for outcome in outcomes] == [Held, Refusal, Held]
        await on.verified()


async def test_a_broken_rule_ends_the_loop_and_says_so(sqlite_url: str) -> None:
    async with ledger_on(sqlite_url) as on:
        await on.open_account("con_a", credit=100)
        store = FailingOn(on.database.store_engine, on.clock)
        store.bad = place("con_a", 1)
        store.error = InvariantBroken("made up")
        broken = asyncio.Event()
        ledger = GroupCommit(store, on.database, on_broken=broken.set)
        ledger.start()
        outcome = await tried(ledger, store.bad)
        assert isinstance(outcome, Refusal)
        assert (outcome.reason, outcome.message) == (Reason.INTERNAL, "internal error")
        refused = await tried(ledger, place("con_a", 1))
        assert isinstance(refused, Refusal)
        await broken.wait()
        await ledger.stop()


async def test_a_killed_database_loses_nothing_acknowledged(make_postgres: MakePostgres) -> None:
    server = make_postgres()
    url = server.url(server.create_database())
    upgrade(url)
    bounds = QueueBounds(unreachable_seconds_max=30)
    async with ledger_on(url, bounds=bounds, clock=MovingClock()) as on:
        await on.open_account("con_a", credit=1000)
        acknowledged: list[str] = []
        stop = asyncio.Event()
        one_more = asyncio.Event()

        async def more() -> None:
            for _ in range(50):
                one_more.clear()
                await one_more.wait()

        async def load(worker: int) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                request_id = f"{worker}-{number}"
                outcome = await tried(on.ledger, settle("con_a", 1, request_id=request_id))
                if isinstance(outcome, Settled):
                    acknowledged.append(request_id)
                    one_more.set()

        tasks = [asyncio.create_task(load(worker)) for worker in range(8)]
        for _ in range(2):
            await more()
            server.kill9()
            await asyncio.to_thread(server.restart)
        await more()
        stop.set()
        await asyncio.gather(*tasks)
        assert False in on.reachable
        for request_id in acknowledged:
            assert await on.books.record(MERCHANT, request_id) is not None
        await on.verified()


async def test_many_at_once_are_answered_in_order_each_on_its_own(database_url: str) -> None:
    async with ledger_on(database_url, bounds=QueueBounds(batch_commands_max=7)) as on:
        await on.open_account("con_a", credit=10)
        commands = [place("con_a", 1, request_id=f"many-{n % 12}") for n in range(20)]
        commands[3] = place("con_nobody", 1)
        outcomes = await on.ledger.submit_many(commands)
        assert isinstance(outcomes[3], Refusal)
        assert outcomes[3].reason is Reason.NOT_FOUND
        placed = [outcome for outcome in outcomes if isinstance(outcome, Held)]
        assert len({outcome.hold.hold_id for outcome in placed}) == 10
        assert [outcome.replayed for outcome in placed].count(False) == 10
        for command, outcome in zip(commands, outcomes, strict=True):
            if isinstance(outcome, Held):
                assert outcome.hold.request_id == command.request_id
        await on.verified()


async def test_many_whose_caller_goes_are_done_all_the_same(database_url: str) -> None:
    async with ledger_on(database_url) as on:
        await on.open_account("con_a", credit=100)
        commands = [place("con_a", 1, request_id=f"gone-{n}") for n in range(5)]
        task = asyncio.ensure_future(on.ledger.submit_many(commands))
        await asyncio.sleep(0)
        task.cancel()
        for command in commands:
            assert (await held(on.ledger, command)).replayed
        await on.verified()


async def test_many_that_the_queue_has_no_room_for_are_refused_together(sqlite_url: str) -> None:
    async with ledger_on(sqlite_url, bounds=QueueBounds(queue_commands_max=5)) as on:
        await on.open_account("con_a", credit=100)
        first = asyncio.ensure_future(on.ledger.submit_many([place("con_a", 1)] * 3))
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            await on.ledger.submit_many([place("con_a", 1) for _ in range(3)])
        assert refused.value.reason is Reason.OVERLOADED
        assert len(await first) == 3
        # With nobody before it, a call may be larger than the queue.
        assert len(await on.ledger.submit_many([place("con_a", 1) for _ in range(6)])) == 6
        await on.verified()


async def test_many_past_their_deadline_are_dropped(sqlite_url: str) -> None:
    async with ledger_on(sqlite_url) as on:
        await on.open_account("con_a", credit=1)
        past = asyncio.get_running_loop().time() - 1
        outcomes = await on.ledger.submit_many([place("con_a", 1)] * 2, deadline=past)
        assert reasons(outcomes) == {"DEADLINE_EXCEEDED": 2}
        assert on.ledger.waiting == 0
        assert (await held(on.ledger, place("con_a", 1))).available == 0


async def test_a_command_that_the_database_cannot_take_spares_those_it_came_with(
    sqlite_url: str,
) -> None:
    async with ledger_on(sqlite_url) as on:
        await on.open_account("con_a", credit=100)
        store = FailingOn(on.database.store_engine, on.clock)
        store.bad = place("con_a", 1)
        store.error = DataError("INSERT", {}, ValueError("made up"))
        ledger = GroupCommit(store, on.database)
        ledger.start()
        outcomes = await ledger.submit_many([place("con_a", 1), store.bad, place("con_a", 1)])
        await ledger.stop()
        assert [type(outcome) for outcome in outcomes] == [Held, Refusal, Held]
        await on.verified()


async def test_a_broken_rule_is_told_to_all_that_came_together(sqlite_url: str) -> None:
    async with ledger_on(sqlite_url) as on:
        await on.open_account("con_a", credit=100)
        store = FailingOn(on.database.store_engine, on.clock)
        store.bad = place("con_a", 1)
        store.error = InvariantBroken("made up")
        ledger = GroupCommit(store, on.database)
        ledger.start()
        outcomes = await ledger.submit_many([place("con_a", 1), store.bad])
        assert reasons(outcomes) == {"INTERNAL": 2}
        await ledger.stop()


class Breaking(FailingOn):
    """Takes the bad command for a broken rule, once it is applied on its own."""

    @override
    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        if list(commands) == [self.bad]:
            raise InvariantBroken("made up")
        return await super().apply(commands)


async def test_a_rule_that_breaks_on_its_own_leaves_no_neighbour_waiting(sqlite_url: str) -> None:
    async with ledger_on(sqlite_url) as on:
        await on.open_account("con_a", credit=100)
        store = Breaking(on.database.store_engine, on.clock)
        store.bad = place("con_a", 1)
        store.error = DataError("INSERT", {}, ValueError("made up"))
        ledger = GroupCommit(store, on.database)
        ledger.start()
        commands = [place("con_a", 1), store.bad, place("con_a", 1), place("con_a", 1)]
        async with asyncio.timeout(20):
            outcomes = await asyncio.gather(*[tried(ledger, command) for command in commands])
        await ledger.stop()
        assert [type(outcome) for outcome in outcomes] == [Held, Refusal, Refusal, Refusal]
        await on.verified()

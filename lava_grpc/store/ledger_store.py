"""One batch: load what it touches, let the core decide, write what it decided."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from sqlalchemy import Row as RowOf
from sqlalchemy import Select, or_, select

from lava_grpc.core import ledger
from lava_grpc.core.account import Grant
from lava_grpc.core.budget import SPEND_KEY_PREFIX
from lava_grpc.core.commands import (
    AddGrant,
    ChangeSubscription,
    Command,
    Expire,
    Extend,
    GiveUp,
    HandOut,
    PlaceHold,
    Release,
    RenewCycles,
    Settle,
    Subscribe,
)
from lava_grpc.core.events import Happening, events_of
from lava_grpc.core.ids import IdSource
from lava_grpc.core.ledger import Decision, Outcome
from lava_grpc.core.money import Amount
from lava_grpc.core.state import Changes, LedgerState
from lava_grpc.core.time import Clock, Instant, cycle_of
from lava_grpc.store import rows, schema
from lava_grpc.store.engine import Io, LedgerSession, StoreEngine
from lava_grpc.store.sql import Loaded, Pair, Statement, Wanted

T = TypeVar("T")

RENEWALS_MAX = 40
"""How often a batch is decided again for cycles that are over: 20,000 missed ones."""

OVERDUE_MAX = 200
"""How many overdue holds one batch expires to make room on accounts that lack it."""


class Watch(Protocol):
    """Who is told, after a commit, of what calls for a payment. Must not block or raise."""

    def low(self, merchant_id: str, account_id: str) -> None:
        """A call left an account that has auto top-up with less than its low mark."""
        ...

    def owed(self) -> None:
        """There are new payments to ask for."""
        ...


async def here(work: Callable[[], T]) -> T:
    """Blocks the caller: for a thread that has nothing else to do."""
    return work()


class LedgerStore:
    """Applies batches to a database, one at a time.

    What blocks goes through `io`; all else, reading, deciding and writing, is done
    where `apply` is awaited, so that the event loop's thread hardly ever waits for
    another thread's Python.
    """

    def __init__(
        self,
        engine: StoreEngine,
        clock: Clock,
        *,
        io: Io = here,
        turn: asyncio.Lock | None = None,
        charge_abandoned: bool = False,
        watch: Watch | None = None,
    ) -> None:
        """`turn` is held for the whole of a batch: `Database.turn`."""
        self._engine = engine
        self._clock = clock
        self._io = io
        self._turn = turn
        self._charge_abandoned = charge_abandoned
        self._watch = watch
        self._ids = IdSource()
        self._session: LedgerSession | None = None
        # The merchants of this batch that have webhooks.
        self._watched: set[str] = set()
        # The accounts of this batch that have auto top-up: below what it buys.
        self._low_marks: dict[Pair, Amount] = {}

    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        """Decide and commit a batch; its outcomes in order, durable.

        Raises whatever the engine raises; nothing of the batch is then committed,
        or (where the connection broke at its commit) the outcome is unknown and
        the batch is to be applied again.
        """
        if self._turn is None:
            return await self._apply(commands)
        async with self._turn:
            return await self._apply(commands)

    async def _apply(self, commands: Sequence[Command]) -> list[Outcome]:
        try:
            decision = await self._decide(commands)
            # What had to come first: renewals of cycles, ends of holds.
            ahead: list[Command] = []
            if decision.due_accounts:
                decision = await self._renewed(decision, ahead, commands)
            if decision.short_accounts:
                decision = await self._with_room(decision, ahead, commands)
            await self._end(decision.changes)
        except BaseException:
            # Whatever state the connection is in, a new one is in a known one.
            await self.close()
            raise
        if self._watch is not None:
            if self._low_marks:
                self._tell_low(self._watch, decision.changes, commands)
            if decision.changes.new_payments:
                self._watch.owed()
        return decision.outcomes[len(ahead) :]

    def _tell_low(self, watch: Watch, changes: Changes, commands: Sequence[Command]) -> None:
        """Tell of the accounts that a call has left with less than their low mark."""
        now = self._clock.now()
        for command in commands:
            if isinstance(command, PlaceHold | Settle):
                for account_id in command.account_ids:
                    key = (command.merchant_id, account_id)
                    mark, account = self._low_marks.get(key), changes.accounts.get(key)
                    if mark is not None and account is not None and account.left(now) < mark:
                        watch.low(*key)

    async def close(self) -> None:
        """Let the connection go."""
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(Exception):
                await session.close()

    async def _again(self, ahead: Sequence[Command], commands: Sequence[Command]) -> Decision:
        """Decide again, with overdue holds and cycles of the touched accounts ended first.

        The last decision is dropped: what comes first may touch further rows, and locks
        are only ever taken all at once and in order.
        """
        await (await self._opened()).rollback()
        return await self._decide([*ahead, *commands])

    async def _with_room(
        self, decision: Decision, ahead: list[Command], commands: Sequence[Command]
    ) -> Decision:
        """Decide again, overdue holds of accounts that lack room ended first; `ahead` as below."""
        find = partial(self._find_overdue, decision.short_accounts)
        session = await self._opened()
        if self._engine.single_writer:
            overdue = await self._io(find)
            if not overdue:
                return decision
            await session.rollback()
        else:
            # The search takes a second connection, and may have to wait for one behind batches
            # that wait for the locks of this one: those are given up before.
            await session.rollback()
            overdue = await self._io(find)
        ahead += overdue
        decision = await self._decide([*ahead, *commands])
        return await self._renewed(decision, ahead, commands)

    async def _renewed(
        self, decision: Decision, ahead: list[Command], commands: Sequence[Command]
    ) -> Decision:
        """Decide again, each cycle that was over renewed first; `ahead` gets what that took."""
        for _ in range(RENEWALS_MAX):
            if not decision.due_accounts:
                break
            ahead[:0] = [RenewCycles(*key) for key in sorted(decision.due_accounts)]
            decision = await self._again(ahead, commands)
        return decision

    async def _decide(self, commands: Sequence[Command]) -> Decision:
        """Begin a transaction, load what the commands touch, and decide them."""
        now = self._clock.now()
        reads = reads_of(wanted_by(commands, now))
        into = [name for name, _ in reads]
        statements = [statement for _, statement in reads]
        session = await self._opened()
        found = await session.load(statements)
        loaded = Loaded()
        for name, rows_found in zip(into, found, strict=True):
            getattr(loaded, name).extend(rows_found)
        # Whoever made a webhook before a command was queued finds it told: this is read after.
        self._watched = {str(row[0]) for row in loaded.accounts if rows.is_watched(row)}
        self._low_marks = rows.low_marks_of(loaded.accounts)
        return ledger.apply(state_of(loaded), commands, now)

    async def _end(self, changes: Changes) -> None:
        """Write what was decided and commit."""
        session = await self._opened()
        if changes.empty:
            await session.rollback()
        else:
            now = self._clock.now()
            writes = writes_of(changes, self._ids, now)
            if self._watched:
                writes += deliveries_of(events_of(changes, self._watched), self._ids, now)
            await session.write(writes)

    async def _opened(self) -> LedgerSession:
        if self._session is None:
            self._session = await self._engine.session(self._io)
        return self._session

    def _find_overdue(self, accounts: frozenset[Pair]) -> list[Expire]:
        engine = self._engine.engine.execution_options(read_only=True)
        now = self._clock.now()
        found: dict[Pair, Expire] = {}
        with engine.begin() as connection:
            for merchant_id, account_id in sorted(accounts):
                query = (
                    overdue_holds(now, OVERDUE_MAX)
                    # An expression, so that no engine walks all of a merchant's holds by
                    # their key in place of the few that are active and overdue.
                    .where(schema.holds.c.merchant_id + "" == merchant_id)
                    .where(or_(*[column == account_id for column in _BY_ROLE]))
                )
                for row in connection.execute(query):
                    expire = expire_of(row, charge_abandoned=self._charge_abandoned)
                    found[expire.merchant_id, expire.hold_id] = expire
        return list(found.values())[:OVERDUE_MAX]


_BY_ROLE = (
    schema.holds.c.charge_account_id,
    schema.holds.c.cost_account_id,
    schema.holds.c.budget_account_id,
)


def overdue_holds(now: Instant, limit: int) -> Select[Any]:
    """The query for active holds whose time is up, the longest overdue first."""
    holds = schema.holds.c
    return (
        select(holds.merchant_id, holds.hold_id, *_BY_ROLE)
        .where(holds.state == "active", holds.expires_at <= now)
        .order_by(holds.expires_at)
        .limit(limit)
    )


def expire_of(row: RowOf[Any], *, charge_abandoned: bool) -> Expire:
    """The command that ends one of `overdue_holds`."""
    merchant_id, hold_id, *account_ids = tuple(row)
    return Expire(
        merchant_id,
        hold_id,
        tuple([ident for ident in account_ids if ident is not None]),
        charge_abandoned,
    )


def wanted_by(commands: Sequence[Command], now: Instant) -> Wanted:
    """The keys of all rows that the commands may touch."""
    wanted = Wanted()
    cycle_start = cycle_of(now)[0]
    for command in commands:
        merchant_id = command.merchant_id
        for account_id in command.account_ids:
            wanted.accounts.add((merchant_id, account_id))
        match command:
            case PlaceHold():
                key = (merchant_id, command.request_id)
                wanted.hold_requests.add(key)
                wanted.records.add(key)
            case Settle():
                key = (merchant_id, command.request_id)
                wanted.records.add(key)
                if command.hold_id is None:
                    wanted.hold_requests.add(key)
                else:
                    wanted.holds.add((merchant_id, command.hold_id))
            case Release() | Extend() | Expire():
                wanted.holds.add((merchant_id, command.hold_id))
                continue
            case HandOut() | GiveUp():
                wanted.enrolments.add((merchant_id, command.account_id))
                wanted.payments.add((merchant_id, command.payment_id))
                continue
            case Subscribe() | ChangeSubscription() | RenewCycles():
                wanted.enrolments.add((merchant_id, command.account_id))
                continue
            case AddGrant():
                wanted.grant_requests.add((merchant_id, command.request_id))
                continue
            case _:
                continue
        _want_counters(wanted, command, cycle_start)
    return wanted


def _want_counters(wanted: Wanted, command: PlaceHold | Settle, cycle_start: Instant) -> None:
    for part in command.parts:
        if part.meter is not None:
            wanted.counters.add(
                (command.merchant_id, part.account_id, part.meter.meter_id, cycle_start)
            )


def state_of(loaded: Loaded) -> LedgerState:
    """The core's state from the rows that were loaded."""
    payments = [rows.payment_of(row) for row in loaded.payments]
    state = LedgerState(payments={(row.merchant_id, row.payment_id): row for row in payments})
    accounts = state.accounts
    for row in loaded.accounts:
        account = rows.account_of(row)
        accounts[account.merchant_id, account.account_id] = account
    for row in loaded.grants:
        grant = rows.grant_of(row)
        state.grants[grant.merchant_id, grant.grant_id] = grant
        accounts[grant.merchant_id, grant.account_id].grants.append(grant)
    for account in accounts.values():
        account.grants.sort(key=Grant.burn_key)
    for row in loaded.budgets:
        budget = rows.budget_of(row)
        accounts[budget.merchant_id, budget.account_id].budget = budget
    for row in loaded.holds:
        hold = rows.hold_of(row)
        # Once by its id and once by its request: still one hold.
        hold = state.holds.setdefault((hold.merchant_id, hold.hold_id), hold)
        state.holds_by_request[hold.merchant_id, hold.request_id] = hold
    for row in loaded.records:
        record = rows.record_of(row)
        state.records[record.merchant_id, record.request_id] = record
    for row in loaded.granted:
        grant = rows.grant_of(row)
        state.grants_by_request[grant.merchant_id, grant.request_id] = grant
    for row in loaded.enrolments:
        enrolled = rows.enrolment_of(row)
        owner = enrolled.subscription
        state.enrolments[owner.merchant_id, owner.customer_id] = enrolled
        accounts[owner.merchant_id, owner.customer_id].own_limit = rows.own_limit_of(row)
    for row in loaded.counters:
        counter = rows.counter_of(row)
        key = (counter.merchant_id, counter.customer_id, counter.meter_id, counter.cycle_start)
        state.counters[key] = counter
    return state


def reads_of(wanted: Wanted) -> list[tuple[str, Statement]]:
    """The statements that read what is wanted, each with its list in `Loaded`; locks first."""
    # Lock in id order: two batches that share accounts then wait for each other
    # instead of deadlocking.
    accounts = sorted(wanted.accounts)
    reads = (
        ("accounts", "lock_accounts", accounts),
        ("payments", "lock_payments", list(wanted.payments)),
        ("grants", "live_grants", accounts),
        ("holds", "holds_by_request", list(wanted.hold_requests)),
        ("holds", "holds_by_id", list(wanted.holds)),
        ("records", "records", list(wanted.records)),
        ("granted", "granted", list(wanted.grant_requests)),
        ("counters", "counters", list(wanted.counters)),
        ("enrolments", "enrolments", list(wanted.enrolments)),
        ("budgets", "budgets", [key for key in accounts if key[1].startswith(SPEND_KEY_PREFIX)]),
    )
    return [(into, Statement(name, keys)) for into, name, keys in reads if keys]


def writes_of(changes: Changes, ids: IdSource, now: Instant) -> list[Statement]:
    """The statements that write what the core changed."""
    writes: tuple[tuple[str, list[list[object]]], ...] = (
        (
            "update_accounts",
            [
                [account.merchant_id, account.account_id, account.balance, account.held]
                for account in changes.accounts.values()
            ],
        ),
        ("insert_grants", [rows.grant_row(grant) for grant in changes.new_grants.values()]),
        ("update_grants", [rows.grant_update(grant) for grant in changes.grants.values()]),
        (
            "end_grants",
            [[g.merchant_id, g.grant_id] for g in changes.grants.values() if not g.live],
        ),
        ("insert_holds", [rows.hold_row(hold) for hold in changes.new_holds.values()]),
        ("update_holds", [rows.hold_update(hold) for hold in changes.holds.values()]),
        ("insert_records", [rows.record_row(record) for record in changes.new_records.values()]),
        ("update_records", [rows.record_row(record) for record in changes.records.values()]),
        (
            "insert_labels",
            [
                label
                for records in (changes.new_records, changes.records)
                for record in records.values()
                if record.facts.metadata
                for label in rows.label_rows(record)
            ],
        ),
        ("update_cycles", [rows.cycle_row(account) for account in changes.cycles.values()]),
        (
            "put_subscriptions",
            [rows.subscription_row(row) for row in changes.subscriptions.values()],
        ),
        ("put_counters", [rows.counter_row(counter) for counter in changes.counters.values()]),
        ("grow_grants", [[g.merchant_id, g.grant_id, g.amount] for g in changes.grown.values()]),
        ("insert_payments", [rows.payment_row(row) for row in changes.new_payments.values()]),
        ("end_payments", [rows.payment_end(row) for row in changes.payments.values()]),
        ("update_budgets", [rows.budget_update(budget) for budget in changes.budgets.values()]),
        ("insert_entries", [rows.entry_row(entry, ids.ulid(now)) for entry in changes.entries]),
    )
    return [Statement(name, values) for name, values in writes if values]


def deliveries_of(happenings: Sequence[Happening], ids: IdSource, now: Instant) -> list[Statement]:
    """The statement that puts events into the outbox, one where there are any."""
    values = [rows.delivery_row(happening, ids.ulid(now), now) for happening in happenings]
    return [Statement("insert_deliveries", values)] if values else []

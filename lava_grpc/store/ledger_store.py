"""One batch: load what it touches, let the core decide, write what it decided."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from sqlalchemy import Row as RowOf
from sqlalchemy import Select, or_, select

from lava_grpc.core import ledger
from lava_grpc.core.account import Grant
from lava_grpc.core.commands import (
    AddGrant,
    Command,
    Expire,
    Extend,
    PlaceHold,
    Release,
    Settle,
)
from lava_grpc.core.ids import IdSource
from lava_grpc.core.ledger import Decision, Outcome
from lava_grpc.core.state import Changes, LedgerState
from lava_grpc.core.time import Clock, Instant, cycle_of
from lava_grpc.store import rows, schema
from lava_grpc.store.engine import LedgerSession, StoreEngine
from lava_grpc.store.sql import Loaded, Pair, Statement, Wanted

T = TypeVar("T")

OVERDUE_MAX = 200
"""How many overdue holds one batch expires to make room on accounts that lack it."""


class Io(Protocol):
    """How a store waits for its database."""

    async def __call__(self, work: Callable[[], T]) -> T:
        """What `work` returns, run where it may block."""
        ...


async def here(work: Callable[[], T]) -> T:
    """Blocks the caller: for a thread that has nothing else to do."""
    return work()


class LedgerStore:
    """Applies batches to a database, one at a time.

    What blocks goes through `io`; what is decided is decided where `apply` is
    awaited, so that the event loop's thread never waits for another thread's Python.
    """

    def __init__(
        self,
        engine: StoreEngine,
        clock: Clock,
        *,
        io: Io = here,
        charge_abandoned: bool = False,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._io = io
        self._charge_abandoned = charge_abandoned
        self._ids = IdSource()
        self._session: LedgerSession | None = None

    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        """Decide and commit a batch; its outcomes in order, durable.

        Raises whatever the engine raises; nothing of the batch is then committed,
        or (where the connection broke at its commit) the outcome is unknown and
        the batch is to be applied again.
        """
        try:
            decision = await self._decide(commands)
            if decision.short_accounts:
                overdue = await self._io(partial(self._find_overdue, decision.short_accounts))
                if overdue:
                    return await self._without(overdue, commands)
            await self._end(decision.changes)
        except BaseException:
            # Whatever state the connection is in, a new one is in a known one.
            await self.close()
            raise
        return decision.outcomes

    async def close(self) -> None:
        """Let the connection go."""
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(Exception):
                await self._io(session.close)

    async def _without(
        self, overdue: Sequence[Expire], commands: Sequence[Command]
    ) -> list[Outcome]:
        """Decide again, with the overdue holds of accounts that lacked room ended first.

        The first decision is dropped: expiring touches further accounts, and locks
        are only ever taken all at once and in order.
        """
        await self._io(self._open().rollback)
        decision = await self._decide([*overdue, *commands])
        await self._end(decision.changes)
        return decision.outcomes[len(overdue) :]

    async def _decide(self, commands: Sequence[Command]) -> Decision:
        """Begin a transaction, load what the commands touch, and decide them."""
        now = self._clock.now()
        reads = reads_of(wanted_by(commands, now))
        into = [name for name, _ in reads]
        statements = [statement for _, statement in reads]
        found = await self._io(lambda: self._open().load(statements))
        loaded = Loaded()
        for name, rows_found in zip(into, found, strict=True):
            getattr(loaded, name).extend(rows_found)
        return ledger.apply(state_of(loaded), commands, now)

    async def _end(self, changes: Changes) -> None:
        """Write what was decided and commit."""
        session = self._open()
        if changes.empty:
            await self._io(session.rollback)
        else:
            writes = writes_of(changes, self._ids, self._clock.now())
            await self._io(partial(session.write, writes))

    def _open(self) -> LedgerSession:
        if self._session is None:
            self._session = self._engine.session()
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
            case AddGrant():
                wanted.grant_requests.add((merchant_id, command.request_id))
                continue
            case _:
                continue
        for part in command.parts:
            if part.meter is not None:
                wanted.counters.add(
                    (merchant_id, part.account_id, part.meter.meter_id, cycle_start)
                )
    return wanted


def state_of(loaded: Loaded) -> LedgerState:
    """The core's state from the rows that were loaded."""
    state = LedgerState()
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
        ("grants", "live_grants", accounts),
        ("holds", "holds_by_request", list(wanted.hold_requests)),
        ("holds", "holds_by_id", list(wanted.holds)),
        ("records", "records", list(wanted.records)),
        ("granted", "granted", list(wanted.grant_requests)),
        ("counters", "counters", list(wanted.counters)),
    )
    return [(into, Statement(name, rows.dumps(keys))) for into, name, keys in reads if keys]


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
        ("insert_holds", [rows.hold_row(hold) for hold in changes.new_holds.values()]),
        ("update_holds", [rows.hold_update(hold) for hold in changes.holds.values()]),
        ("insert_records", [rows.record_row(record) for record in changes.new_records.values()]),
        ("update_records", [rows.record_row(record) for record in changes.records.values()]),
        ("put_counters", [rows.counter_row(counter) for counter in changes.counters.values()]),
        ("insert_entries", [rows.entry_row(entry, ids.ulid(now)) for entry in changes.entries]),
    )
    return [Statement(name, rows.dumps(values)) for name, values in writes if values]

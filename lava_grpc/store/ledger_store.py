"""One batch: load what it touches, let the core decide, write what it decided."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

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
from lava_grpc.store.sql import Loaded, Pair, Wanted, Writes

OVERDUE_MAX = 200
"""How many overdue holds one batch expires to make room on accounts that lack it."""


class LedgerStore:
    """Applies batches to a database. Used from one thread at a time."""

    def __init__(
        self,
        engine: StoreEngine,
        clock: Clock,
        *,
        charge_abandoned: bool = False,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._charge_abandoned = charge_abandoned
        self._ids = IdSource()
        self._session: LedgerSession | None = None
        self._overdue: list[Expire] = []

    def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        """Decide and commit a batch; its outcomes in order, durable.

        Raises whatever the engine raises; nothing of the batch is then committed,
        or (where the connection broke at its commit) the outcome is unknown and
        the batch is to be applied again.
        """
        decision = self._attempt(commands, last=False)
        if decision is None:
            return self._with_overdue_expired(commands)
        return decision.outcomes

    def close(self) -> None:
        """Let the connection go."""
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(Exception):
                session.close()

    def _with_overdue_expired(self, commands: Sequence[Command]) -> list[Outcome]:
        """Decide again, with the overdue holds of accounts that lacked room ended first.

        The first attempt was rolled back: expiring touches further accounts, and
        locks are only ever taken all at once and in order.
        """
        overdue, self._overdue = self._overdue, []
        decision = self._attempt([*overdue, *commands], last=True)
        if decision is None:
            raise AssertionError("the last attempt decides")
        return decision.outcomes[len(overdue) :]

    def _attempt(self, commands: Sequence[Command], *, last: bool) -> Decision | None:
        """Load, decide, write, commit; None where overdue holds should end first."""
        session = self._session
        if session is None:
            session = self._session = self._engine.session()
        try:
            now = self._clock.now()
            state = state_of(session.load(wanted_by(commands, now)))
            decision = ledger.apply(state, commands, now)
            if decision.short_accounts and not last:
                self._overdue = self._find_overdue(decision.short_accounts, now)
                if self._overdue:
                    session.rollback()
                    return None
            if decision.changes.empty:
                session.rollback()
            else:
                session.write(writes_of(decision.changes, self._ids, now))
        except BaseException:
            # Whatever state the connection is in, a new one is in a known one.
            self.close()
            raise
        return decision

    def _find_overdue(self, accounts: frozenset[Pair], now: Instant) -> list[Expire]:
        engine = self._engine.engine.execution_options(read_only=True)
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


def writes_of(changes: Changes, ids: IdSource, now: Instant) -> Writes:
    """The rows to write, from what the core changed."""
    return Writes(
        accounts=[
            [account.merchant_id, account.account_id, account.balance, account.held]
            for account in changes.accounts.values()
        ],
        new_grants=[rows.grant_row(grant) for grant in changes.new_grants.values()],
        grants=[rows.grant_update(grant) for grant in changes.grants.values()],
        new_holds=[rows.hold_row(hold) for hold in changes.new_holds.values()],
        holds=[rows.hold_update(hold) for hold in changes.holds.values()],
        new_records=[rows.record_row(record) for record in changes.new_records.values()],
        records=[rows.record_row(record) for record in changes.records.values()],
        counters=[rows.counter_row(counter) for counter in changes.counters.values()],
        entries=[rows.entry_row(entry, ids.ulid(now)) for entry in changes.entries],
    )

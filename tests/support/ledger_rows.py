"""A store in memory, as naive as can be: what `apply` needs is loaded afresh each time.

Each batch sees copies of the rows that its commands name and nothing else, as
a real store would load them; only what `Changes` lists is kept. A row that the
core changed without saying so is therefore lost, and some rule breaks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from lava_grpc.core.account import Account, Grant
from lava_grpc.core.commands import (
    AddGrant,
    Command,
    Expire,
    Extend,
    PlaceHold,
    Release,
    RenewCycles,
    Settle,
)
from lava_grpc.core.hold import Hold
from lava_grpc.core.ledger import Decision, apply
from lava_grpc.core.payments import Payment
from lava_grpc.core.plans import Enrolment, Plan, Subscription, SubscriptionStatus
from lava_grpc.core.request_record import RequestRecord
from lava_grpc.core.state import Changes, CounterKey, Entry, Key, LedgerState, TierCounter
from lava_grpc.core.time import Instant
from tests.support.invariants import Books, broken_rules

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(slots=True)
class LedgerRows:
    """All tables, keyed as in a database."""

    accounts: dict[Key, Account] = field(default_factory=dict)
    grants: dict[Key, Grant] = field(default_factory=dict)
    holds: dict[Key, Hold] = field(default_factory=dict)
    records: dict[Key, RequestRecord] = field(default_factory=dict)
    counters: dict[CounterKey, TierCounter] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    plans: dict[Key, Plan] = field(default_factory=dict)
    subscriptions: dict[Key, Subscription] = field(default_factory=dict)
    payments: dict[Key, Payment] = field(default_factory=dict)
    low_marks: dict[Key, int | None] = field(default_factory=dict)

    def add_account(self, account: Account) -> None:
        """Put an account without credit into the table."""
        self.accounts[account.merchant_id, account.account_id] = account

    def run(self, commands: Sequence[Command], now: Instant) -> Decision:
        """Load, decide, write."""
        given, ahead = commands, 0
        decision = apply(self._load(commands), commands, now)
        while decision.due_accounts:
            commands = [*[RenewCycles(*key) for key in sorted(decision.due_accounts)], *commands]
            ahead = len(commands) - len(given)
            decision = apply(self._load(commands), commands, now)
        self._write(decision.changes)
        return replace(decision, outcomes=decision.outcomes[ahead:])

    def broken_rules(self) -> list[str]:
        """What `tests.support.invariants` finds in the rows."""
        return broken_rules(self.books())

    def books(self) -> Books:
        """All rows there are."""
        return Books(
            self.accounts.values(),
            self.grants.values(),
            self.holds.values(),
            self.records.values(),
            self.entries,
        )

    def _load(self, commands: Sequence[Command]) -> LedgerState:
        state = LedgerState()
        for key in _account_keys(commands):
            if key in self.accounts:
                kept = self.accounts[key]
                account = replace(kept, grants=[], budget=copy.deepcopy(kept.budget))
                state.accounts[key] = account
                for grant_key, row in self.grants.items():
                    if (row.merchant_id, row.account_id) == key and row.live:
                        state.grants[grant_key] = replace(row)
                        account.insert_grant(state.grants[grant_key])
        state.enrolments = self._enrolments()
        state.payments = dict(self.payments)
        requests = self._request_keys(commands)
        for key, row in self.grants.items():
            if (row.merchant_id, row.request_id) in requests:
                grant = state.grants.setdefault(key, replace(row))
                state.grants_by_request[row.merchant_id, row.request_id] = grant
        for key, hold in self.holds.items():
            if (hold.merchant_id, hold.request_id) in requests:
                state.holds[key] = hold.copy()
                state.holds_by_request[hold.merchant_id, hold.request_id] = state.holds[key]
        state.records = {key: row for key, row in self.records.items() if key in requests}
        state.counters = {key: replace(row) for key, row in self.counters.items()}
        return state

    def _enrolments(self) -> dict[Key, Enrolment]:
        return {
            (row.merchant_id, row.customer_id): self._enrolment(row)
            for row in self.subscriptions.values()
            if row.status is SubscriptionStatus.ACTIVE
        }

    def _enrolment(self, subscription: Subscription) -> Enrolment:
        merchant_id = subscription.merchant_id
        default = [plan for plan in self.plans.values() if plan.is_default]
        pending = subscription.pending_plan_id
        return Enrolment(
            subscription,
            self.plans[merchant_id, subscription.plan_id],
            None if pending is None else self.plans[merchant_id, pending],
            default[0] if default else None,
        )

    def _request_keys(self, commands: Iterable[Command]) -> set[Key]:
        keys: set[Key] = set()
        for command in commands:
            if isinstance(command, PlaceHold | Settle | AddGrant):
                keys.add((command.merchant_id, command.request_id))
            if isinstance(command, Settle | Release | Extend | Expire) and command.hold_id:
                hold = self.holds.get((command.merchant_id, command.hold_id))
                if hold is not None:
                    keys.add((hold.merchant_id, hold.request_id))
        return keys

    def _write(self, changes: Changes) -> None:
        for new, changed in (
            (changes.new_grants, changes.grants),
            (changes.new_holds, changes.holds),
            (changes.new_records, changes.records),
        ):
            assert not set(new) & set(changed), "a row is to be both inserted and updated"
        for key, row in changes.accounts.items():
            kept = self.accounts[key]
            kept.balance, kept.held = row.balance, row.held
        for key, cycle in changes.cycles.items():
            kept, now = self.accounts[key], cycle.account
            kept.cycle_start, kept.cycle_end = now.cycle_start, now.cycle_end
            kept.credit_limit, kept.own_limit = now.credit_limit, now.own_limit
            self.low_marks[key] = cycle.low_mark
        _insert(self.payments, changes.new_payments)
        _update(self.payments, changes.payments)
        for key, budget in changes.budgets.items():
            self.accounts[key].budget = copy.deepcopy(budget)
        self.subscriptions |= changes.subscriptions
        _insert(self.grants, {key: replace(row) for key, row in changes.new_grants.items()})
        _update(self.grants, {key: replace(row) for key, row in changes.grants.items()})
        _insert(self.holds, {key: row.copy() for key, row in changes.new_holds.items()})
        _update(self.holds, {key: row.copy() for key, row in changes.holds.items()})
        _insert(self.records, changes.new_records)
        _update(self.records, changes.records)
        self.counters |= {key: replace(row) for key, row in changes.counters.items()}
        self.entries += changes.entries


def _account_keys(commands: Iterable[Command]) -> set[Key]:
    return {(command.merchant_id, name) for command in commands for name in command.account_ids}


def _insert(table: dict[_K, _V], rows: dict[_K, _V]) -> None:
    for key, row in rows.items():
        assert key not in table, f"inserted twice: {key}"
        table[key] = row


def _update(table: dict[_K, _V], rows: dict[_K, _V]) -> None:
    for key, row in rows.items():
        assert key in table, f"updated, but not there: {key}"
        table[key] = row

"""Subscriptions under a clock that moves over years, beside a plain account of what they give.

Two ledgers see the same: one whose every renewal comes in time, as a sweeper makes
them, and one that is left alone until the customer is next touched. Merchants edit and
delete plans that have subscribers; both ledgers are brought up to date before that, since
a cycle that nobody noticed is applied with the plan as it is then.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from lava_grpc.core.account import Account, AccountKind
from lava_grpc.core.commands import (
    ChangeSubscription,
    Command,
    HoldPart,
    PlaceHold,
    RenewCycles,
    Settle,
    SettlePart,
    Subscribe,
)
from lava_grpc.core.cycles import Interval
from lava_grpc.core.errors import Refusal
from lava_grpc.core.hold import CallFacts, HoldKind, Role
from lava_grpc.core.plans import Plan, Rollover, SubscriptionStatus
from lava_grpc.core.time import from_datetime
from lava_grpc.core.usage import NOTHING
from tests.support.ledger_rows import LedgerRows

M, ANN = "mer", "con_a"
FREE = "pln_free"


def _plan(name: str, price: int, credit: int, interval: Interval, rollover: Rollover) -> Plan:
    return Plan(
        merchant_id=M,
        plan_id=f"pln_{name}",
        name=name,
        period_amount=price,
        included_credit=credit,
        interval=interval,
        rollover=rollover,
        bundle_rollover=Rollover.FULL,
        meter_ids=None,
        default_bundle_id=None,
        overage_limit=None,
        is_default=name == "free",
        created_at=0,
    )


PLANS = {
    plan.plan_id: plan
    for plan in (
        _plan("free", 0, 3, Interval.MONTH, Rollover.NONE),
        _plan("weekly", 5, 7, Interval.WEEK, Rollover.FULL),
        _plan("monthly", 20, 25, Interval.MONTH, Rollover.NONE),
        _plan("rolling", 30, 35, Interval.MONTH, Rollover.FULL),
        _plan("yearly", 200, 300, Interval.YEAR, Rollover.NONE),
    )
}


@dataclass
class Pot:
    """Credit of one cycle."""

    left: int
    ends: datetime | None


class Model:
    """One customer's plan by calendar arithmetic of its own, day by day."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.plans = dict(PLANS)
        self.plan: str | None = None
        self.next_plan: str | None = None
        self.cancelling = False
        self.anchor = now
        self.months = 0  # since the anchor
        self.ends = now
        self.pots: list[Pot] = []
        self.cycles = 0

    def subscribe(self, name: str) -> None:
        if self.plan is None:
            self._begin(name, self.now, anchor=True)
        elif self.plan == name:
            self.next_plan, self.cancelling = None, False
        elif self.plans[name].period_amount > self.plans[self.plan].period_amount:
            self._begin(name, self.now, anchor=True)
        else:
            self.next_plan, self.cancelling = name, False

    def cancel(self) -> None:
        self.next_plan, self.cancelling = None, True

    def move(self, now: datetime) -> None:
        self.now = now
        while self.plan is not None and self.ends <= now:
            at, plan = self.ends, self.plans[self.plan]
            follows = self.plans.get(self.next_plan or "")
            if follows is not None and follows.deleted_at is None:
                same = follows.interval is plan.interval
                self._begin(follows.plan_id, at, anchor=not same)
            elif self.cancelling or follows is not None or plan.deleted_at is not None:
                if self.plan == FREE:
                    self.plan = None
                else:
                    self._begin(FREE, at, anchor=True)
            else:
                self._begin(self.plan, at, anchor=False)

    def balance(self) -> int:
        return sum(pot.left for pot in self._live())

    def spend(self, amount: int) -> None:
        """Earliest expiry first, then oldest."""
        never = datetime.max.replace(tzinfo=UTC)
        for pot in sorted(self._live(), key=lambda pot: pot.ends or never):
            taken = min(pot.left, amount)
            pot.left -= taken
            amount -= taken

    def _live(self) -> list[Pot]:
        return [pot for pot in self.pots if pot.ends is None or pot.ends > self.now]

    def _begin(self, name: str, at: datetime, *, anchor: bool) -> None:
        plan = self.plans[name]
        self.plan, self.next_plan, self.cancelling = name, None, False
        self.cycles += 1
        if anchor:
            self.anchor, self.months = at, 0
        if plan.interval is Interval.WEEK:
            self.ends = at + timedelta(days=7)
        else:
            self.months += 12 if plan.interval is Interval.YEAR else 1
            self.ends = self._month_on(self.months)
        ends = self.ends if plan.rollover is Rollover.NONE else None
        self.pots.append(Pot(plan.included_credit, ends))

    def rolled_over(self) -> int:
        """How many pots no cycle's end empties."""
        return sum(1 for pot in self._live() if pot.ends is None and pot.left)

    def _month_on(self, months: int) -> datetime:
        index = self.anchor.year * 12 + self.anchor.month - 1 + months
        year, month = divmod(index, 12)
        day = min(self.anchor.day, monthrange(year, month + 1)[1])
        return self.anchor.replace(year=year, month=month + 1, day=day)


starts = st.sampled_from(
    [
        datetime(2024, 2, 29, 12, tzinfo=UTC),
        datetime(2023, 1, 31, tzinfo=UTC),
        datetime(2099, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 11, 15, 6, tzinfo=UTC),
    ]
)
names = st.sampled_from(sorted(PLANS))
waits = st.integers(1, 40) | st.integers(1, 400) | st.integers(1, 1_600)


class SubscriptionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.in_time, self.late = LedgerRows(), LedgerRows()
        for rows in (self.in_time, self.late):
            rows.add_account(Account(M, ANN, AccountKind.CUSTOMER, 0, 0, 0, closed=False))
            rows.plans |= {(M, plan.plan_id): plan for plan in PLANS.values()}
        self.serial = 0

    @initialize(start=starts)
    def begin(self, start: datetime) -> None:
        self.model = Model(start)

    @rule(name=names)
    def subscribe(self, name: str) -> None:
        if self.model.plans[name].deleted_at is not None:
            return
        self.serial += 1
        self._both(Subscribe(M, ANN, f"sub_{self.serial:03}", self.model.plans[name]))
        self.model.subscribe(name)

    @rule(name=names, credit=st.integers(0, 40), rollover=st.sampled_from(list(Rollover)))
    def edit_a_plan(self, name: str, credit: int, rollover: Rollover) -> None:
        """What a cycle brings, and what becomes of it, counts from the next cycle on."""
        self._set_plan(replace(self.model.plans[name], included_credit=credit, rollover=rollover))

    @rule(name=names)
    def delete_a_plan(self, name: str) -> None:
        """Its subscribers keep it until their cycle ends."""
        if name != FREE:
            self._set_plan(replace(self.model.plans[name], deleted_at=1))

    @precondition(lambda self: self.model.plan is not None)
    @rule()
    def cancel(self) -> None:
        active = self._active(self.in_time)
        self._both(ChangeSubscription(M, ANN, active, cancel=True))
        self.model.cancel()

    @rule(days=waits)
    def days_pass(self, days: int) -> None:
        self._move(self.model.now + timedelta(days=days))

    @precondition(lambda self: self.model.plan is not None)
    @rule(early=st.booleans())
    def the_cycles_end_comes(self, early: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        """To the microsecond: just before it, nothing has changed."""
        end = self.model.ends - timedelta(microseconds=1 if early else 0)
        if end > self.model.now:
            self._move(end)

    @rule(amount=st.integers(1, 40))
    def spend(self, amount: int) -> None:
        self.serial += 1
        part = HoldPart(ANN, Role.CHARGE, amount)
        request_id = f"r{self.serial}"
        hold = PlaceHold(
            M, request_id, f"res_{request_id}", "f", HoldKind.AUTHORIZE, (part,), CallFacts(), 60
        )
        paid = SettlePart(ANN, Role.CHARGE, None, None, amount)
        covered = amount <= self.model.balance()
        for rows in (self.in_time, self.late):
            now = from_datetime(self.model.now)
            (outcome,) = rows.run([hold], now).outcomes
            assert isinstance(outcome, Refusal) is not covered
            if covered:
                rows.run([Settle(M, request_id, "f", (paid,), CallFacts(), NOTHING)], now)
        if covered:
            self.model.spend(amount)

    def _move(self, now: datetime) -> None:
        """The ledger that is kept in time sees every end as it comes."""
        model = self.model
        while model.plan is not None and model.ends <= now:
            end = model.ends
            model.move(end)
            self.in_time.run([RenewCycles(M, ANN)], from_datetime(end))
        model.move(now)

    def _set_plan(self, plan: Plan) -> None:
        for rows in (self.in_time, self.late):
            rows.run([RenewCycles(M, ANN)], from_datetime(self.model.now))
            rows.plans[M, plan.plan_id] = plan
        self.model.plans[plan.plan_id] = plan

    def _both(self, command: Command) -> None:
        now = from_datetime(self.model.now)
        for rows in (self.in_time, self.late):
            (outcome,) = rows.run([command], now).outcomes
            assert not isinstance(outcome, Refusal), outcome.message

    def _active(self, rows: LedgerRows) -> str:
        (found,) = [
            row.subscription_id
            for row in rows.subscriptions.values()
            if row.status is SubscriptionStatus.ACTIVE
        ]
        return found

    @invariant()
    def the_books_balance(self) -> None:
        assert self.in_time.broken_rules() == self.late.broken_rules() == []

    @invariant()
    def both_ledgers_are_where_the_calendar_says(self) -> None:
        if not hasattr(self, "model"):
            return
        now = from_datetime(self.model.now)
        for rows in (self.in_time, self.late):
            rows.run([RenewCycles(M, ANN)], now)
            account = rows.accounts[M, ANN]
            assert account.balance == self.model.balance()
            expected = None if self.model.plan is None else from_datetime(self.model.ends)
            assert account.cycle_end == expected
            cycles = [row.cycle for row in rows.subscriptions.values()]
            assert sum(cycles) == self.model.cycles
            # What rolls over is one grant, however many cycles it came with.
            kept = [g for g in rows.grants.values() if g.live and g.expires_at is None]
            assert len(kept) == min(1, self.model.rolled_over())


TestSubscriptions = SubscriptionMachine.TestCase

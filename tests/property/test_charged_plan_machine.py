"""Plans that are charged, under payments that succeed late, twice over, or never.

What must hold whatever happens: a payment is worth its amount to the customer, once; a
cycle has credit only if it was paid; an unpaid subscription waits for one open payment.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lava_grpc.core.account import Account, AccountKind
from lava_grpc.core.commands import (
    ChangeSubscription,
    Command,
    GiveUp,
    HandOut,
    HoldPart,
    PlaceHold,
    RenewCycles,
    Settle,
    SettlePart,
    Subscribe,
)
from lava_grpc.core.cycles import DAY, Interval
from lava_grpc.core.errors import Refusal
from lava_grpc.core.hold import CallFacts, HoldKind, Role
from lava_grpc.core.payments import Payment, PaymentKind, PaymentState
from lava_grpc.core.plans import Plan, Rollover, Subscription, SubscriptionStatus
from lava_grpc.core.state import EntryKind
from lava_grpc.core.time import from_datetime
from lava_grpc.core.usage import NOTHING
from tests.support.ledger_rows import LedgerRows

M, ANN = "mer", "con_a"
CARD_LIMIT, OWN_LIMIT = 12, 4


def _plan(name: str, price: int, credit: int, interval: Interval, limit: int | None) -> Plan:
    return Plan(
        merchant_id=M,
        plan_id=f"pln_{name}",
        name=name,
        period_amount=price,
        included_credit=credit,
        interval=interval,
        rollover=Rollover.FULL if name == "rolling" else Rollover.NONE,
        bundle_rollover=Rollover.FULL,
        meter_ids=None,
        default_bundle_id=None,
        overage_limit=limit,
        is_default=name == "free",
        created_at=0,
    )


PLANS = {
    plan.plan_id: plan
    for plan in (
        _plan("free", 0, 2, Interval.MONTH, None),
        _plan("pay_as_you_go", 0, 3, Interval.MONTH, CARD_LIMIT),
        _plan("weekly", 5, 7, Interval.WEEK, CARD_LIMIT),
        _plan("rolling", 20, 25, Interval.MONTH, None),
        _plan("yearly", 200, 300, Interval.YEAR, CARD_LIMIT),
    )
}
paid_plans = st.sampled_from(sorted(PLANS.keys() - {"pln_free"}))


class ChargedPlanMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.rows = LedgerRows()
        owner = Account(M, ANN, AccountKind.CUSTOMER, 0, 0, OWN_LIMIT, closed=False)
        self.rows.add_account(owner)
        self.rows.plans |= {(M, plan.plan_id): plan for plan in PLANS.values()}
        self.now = from_datetime(datetime(2024, 1, 31, 12, tzinfo=UTC))
        self.serial = 0
        self.begun: set[str] = set()  # payments that paid for a cycle

    @initialize(name=paid_plans)
    def there_is_a_subscriber(self, name: str) -> None:
        self.ask_for_a_plan(name, 0)
        if self._open():
            self.a_payment_succeeds(0, 1, plan_is_gone=False)

    @rule(name=paid_plans, owed=st.integers(0, 5))
    def ask_for_a_plan(self, name: str, owed: int) -> None:
        """As a caller does: the payment first, one at a time."""
        if any(p.kind is PaymentKind.SUBSCRIPTION for p in self._open()):
            return
        plan = PLANS[name]
        if plan.period_amount + owed == 0:
            self._run(Subscribe(M, ANN, self._ident("sub_"), plan, "test", "pm_1"))
            return
        ident = self._ident("pay_")
        self.rows.payments[M, ident] = Payment(
            merchant_id=M,
            payment_id=ident,
            account_id=ANN,
            kind=PaymentKind.SUBSCRIPTION,
            provider="test",
            payment_method_id="pm_1",
            credit_bundle_id=None,
            amount=plan.period_amount + owed,
            credit_amount=owed,
            state=PaymentState.OPEN,
            reason=None,
            attempts=1,
            due_at=self.now,
            created_at=self.now,
            plan_id=name,
        )

    @rule(name=paid_plans)
    def put_on_a_plan_that_the_merchant_bills(self, name: str) -> None:
        self._run(Subscribe(M, ANN, self._ident("sub_"), PLANS[name]))

    @precondition(lambda self: self._open())
    @rule(pick=st.integers(0, 5), times=st.integers(1, 3), plan_is_gone=st.booleans())
    def a_payment_succeeds(self, pick: int, times: int, *, plan_is_gone: bool) -> None:
        payment = self._pick(pick)
        self.rows.run([RenewCycles(M, ANN)], self.now)
        waits = self._active()
        if payment.kind is PaymentKind.SUBSCRIPTION:
            buys = not plan_is_gone
        else:
            buys = waits is not None and waits.unpaid and waits.payment_id == payment.payment_id
        if buys:
            self.begun.add(payment.payment_id)
        self.rows.payments[M, payment.payment_id] = replace(payment, state=PaymentState.PAID)
        plan = None if plan_is_gone else PLANS[payment.plan_id or ""]
        ident = self._ident("sub_")
        for _ in range(times):
            self._run(HandOut(M, ANN, payment.payment_id, ident, plan))

    @precondition(lambda self: self._open())
    @rule(pick=st.integers(0, 5), times=st.integers(1, 2))
    def a_payment_is_declined_for_good(self, pick: int, times: int) -> None:
        payment = self._pick(pick)
        for _ in range(times):
            self._run(GiveUp(M, ANN, payment.payment_id, "no money"))

    @precondition(lambda self: self._active() is not None)
    @rule()
    def cancel(self) -> None:
        self.rows.run([RenewCycles(M, ANN)], self.now)
        active = self._active()
        if active is not None:
            self._run(ChangeSubscription(M, ANN, active.subscription_id, cancel=True))

    @rule(days=st.integers(1, 40) | st.integers(1, 800))
    def days_pass(self, days: int) -> None:
        self.now += days * DAY

    @rule(cycles=st.integers(1, 3))
    def cycles_end(self, cycles: int) -> None:
        """To the microsecond; the last one is noticed."""
        for _ in range(cycles):
            self.now = max(self.now, self.rows.accounts[M, ANN].cycle_end or 0)
            self._run(RenewCycles(M, ANN))

    @rule(amount=st.integers(1, 40))
    def spend(self, amount: int) -> None:
        """Out of a hold: never past the limit."""
        request_id = self._ident("r")
        part = HoldPart(ANN, Role.CHARGE, amount)
        hold = PlaceHold(
            M, request_id, f"res_{request_id}", "f", HoldKind.AUTHORIZE, (part,), CallFacts(), 60
        )
        (outcome,) = self.rows.run([hold], self.now).outcomes
        account = self.rows.accounts[M, ANN]
        if not isinstance(outcome, Refusal):
            paid = SettlePart(ANN, Role.CHARGE, None, None, amount)
            self._run(Settle(M, request_id, "f", (paid,), CallFacts(), NOTHING))
            assert account.balance >= -(account.credit_limit or 0)

    @invariant()
    def the_books_balance(self) -> None:
        assert self.rows.broken_rules() == []

    @invariant()
    def every_payment_is_worth_its_amount_once(self) -> None:
        granted: Counter[str | None] = Counter()
        for entry in self.rows.entries:
            if entry.kind is EntryKind.GRANT:
                granted[entry.request_id] += entry.amount
        for payment in self.rows.payments.values():
            if payment.state is not PaymentState.SUCCEEDED:
                assert granted[payment.payment_id] == 0
            elif payment.payment_id in self.begun:
                assert granted[payment.payment_id] == payment.credit_amount
            else:
                assert granted[payment.payment_id] == payment.amount

    @invariant()
    def what_is_unpaid_waits_for_one_open_payment_and_has_no_cycle_credit(self) -> None:
        active = self._active()
        if active is None or not active.unpaid:
            return
        payment = self.rows.payments[M, active.payment_id or ""]
        assert (payment.state, payment.kind) == (PaymentState.OPEN, PaymentKind.RENEWAL)
        cycle = f"{active.subscription_id}/{active.cycle}"
        assert all(entry.request_id != cycle for entry in self.rows.entries)

    @invariant()
    def a_cycle_that_is_not_unpaid_was_paid_or_cost_nothing(self) -> None:
        active = self._active()
        if active is None or not active.charged or active.unpaid:
            return
        if active.payment_id is None:
            assert PLANS[active.plan_id].period_amount == 0
        else:
            assert self.rows.payments[M, active.payment_id].state is PaymentState.SUCCEEDED

    @invariant()
    def no_cycle_is_credited_twice(self) -> None:
        cycles = Counter(
            entry.request_id
            for entry in self.rows.entries
            if entry.kind is EntryKind.GRANT and "/" in (entry.request_id or "")
        )
        assert not cycles or max(cycles.values()) == 1

    @invariant()
    def the_limit_is_the_plans_or_else_the_customers_own(self) -> None:
        active, account = self._active(), self.rows.accounts[M, ANN]
        plans = None if active is None else PLANS[active.plan_id].overage_limit
        assert account.credit_limit == (OWN_LIMIT if plans is None else plans)

    def _run(self, command: Command) -> None:
        (outcome,) = self.rows.run([command], self.now).outcomes
        assert not isinstance(outcome, Refusal), outcome.message

    def _ident(self, prefix: str) -> str:
        self.serial += 1
        return f"{prefix}{self.serial:03}"

    def _open(self) -> list[Payment]:
        return [p for p in self.rows.payments.values() if p.state is PaymentState.OPEN]

    def _pick(self, pick: int) -> Payment:
        waiting = self._open()
        return waiting[pick % len(waiting)]

    def _active(self) -> Subscription | None:
        found = [
            row
            for row in self.rows.subscriptions.values()
            if row.status is SubscriptionStatus.ACTIVE
        ]
        return found[0] if found else None


TestChargedPlans = ChargedPlanMachine.TestCase

"""Plans whose price and overage a payment provider is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lava_grpc.core.commands import Concluded, GiveUp, HandOut, RenewCycles, Subscribe
from lava_grpc.core.errors import Reason
from lava_grpc.core.payments import Payment, PaymentKind, PaymentState
from lava_grpc.core.plans import Plan, Rollover, Subscription, SubscriptionStatus
from tests.unit.core.builders import ANN, M, grant, hold, part, pay, settle, units
from tests.unit.core.subscription_builders import SUBSCRIPTION, Subscribed, at, plan

FREE = plan("free", price=0, credit=2, default=True)


class Charged(Subscribed):
    """A ledger whose plans are charged to a card."""

    def start(self, chosen: Plan, *, owed: float = 0) -> Subscription:
        """Pay for a plan's first cycle, and be on it."""
        self.rows.plans[M, chosen.plan_id] = chosen
        self.rows.plans[M, FREE.plan_id] = FREE
        first = Payment(
            merchant_id=M,
            payment_id=f"pay_test_{len(self.rows.payments)}",
            account_id=ANN,
            kind=PaymentKind.SUBSCRIPTION,
            provider="test",
            payment_method_id="pm_1",
            credit_bundle_id=None,
            amount=chosen.period_amount + units(owed),
            credit_amount=units(owed),
            state=PaymentState.PAID,
            reason=None,
            attempts=1,
            due_at=self.now,
            created_at=self.now,
            plan_id=chosen.plan_id,
        )
        self.rows.payments[M, first.payment_id] = first
        assert self.hand_out(first, chosen).state is PaymentState.SUCCEEDED
        return self.running()

    def running(self) -> Subscription:
        """The active subscription."""
        found = self.active()
        assert found is not None
        return found

    def open(self) -> Payment:
        """The one payment that is open."""
        (found,) = [p for p in self.rows.payments.values() if p.ended_at is None]
        return found

    def paid(self) -> Payment:
        """Let the open payment succeed."""
        found = replace(self.open(), state=PaymentState.PAID)
        self.rows.payments[M, found.payment_id] = found
        return self.hand_out(found, None)

    def hand_out(self, payment: Payment, chosen: Plan | None) -> Payment:
        command = HandOut(M, ANN, payment.payment_id, SUBSCRIPTION, chosen)
        return self._one(Concluded, command).payment

    def give_up(self) -> Payment:
        """Let the open payment be declined for good."""
        return self._one(Concluded, GiveUp(M, ANN, self.open().payment_id, "no money")).payment


def on(year: int, month: int, day: int) -> Charged:
    ledger = Charged()
    ledger.now = at(year, month, day)
    return ledger


def test_a_plan_begins_with_its_payment_once_however_often_that_is_handed_out() -> None:
    ledger = on(2026, 1, 31)
    begun = ledger.start(plan())
    (payment,) = ledger.rows.payments.values()
    for _ in range(2):
        ledger.hand_out(payment, plan())
    assert (begun.charged, begun.unpaid, begun.payment_id) == (True, False, payment.payment_id)
    assert ledger.running() == begun
    assert ledger.balance() == units(25)


def test_a_renewal_has_no_credit_until_it_is_paid() -> None:
    ledger = on(2026, 1, 31)
    ledger.start(plan())
    ledger.come_back(at(2026, 2, 28))
    asked = ledger.open()
    assert (asked.kind, asked.amount, asked.credit_amount, asked.plan_id) == (
        PaymentKind.RENEWAL,
        units(20),
        0,
        "pln_pro",
    )
    assert (ledger.running().unpaid, ledger.balance()) == (True, 0)
    assert ledger.refused(hold(part(1))).reason is Reason.INSUFFICIENT_CREDITS
    for _ in range(2):
        ledger.come_back(at(2026, 3, 2))
    assert ledger.open() == asked
    ledger.paid()
    assert (ledger.running().unpaid, ledger.balance()) == (False, units(25))
    (credit,) = [g for g in ledger.rows.grants.values() if g.remaining]
    assert credit.expires_at == at(2026, 3, 31)
    for _ in range(2):
        ledger.hand_out(ledger.rows.payments[M, asked.payment_id], None)
    assert ledger.balance() == units(25)


def test_overage_is_charged_with_the_next_cycle_and_takes_none_of_its_credit() -> None:
    ledger = on(2026, 1, 31)
    ledger.start(plan(overage_limit=10))
    ledger.settled(settle(pay(33)))
    assert ledger.balance() == units(-8)
    ledger.come_back(at(2026, 2, 28))
    assert (ledger.open().amount, ledger.open().credit_amount) == (units(28), units(8))
    # The rest of the limit is there, but no more: what is unpaid counts.
    assert ledger.refused(hold(part(3), request_id="r2")).reason is Reason.INSUFFICIENT_CREDITS
    ledger.paid()
    assert ledger.balance() == units(25)


def test_the_card_limit_blocks() -> None:
    ledger = on(2026, 1, 31)
    ledger.start(plan(overage_limit=10))
    ledger.settled(settle(pay(35)))
    assert ledger.refused(hold(part(1), request_id="r2")).reason is Reason.INSUFFICIENT_CREDITS


def test_a_free_plans_overage_is_charged_too_and_nothing_where_there_is_none() -> None:
    ledger = on(2026, 1, 31)
    ledger.start(plan(price=0, credit=5, overage_limit=10))
    ledger.come_back(at(2026, 2, 28))
    assert (ledger.running().unpaid, ledger.balance()) == (False, units(5))
    ledger.settled(settle(pay(7)))
    ledger.come_back(at(2026, 3, 31))
    assert (ledger.open().amount, ledger.open().credit_amount) == (units(2), units(2))
    ledger.paid()
    assert ledger.balance() == units(5)


def test_a_renewal_that_stays_unpaid_goes_on_without_credit_or_further_payments() -> None:
    ledger = on(2026, 1, 31)
    ledger.start(plan())
    ledger.come_back(at(2026, 2, 28))
    asked = ledger.open()
    ledger.come_back(at(2026, 6, 30))
    assert ledger.open() == asked
    assert (ledger.running().cycle_start, ledger.balance()) == (at(2026, 6, 30), 0)
    ledger.paid()
    (credit,) = [g for g in ledger.rows.grants.values() if g.remaining]
    assert credit.expires_at == at(2026, 7, 31)


def test_cycles_that_nobody_noticed_are_neither_charged_nor_credited() -> None:
    ledger = on(2026, 1, 31)
    ledger.start(plan(rollover=Rollover.FULL))
    ledger.come_back(at(2026, 7, 4))
    assert ledger.open().amount == units(20)
    running = ledger.running()
    assert (running.cycle, running.cycle_start, running.cycle_end) == (
        6,
        at(2026, 6, 30),
        at(2026, 7, 31),
    )
    ledger.paid()
    assert ledger.balance() == units(50)


def test_a_payment_that_is_declined_for_good_leads_to_the_free_plan() -> None:
    ledger = on(2026, 1, 31)
    ledger.start(plan(overage_limit=10))
    ledger.settled(settle(pay(26)))
    ledger.come_back(at(2026, 2, 28))
    ledger.now = at(2026, 3, 14)
    ended = ledger.give_up()
    assert (ended.state, ended.reason) == (PaymentState.DECLINED, "no money")
    over = ledger.rows.subscriptions[M, SUBSCRIPTION]
    assert (over.status, over.cancelled_at) == (SubscriptionStatus.CANCELLED, at(2026, 3, 14))
    assert (ledger.running().plan_id, ledger.running().charged) == ("pln_free", False)
    # What is owed stays owed, and is paid with what comes.
    assert ledger.balance() == units(1)
    assert ledger.rows.accounts[M, ANN].credit_limit == 0
    assert ledger.hand_out(ended, None) == ended


def test_the_last_cycles_overage_is_charged_when_the_subscription_ends() -> None:
    ledger = on(2026, 1, 31)
    ledger.start(plan(overage_limit=10))
    ledger.settled(settle(pay(30)))
    ledger.change(cancel=True)
    ledger.come_back(at(2026, 2, 28))
    asked = ledger.open()
    assert (asked.kind, asked.amount) == (PaymentKind.OVERAGE, units(5))
    ledger.paid()
    # The free plan's 2 had paid for some of it: what was charged comes as credit.
    assert ledger.balance() == units(2)


def test_a_paid_upgrade_comes_at_once_and_its_payment_pays_for_overage() -> None:
    ledger = on(2026, 1, 31)
    ledger.start(plan(overage_limit=10))
    ledger.settled(settle(pay(30)))
    ledger.now = at(2026, 2, 10)
    begun = ledger.start(plan("max", price=50, credit=60), owed=5)
    assert (begun.plan_id, begun.cycle_end) == ("pln_max", at(2026, 3, 10))
    assert ledger.balance() == units(60)


def test_a_renewal_that_is_paid_after_an_upgrade_is_credit() -> None:
    ledger = on(2026, 1, 31)
    ledger.start(plan())
    ledger.come_back(at(2026, 2, 28))
    late = ledger.open()
    ledger.start(plan("max", price=50, credit=60))
    assert ledger.open() == late
    ledger.paid()
    assert ledger.balance() == units(80)
    ledger.hand_out(ledger.rows.payments[M, late.payment_id], None)
    assert ledger.balance() == units(80)


def test_what_was_paid_for_a_plan_that_is_gone_is_credit() -> None:
    ledger = on(2026, 1, 31)
    ledger.start(plan())
    ledger.come_back(at(2026, 2, 28))
    ledger.rows.plans[M, "pln_pro"] = plan(deleted=True)
    ledger.come_back(at(2026, 3, 31))
    assert ledger.running().plan_id == "pln_free"
    ledger.paid()
    assert ledger.balance() == units(2 + 20)


def test_a_downgrade_keeps_the_card_and_asks_for_its_own_price() -> None:
    ledger = on(2026, 1, 31)
    ledger.start(plan())
    ledger.subscribe(plan("small", price=5, credit=5))
    ledger.come_back(at(2026, 2, 28))
    assert (ledger.open().amount, ledger.open().plan_id) == (units(5), "pln_small")
    ledger.paid()
    assert (ledger.running().payment_method_id, ledger.balance()) == ("pm_1", units(5))


def test_an_upgrade_that_the_merchant_bills_is_charged_no_more() -> None:
    ledger = on(2026, 1, 31)
    ledger.start(plan())
    ledger.subscribe(plan("max", price=50, credit=60))
    ledger.come_back(at(2026, 3, 31))
    assert not ledger.running().charged
    assert all(p.ended_at for p in ledger.rows.payments.values())


@pytest.mark.parametrize("years", [1, 9])
def test_rolled_over_credit_stays_one_grant(years: int) -> None:
    ledger = on(2024, 2, 29)
    ledger.subscribe(plan(rollover=Rollover.FULL))
    ledger.held(hold(part(5), ttl=years * 400 * 86_400))
    ledger.come_back(at(2024 + years, 2, 27))
    (kept,) = ledger.rows.grants.values()
    assert kept.amount == units(25) * 12 * years
    ledger.settled(settle(pay(5), with_hold=True))
    ledger.settled(settle(pay(25 * 12 * years - 5), request_id="r2"))
    ledger.come_back(at(2024 + years, 2, 28))
    assert ledger.balance() == units(25)
    ledger.come_back(at(2024 + years, 3, 29))
    assert ledger.balance() == units(50)
    assert len(ledger.rows.grants) == 2


def test_credit_for_other_meters_is_kept_apart() -> None:
    ledger = on(2026, 1, 31)
    ledger.subscribe(plan(rollover=Rollover.FULL))
    ledger.rows.plans[M, "pln_pro"] = plan(rollover=Rollover.FULL, meter_ids=("prd_1",))
    ledger.come_back(at(2026, 3, 31))
    assert sorted(g.amount for g in ledger.rows.grants.values()) == [units(25), units(50)]


def test_leaving_a_plan_with_an_overage_limit_brings_back_the_customers_own() -> None:
    ledger = on(2026, 1, 31)
    ledger.rows.plans[M, FREE.plan_id] = FREE
    ledger.rows.accounts[M, ANN].credit_limit = units(7)
    ledger.subscribe(plan(overage_limit=10))
    ledger.subscribe(plan("max", price=50, overage_limit=30))
    account = ledger.rows.accounts[M, ANN]
    assert account.credit_limit == units(30)
    ledger.rows.plans[M, "pln_max"] = plan("max", price=50)
    ledger.come_back(at(2026, 2, 28))
    assert (account.credit_limit, account.own_limit) == (units(7), None)
    ledger.rows.plans[M, "pln_max"] = plan("max", price=50, overage_limit=30)
    ledger.come_back(at(2026, 3, 31))
    assert account.credit_limit == units(30)
    ledger.change(cancel=True)
    ledger.come_back(at(2026, 4, 30))
    assert (account.credit_limit, account.own_limit) == (units(7), None)


def test_the_low_mark_is_the_subscriptions_while_it_buys_something() -> None:
    ledger = on(2026, 1, 31)
    ledger.subscribe(replace(plan(), default_bundle_id="cb_1"))
    assert ledger.rows.low_marks[M, ANN] == 1
    ledger.change(sets_threshold=True, auto_top_up_threshold=units(3))
    assert ledger.rows.low_marks[M, ANN] == units(3)
    ledger.change(sets_auto_top_up=True)
    assert ledger.rows.low_marks[M, ANN] is None
    ledger.change(sets_auto_top_up=True, auto_top_up_bundle_id="cb_1")
    assert ledger.rows.low_marks[M, ANN] == units(3)


def test_a_subscription_without_a_price_can_have_a_card_for_its_overage() -> None:
    ledger = on(2026, 1, 31)
    free = plan(price=0, credit=5, overage_limit=10)
    ledger.rows.plans[M, free.plan_id] = free
    ledger.batch(Subscribe(M, ANN, SUBSCRIPTION, free, "test", "pm_1"))
    assert ledger.running().charged
    ledger.granted(grant(1))
    ledger.batch(RenewCycles(M, ANN))
    assert ledger.balance() == units(6)

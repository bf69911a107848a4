from __future__ import annotations

import pytest

from lava_grpc.core.account import GrantSource
from lava_grpc.core.commands import ExpireGrants
from lava_grpc.core.cycles import Interval
from lava_grpc.core.errors import Reason
from lava_grpc.core.plans import PendingKind, Rollover, SubscriptionStatus
from lava_grpc.core.usage import Usage
from tests.unit.core.builders import ANN, M, account, grant, hold, meter, part, pay, settle, units
from tests.unit.core.subscription_builders import Subscribed, at, plan


def on(year: int, month: int, day: int) -> Subscribed:
    ledger = Subscribed()
    ledger.now = at(year, month, day)
    return ledger


def test_a_subscription_begins_with_a_cycle_and_its_credit() -> None:
    ledger = on(2026, 1, 31)
    made = ledger.subscribe(plan())
    assert (made.cycle_start, made.cycle_end) == (at(2026, 1, 31), at(2026, 2, 28))
    row = ledger.rows.accounts[M, ANN]
    assert (row.cycle_start, row.cycle_end) == (made.cycle_start, made.cycle_end)
    assert ledger.balance() == units(25)
    (credit,) = ledger.rows.grants.values()
    assert (credit.source, credit.expires_at) == (GrantSource.PLAN_CYCLE, made.cycle_end)
    assert credit.grant_id.startswith("grt_test_")


def test_without_rollover_what_is_left_of_a_cycle_is_forfeited() -> None:
    ledger = on(2026, 1, 31)
    ledger.subscribe(plan())
    ledger.settled(settle(pay(15)))
    ledger.come_back(at(2026, 2, 28))
    assert ledger.balance() == units(25)


def test_with_rollover_it_is_kept() -> None:
    ledger = on(2026, 1, 31)
    ledger.subscribe(plan(rollover=Rollover.FULL))
    ledger.settled(settle(pay(15)))
    ledger.come_back(at(2026, 2, 28))
    assert ledger.balance() == units(35)


def test_the_engine_renews_a_cycle_before_it_decides_a_hold() -> None:
    ledger = on(2026, 1, 31)
    ledger.subscribe(plan())
    ledger.settled(settle(pay(25)))
    asked = hold(part(25), request_id="r2")
    assert ledger.refused(asked).reason is Reason.INSUFFICIENT_CREDITS
    ledger.now = at(2026, 2, 28)
    assert ledger.held(asked).available == 0


def test_a_renewal_happens_once_however_often_it_is_asked_for() -> None:
    ledger = on(2026, 1, 31)
    ledger.subscribe(plan(rollover=Rollover.FULL))
    for _ in range(3):
        ledger.come_back(at(2026, 2, 28))
    assert ledger.balance() == units(50)


def test_missed_cycles_are_applied_in_order_and_keep_the_anchors_day() -> None:
    ledger = on(2024, 1, 31)
    ledger.subscribe(plan(rollover=Rollover.FULL))
    ledger.come_back(at(2024, 3, 31))
    active = ledger.active()
    assert active is not None
    assert (active.cycle, active.cycle_start, active.cycle_end) == (
        3,
        at(2024, 3, 31),
        at(2024, 4, 30),
    )
    assert ledger.balance() == units(75)


def test_years_of_missed_days_are_made_up_for() -> None:
    ledger = on(2020, 2, 29)
    ledger.subscribe(plan(interval=Interval.DAY, credit=1))
    ledger.come_back(at(2024, 2, 29))
    active = ledger.active()
    assert active is not None
    assert active.cycle == 4 * 365 + 1 + 1
    assert ledger.balance() == units(1)


def test_missed_cycles_pay_for_overage_as_they_would_have_in_time() -> None:
    in_time, late = on(2026, 1, 1), on(2026, 1, 1)
    for ledger in (in_time, late):
        ledger.subscribe(plan(credit=10))
        ledger.settled(settle(pay(35)))
    for month in (2, 3, 4):
        in_time.come_back(at(2026, month, 1))
    late.come_back(at(2026, 4, 1))
    assert in_time.balance() == late.balance() == units(5)


def test_cycle_credit_is_spent_on_linked_meters_alone() -> None:
    ledger = on(2026, 1, 1)
    ledger.subscribe(plan(meter_ids=("prd_1",)))
    assert ledger.refused(hold(part(1, meter_id="prd_2"))).reason is Reason.INSUFFICIENT_CREDITS
    ledger.held(hold(part(25, meter_id="prd_1")))


def test_a_tier_counter_starts_again_with_the_subscriptions_cycle() -> None:
    ledger = on(2026, 1, 20)
    priced = meter((0, 1), (10, 0.5))
    ledger.granted(grant(100))
    ledger.subscribe(plan(credit=0))

    def charge(request_id: str) -> int:
        paid = pay(None, meter_id="prd_1")
        paid = type(paid)(ANN, paid.role, priced, "prd_1")
        done = ledger.settled(settle(paid, request_id=request_id, usage=Usage(input_tokens=10)))
        return done.record.charge.amount

    first, second = charge("a"), charge("b")
    assert second * 2 == first
    ledger.now = at(2026, 2, 10)
    assert charge("c") == second
    ledger.now = at(2026, 2, 20)
    assert charge("d") == first


def test_an_upgrade_begins_a_cycle_at_once_and_takes_nothing_away() -> None:
    ledger = on(2026, 1, 31)
    ledger.subscribe(plan())
    ledger.settled(settle(pay(15)))
    ledger.now = at(2026, 2, 10)
    made = ledger.subscribe(plan("max", price=50, credit=60))
    assert (made.plan_id, made.cycle, made.pending) == ("pln_max", 2, None)
    assert (made.cycle_start, made.cycle_end) == (at(2026, 2, 10), at(2026, 3, 10))
    assert ledger.balance() == units(70)
    ledger.come_back(at(2026, 2, 28))
    assert ledger.balance() == units(60)


def test_a_downgrade_waits_for_the_cycles_end_and_keeps_the_anchor() -> None:
    ledger = on(2026, 1, 31)
    ledger.subscribe(plan())
    made = ledger.subscribe(plan("small", price=5, credit=5))
    assert (made.plan_id, made.pending, made.pending_plan_id) == (
        "pln_pro",
        PendingKind.DOWNGRADE,
        "pln_small",
    )
    assert ledger.balance() == units(25)
    ledger.come_back(at(2026, 2, 28))
    active = ledger.active()
    assert active is not None
    assert (active.plan_id, active.pending, active.cycle_end) == (
        "pln_small",
        None,
        at(2026, 3, 31),
    )
    assert ledger.balance() == units(5)


def test_asking_for_the_present_plan_drops_what_was_to_come() -> None:
    ledger = on(2026, 1, 31)
    ledger.subscribe(plan())
    ledger.change(cancel=True)
    assert ledger.subscribe(plan()).pending is None
    ledger.come_back(at(2026, 2, 28))
    assert ledger.balance() == units(25)


def test_a_cancelled_customer_is_on_the_default_plan_when_the_cycle_ends() -> None:
    ledger = on(2026, 1, 31)
    free = plan("free", price=0, credit=2, default=True)
    ledger.rows.plans[M, free.plan_id] = free
    ledger.subscribe(plan())
    assert ledger.change(cancel=True).status is SubscriptionStatus.ACTIVE
    assert ledger.balance() == units(25)
    ledger.come_back(at(2026, 3, 10))
    active = ledger.active()
    assert active is not None
    assert (active.plan_id, active.cycle_start) == ("pln_free", at(2026, 2, 28))
    assert active.subscription_id.startswith("sub_test_")
    over = ledger.rows.subscriptions[M, "sub_test_1"]
    assert (over.status, over.cancelled_at) == (SubscriptionStatus.CANCELLED, at(2026, 2, 28))
    assert ledger.balance() == units(2)


def test_without_a_default_plan_a_cancelled_customer_has_none() -> None:
    ledger = on(2026, 1, 31)
    ledger.subscribe(plan())
    ledger.change(cancel=True)
    ledger.come_back(at(2027, 1, 1))
    assert ledger.active() is None
    assert ledger.rows.accounts[M, ANN].cycle_end is None
    assert ledger.balance() == 0


def test_a_deleted_plans_subscribers_stay_until_the_cycle_ends() -> None:
    ledger = on(2026, 1, 31)
    ledger.subscribe(plan())
    ledger.rows.plans[M, "pln_pro"] = plan(deleted=True)
    ledger.come_back(at(2026, 2, 27))
    assert ledger.balance() == units(25)
    ledger.come_back(at(2026, 2, 28))
    assert ledger.active() is None


def test_a_plans_edit_counts_from_the_next_cycle() -> None:
    ledger = on(2026, 1, 31)
    ledger.subscribe(plan())
    ledger.rows.plans[M, "pln_pro"] = plan(credit=40)
    assert ledger.balance() == units(25)
    ledger.come_back(at(2026, 2, 28))
    assert ledger.balance() == units(40)


def test_a_plans_overage_limit_is_the_accounts_until_the_plan_is_left() -> None:
    ledger = on(2026, 1, 31)
    ledger.subscribe(plan(overage_limit=10))
    ledger.held(hold(part(35)))
    assert ledger.refused(hold(part(1), request_id="r2")).reason is Reason.INSUFFICIENT_CREDITS
    ledger.change(cancel=True)
    ledger.come_back(at(2026, 3, 1))
    assert ledger.rows.accounts[M, ANN].credit_limit == 0


def test_what_a_hold_keeps_of_a_cycle_expires_with_the_hold() -> None:
    ledger = on(2026, 1, 31)
    ledger.subscribe(plan())
    ledger.now = at(2026, 2, 28) - 1
    ledger.held(hold(part(20)))
    ledger.come_back(at(2026, 2, 28))
    assert (ledger.balance(), ledger.held_on()) == (units(45), units(20))
    ledger.settled(settle(pay(20), with_hold=True))
    assert ledger.balance() == units(25)


def test_a_deleted_customers_subscription_ends_with_its_cycle() -> None:
    ledger = Subscribed(account())
    ledger.now = at(2026, 1, 31)
    ledger.subscribe(plan())
    ledger.rows.accounts[M, ANN].closed = True
    ledger.now = at(2026, 5, 1)
    ledger.batch(ExpireGrants(M, ANN))
    assert ledger.active() is None
    assert ledger.balance() == 0


def test_a_subscription_that_is_not_the_customers_cannot_be_changed() -> None:
    ledger = on(2026, 1, 31)
    with pytest.raises(AssertionError, match="no subscription"):
        ledger.change(cancel=True)

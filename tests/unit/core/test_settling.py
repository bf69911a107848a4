"""Charging what was used: within the hold, past it, after it, without one."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from lava_grpc.core.account import AccountKind
from lava_grpc.core.commands import HoldPart, Settled, SettlePart
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.hold import CallFacts, HoldKind, HoldState, Role
from lava_grpc.core.money import AMOUNT_MAX
from lava_grpc.core.request_record import Flag, RequestStatus
from lava_grpc.core.state import EntryKind
from lava_grpc.core.time import SECOND, cycle_of
from lava_grpc.core.usage import Usage
from tests.unit.core.builders import (
    ANN,
    BOB,
    NOW,
    TTL,
    WALLET,
    Ledger,
    M,
    account,
    expire,
    grant,
    hold,
    meter,
    part,
    pay,
    release,
    settle,
    units,
)


def funded(amount: float = 10, *, credit_limit: int | None = 0) -> Ledger:
    ledger = Ledger(
        account(credit_limit=credit_limit),
        account(BOB),
        account(WALLET, kind=AccountKind.MERCHANT),
    )
    ledger.batch(grant(amount, grant_id="ann"), grant(amount, BOB), grant(amount, WALLET))
    return ledger


def test_a_settle_below_the_hold_gives_the_rest_back() -> None:
    ledger = funded()
    ledger.held(hold(part(4)))
    settled = ledger.settled(settle(pay(1)))
    assert settled.hold is not None
    assert settled.hold.state is HoldState.SETTLED
    assert (settled.record.charge.amount, settled.record.held) == (units(1), units(4))
    assert (settled.record.flags, settled.record.status) == ((), RequestStatus.COMPLETED)
    assert (ledger.balance(), ledger.held_on()) == (units(9), 0)


def test_a_settle_of_nothing_charges_nothing_and_ends_the_hold() -> None:
    ledger = funded()
    ledger.held(hold(part(4)))
    entries = len(ledger.rows.entries)
    ledger.settled(settle(pay(0)))
    assert (ledger.balance(), ledger.held_on()) == (units(10), 0)
    assert len(ledger.rows.entries) == entries


def test_first_legs_are_spent_first() -> None:
    ledger = Ledger()
    ledger.batch(grant(2, grant_id="a", priority=1), grant(5, grant_id="b", priority=2))
    ledger.held(hold(part(6)))
    ledger.settled(settle(pay(3)))
    assert (ledger.remaining("a"), ledger.remaining("b")) == (0, units(4))


def test_usage_above_the_hold_is_charged_in_full_and_marked() -> None:
    ledger = funded()
    ledger.held(hold(part(4)))
    assert ledger.settled(settle(pay(7))).record.flags == (Flag.OVERRUN,)
    assert ledger.balance() == units(3)


def test_an_overrun_past_all_credit_is_overdrawn_and_blocks_the_next_hold() -> None:
    ledger = funded()
    ledger.held(hold(part(4)))
    record = ledger.settled(settle(pay(12))).record
    assert record.flags == (Flag.OVERRUN, Flag.OVERDRAWN)
    assert ledger.balance() == -units(2)
    assert ledger.refused(hold(part(1), request_id="r2")).facts["available"] == "0.0000000000"


def test_an_overrun_does_not_take_what_other_holds_have() -> None:
    ledger = funded()
    ledger.held(hold(part(4)))
    ledger.held(hold(part(6), request_id="r2"))
    assert Flag.OVERDRAWN in ledger.settled(settle(pay(5))).record.flags
    assert ledger.held_on() == units(6)
    assert ledger.settled(settle(pay(6), request_id="r2")).record.flags == ()
    assert ledger.balance() == -units(1)


def test_an_overrun_within_the_credit_limit_is_not_overdrawn() -> None:
    ledger = funded(credit_limit=units(3))
    ledger.held(hold(part(10)))
    assert ledger.settled(settle(pay(13))).record.flags == (Flag.OVERRUN,)


def test_what_one_part_leaves_pays_for_anothers_overrun() -> None:
    ledger = funded()
    ledger.held(hold(part(2), part(8, ANN, Role.COST)))
    record = ledger.settled(settle(pay(6), pay(None, ANN, Role.COST), cost=4)).record
    assert record.flags == (Flag.OVERRUN,)
    assert ledger.balance() == 0


@pytest.mark.parametrize("swept", [True, False])
def test_a_late_settle_is_charged_in_full(swept: bool) -> None:  # noqa: FBT001
    ledger = funded()
    ledger.held(hold(part(4)))
    ledger.wait(TTL)
    if swept:
        ledger.hold_is(expire())
    settled = ledger.settled(settle(pay(5)))
    assert settled.record.flags == (Flag.LATE,)
    assert settled.hold is not None
    assert settled.hold.state is HoldState.EXPIRED
    assert (ledger.balance(), ledger.held_on()) == (units(5), 0)


def test_a_late_settle_can_overdraw() -> None:
    ledger = funded()
    ledger.held(hold(part(4)))
    ledger.wait(TTL)
    ledger.held(hold(part(6), request_id="r2"))
    assert ledger.settled(settle(pay(5))).record.flags == (Flag.LATE, Flag.OVERDRAWN)


def test_usage_without_a_hold_is_always_recorded() -> None:
    ledger = funded()
    assert ledger.settled(settle(pay(4))).record.flags == ()
    assert ledger.settled(settle(pay(7), request_id="r2")).record.flags == (Flag.OVERDRAWN,)
    assert ledger.balance() == -units(1)


def test_a_debt_beside_restricted_credit_is_overdrawn_when_that_is_spent() -> None:
    ledger = Ledger()
    ledger.settled(settle(pay(5), request_id="r0"))
    ledger.batch(grant(8, meter_ids=("prd_chat",)))
    within = settle(pay(3, meter_id="prd_chat"), request_id="r1")
    past = settle(pay(1, meter_id="prd_chat"), request_id="r2")
    assert ledger.settled(within).record.flags == ()
    assert ledger.settled(past).record.flags == (Flag.OVERDRAWN,)


def test_a_deleted_customers_last_usage_is_still_charged() -> None:
    ledger = Ledger(account(closed=True))
    assert ledger.settled(settle(pay(1))).record.charge.amount == units(1)


def test_a_repeated_report_returns_the_first_record() -> None:
    ledger = funded()
    ledger.held(hold(part(4)))
    first = ledger.settled(settle(pay(3)))
    again = ledger.settled(settle(pay(3)))
    assert again.replayed
    assert again.record == first.record
    assert ledger.balance() == units(7)


def test_a_report_with_other_content_is_refused() -> None:
    ledger = funded()
    ledger.settled(settle(pay(3)))
    refusal = ledger.refused(settle(pay(5), fingerprint="other"))
    assert refusal.reason is Reason.REQUEST_ID_REUSED


def test_two_reports_of_one_request_in_one_batch_charge_once() -> None:
    ledger = funded()
    first, second = ledger.batch(settle(pay(3)), settle(pay(3)))
    assert isinstance(first, Settled)
    assert isinstance(second, Settled)
    assert (first.replayed, second.replayed) == (False, True)
    assert ledger.balance() == units(7)


def test_a_hold_and_its_report_in_one_batch_are_both_kept() -> None:
    ledger = funded()
    ledger.batch(hold(part(3)), settle(pay(2)))
    assert ledger.rows.holds[M, "res_r1"].state is HoldState.SETTLED
    assert ledger.balance() == units(8)


def test_a_released_hold_cannot_be_settled() -> None:
    ledger = funded()
    ledger.held(hold(part(4)))
    ledger.hold_is(release())
    assert ledger.refused(settle(pay(1))).reason is Reason.RESERVATION_ENDED


def test_a_report_for_another_customer_than_the_holds_is_refused() -> None:
    ledger = funded()
    ledger.held(hold(part(4)))
    refusal = ledger.refused(settle(pay(1, BOB)))
    assert (refusal.reason, refusal.field) == (Reason.REQUEST_ID_REUSED, "customer_id")


def test_a_hold_named_with_another_request_is_refused() -> None:
    ledger = funded()
    ledger.held(hold(part(4)))
    report = replace(settle(pay(1), with_hold=True), request_id="r2")
    assert ledger.refused(report).field == "request_id"


def test_charge_and_cost_go_to_their_own_books() -> None:
    ledger = funded()
    ledger.held(hold(part(4), part(3, WALLET, Role.COST)))
    record = ledger.settled(settle(pay(4), pay(None, WALLET, Role.COST), cost=2)).record
    assert (record.charge.amount, record.cost) == (units(4), units(2))
    moved = {(e.debit, e.credit, e.kind, e.amount) for e in ledger.rows.entries[3:]}
    assert moved == {
        (ANN, "revenue", EntryKind.CHARGE, units(4)),
        (WALLET, "providers", EntryKind.COST, units(2)),
    }


def test_a_spend_keys_budget_is_used_beside_the_wallet() -> None:
    ledger = Ledger(
        account("key_1", kind=AccountKind.SPEND_KEY, credit_limit=units(5)), account(WALLET)
    )
    ledger.batch(grant(9, WALLET))
    cost = part(4, WALLET, Role.COST)
    ledger.held(hold(cost, part(4, "key_1", Role.BUDGET)))
    ledger.settled(settle(pay(None, WALLET, Role.COST), pay(3, "key_1", Role.BUDGET), cost=3))
    assert (ledger.balance(WALLET), ledger.balance("key_1")) == (units(6), -units(3))
    refusal = ledger.refused(hold(cost, part(4, "key_1", Role.BUDGET), request_id="r2"))
    assert refusal.facts["account"] == "spend_key"


def test_a_meter_prices_the_usage_and_advances_the_customers_counter() -> None:
    ledger = funded()
    tiered = meter((0, 2), (1_000_000, 1))
    paid = SettlePart(ANN, Role.CHARGE, tiered, "prd_1")
    usage = Usage(input_tokens=800_000)
    charges = [
        ledger.settled(settle(paid, request_id=name, usage=usage)).record.charge
        for name in ("r1", "r2")
    ]
    assert [charge.amount for charge in charges] == [units(1.6), units(1.0)]
    assert [line.units for line in charges[1].lines] == [200_000, 600_000]
    (counter,) = ledger.rows.counters.values()
    assert counter.units == 1_600_000


def test_a_new_month_starts_the_counter_again() -> None:
    ledger = funded()
    paid = SettlePart(ANN, Role.CHARGE, meter((0, 2), (1_000_000, 1)), "prd_1")
    usage = Usage(input_tokens=1_000_000)
    ledger.settled(settle(paid, usage=usage))
    ledger.now = cycle_of(NOW)[1]
    again = ledger.settled(settle(paid, request_id="r2", usage=usage))
    assert again.record.charge.amount == units(2)


def test_labels_of_the_hold_and_the_report_are_kept_together() -> None:
    ledger = funded()
    labelled = CallFacts(metadata=(("user", "1"), ("step", "plan")))
    ledger.held(hold(part(4), facts=labelled))
    report = settle(pay(1), facts=CallFacts(model="m", metadata=(("step", "run"),)))
    facts = ledger.settled(report).record.facts
    assert facts == CallFacts(model="m", metadata=(("user", "1"), ("step", "run")))


def test_a_swept_hold_gives_all_back_once() -> None:
    ledger = funded()
    ledger.held(hold(part(4)))
    assert ledger.hold_is(expire()).hold.state is HoldState.ACTIVE
    ledger.wait(TTL)
    for _ in range(2):
        assert ledger.hold_is(expire()).hold.state is HoldState.EXPIRED
    assert (ledger.balance(), ledger.held_on()) == (units(10), 0)
    assert not ledger.rows.records


def abandoned(*, charge: bool) -> Ledger:
    ledger = funded()
    ledger.held(hold(part(4), part(3, WALLET, Role.COST), kind=HoldKind.FORWARD))
    ledger.wait(TTL)
    ledger.hold_is(expire("r1", ANN, WALLET, charge=charge))
    return ledger


def test_an_abandoned_call_is_listed_and_costs_nothing() -> None:
    ledger = abandoned(charge=False)
    record = ledger.rows.records[M, "r1"]
    assert (record.flags, record.status) == ((Flag.ABANDONED,), RequestStatus.ERROR)
    assert (record.held, record.charge.amount) == (units(4), 0)
    assert ledger.balance() == units(10)


def test_an_abandoned_call_may_still_report_its_usage_once() -> None:
    ledger = abandoned(charge=False)
    report = settle(pay(3), pay(None, WALLET, Role.COST), cost=1)
    record = ledger.settled(report).record
    assert (record.flags, record.created_at) == ((Flag.LATE,), NOW)
    assert ledger.settled(report).replayed
    assert ledger.balance() == units(7)


def test_an_abandoned_call_that_was_charged_is_not_charged_again() -> None:
    ledger = abandoned(charge=True)
    record = ledger.rows.records[M, "r1"]
    assert (record.charge.amount, record.cost) == (units(4), units(3))
    refusal = ledger.refused(settle(pay(3), pay(None, WALLET, Role.COST), cost=1))
    assert (refusal.reason, refusal.facts["state"]) == (Reason.RESERVATION_ENDED, "expired")
    assert (ledger.balance(), ledger.balance(WALLET)) == (units(6), units(7))


def test_an_abandoned_call_that_only_used_a_budget_is_not_charged_again() -> None:
    ledger = funded()
    ledger.held(hold(part(4, ANN, Role.BUDGET), kind=HoldKind.FORWARD))
    ledger.wait(TTL)
    ledger.hold_is(expire(charge=True))
    assert ledger.refused(settle(pay(3, ANN, Role.BUDGET))).reason is Reason.RESERVATION_ENDED
    assert ledger.balance() == units(6)


def test_an_abandoned_call_charged_to_the_credit_limit_is_paid_by_later_credit() -> None:
    ledger = Ledger(account(credit_limit=units(10)))
    ledger.held(hold(part(4), kind=HoldKind.FORWARD))
    ledger.batch(grant(9, grant_id="later"))
    ledger.wait(TTL)
    ledger.hold_is(expire(charge=True))
    assert ledger.remaining("later") == units(5)


def test_an_abandoned_call_that_held_nothing_may_still_report() -> None:
    ledger = funded()
    ledger.held(hold(part(0), kind=HoldKind.FORWARD))
    ledger.wait(TTL)
    ledger.hold_is(expire(charge=True))
    assert ledger.settled(settle(pay(1))).record.charge.amount == units(1)


def test_an_abandoned_call_is_reported_in_the_batch_that_sweeps_it() -> None:
    ledger = funded()
    ledger.held(hold(part(4), kind=HoldKind.FORWARD))
    ledger.wait(TTL)
    ledger.batch(expire(), settle(pay(2)))
    assert ledger.rows.records[M, "r1"].flags == (Flag.LATE,)


def test_a_debt_that_64_bits_cannot_hold_is_refused_before_anything_changes() -> None:
    ledger = funded()
    ledger.settled(settle(pay(900_000_000)))
    ledger.held(hold(part(0), request_id="r2"))
    refusal = ledger.refused(settle(pay(30_000_000), request_id="r2"))
    assert refusal.field == "charge"


def test_parts_on_one_account_cannot_wrap_together() -> None:
    ledger = funded()
    half = AMOUNT_MAX // 2 + 1
    parts = (
        SettlePart(ANN, Role.CHARGE, amount=half),
        SettlePart(ANN, Role.BUDGET, amount=half),
    )
    assert ledger.refused(settle(*parts)).field == "charge"


def test_a_debt_beside_a_restricted_grant_stays_within_64_bits_when_that_expires() -> None:
    ledger = Ledger()
    ledger.batch(
        grant(500_000_000, meter_ids=("prd_chat",), expires_at=NOW + SECOND),
        settle(pay(600_000_000), request_id="r1"),
    )
    # The balance would only come to -600 million, but the grant is about to go.
    ledger.refused(settle(pay(500_000_000), request_id="r2"))
    ledger.wait(1)
    ledger.batch(grant(1, meter_ids=("prd_chat",)))
    assert ledger.balance() == units(-599_999_999)


@pytest.mark.parametrize(("amount", "cost"), [(-1, 0), (0, -1)])
def test_a_negative_report_is_refused(amount: float, cost: float) -> None:
    assert funded().refused(settle(pay(amount), cost=cost)).reason is Reason.INVALID_FIELD


def test_parts_with_the_same_role_are_refused() -> None:
    assert funded().refused(settle(pay(1), pay(1, BOB))).field == "parts"


def test_a_counter_past_64_bits_is_refused() -> None:
    ledger = funded()
    per_second = SettlePart(ANN, Role.CHARGE, meter((0, 0)), "prd_1")
    ledger.batch(settle(per_second, usage=Usage(input_tokens=AMOUNT_MAX)))
    report = settle(per_second, request_id="r2", usage=Usage(input_tokens=1))
    assert ledger.refused(report).field == "usage"


def test_an_unknown_payer_is_not_found() -> None:
    outcome = funded().refused(settle(pay(1, "con_nobody")))
    assert isinstance(outcome, Refusal)
    assert outcome.reason is Reason.NOT_FOUND


def test_a_settle_within_a_priced_hold_is_never_an_overrun() -> None:
    ledger = funded()
    rising = meter((0, 1), (500_000, 3))
    usage = Usage(input_tokens=1_000_000)
    ledger.held(hold(HoldPart(ANN, Role.CHARGE, meter=rising, meter_id="prd_1", usage=usage)))
    paid = SettlePart(ANN, Role.CHARGE, rising, "prd_1")
    # Another call moves the counter into the dearer tier meanwhile.
    ledger.settled(settle(paid, request_id="other", usage=usage))
    assert ledger.settled(settle(paid, usage=usage)).record.flags == ()

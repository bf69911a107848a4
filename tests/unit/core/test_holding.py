"""Placing, releasing and extending holds."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from lava_grpc.core.account import AccountKind
from lava_grpc.core.commands import Held, HoldPart
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.hold import HoldKind, HoldState, Role
from lava_grpc.core.money import AMOUNT_MAX
from lava_grpc.core.pricing import RateType
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
    extend,
    grant,
    hold,
    meter,
    part,
    pay,
    release,
    settle,
    units,
)


def funded(amount: float = 10) -> Ledger:
    ledger = Ledger(account(), account(BOB), account(WALLET, kind=AccountKind.MERCHANT))
    ledger.batch(grant(amount), grant(amount, BOB), grant(amount, WALLET))
    return ledger


def test_a_hold_takes_credit_without_spending_it() -> None:
    ledger = funded()
    held = ledger.held(hold(part(4)))
    assert (held.hold.state, held.hold.amount) == (HoldState.ACTIVE, units(4))
    assert held.hold.expires_at == NOW + TTL * SECOND
    assert (held.available, held.partial, held.replayed) == (units(6), False, False)
    assert (ledger.balance(), ledger.held_on()) == (units(10), units(4))


def test_the_last_credit_can_be_held_and_nothing_past_it() -> None:
    ledger = funded()
    ledger.held(hold(part(10)))
    refusal = ledger.refused(hold(part(0.0001), request_id="r2"))
    assert refusal.reason is Reason.INSUFFICIENT_CREDITS
    assert refusal.facts == {
        "account": "customer",
        "account_id": ANN,
        "required": "0.0001000000",
        "available": "0.0000000000",
    }


def test_a_hold_may_reach_into_the_credit_limit_but_not_past_it() -> None:
    ledger = Ledger(account(credit_limit=units(5)))
    ledger.batch(grant(3))
    assert ledger.held(hold(part(7))).available == units(1)
    ledger.refused(hold(part(2), request_id="r2"))
    ledger.settled(settle(pay(7)))
    assert ledger.balance() == -units(4)
    assert ledger.held(hold(part(1), request_id="r3")).available == 0


def test_all_parts_are_held_or_none() -> None:
    ledger = funded()
    refusal = ledger.refused(hold(part(4), part(11, WALLET, Role.COST)))
    assert refusal.facts["account"] == "merchant"
    assert ledger.held_on() == 0


def test_parts_on_one_account_are_covered_together() -> None:
    ledger = funded()
    ledger.refused(hold(part(6), part(6, ANN, Role.COST)))
    assert ledger.held(hold(part(6), part(4, ANN, Role.COST))).available == 0


def test_a_later_part_finds_the_grants_that_an_earlier_one_left() -> None:
    ledger = Ledger()
    ledger.batch(
        grant(5, priority=1, meter_ids=("prd_chat",)), grant(5, grant_id="any", priority=2)
    )
    ledger.refused(hold(part(6, meter_id="prd_chat"), part(5, ANN, Role.COST)))
    ledger.held(hold(part(5, meter_id="prd_chat"), part(5, ANN, Role.COST)))
    assert ledger.remaining("any") == 0


def test_parts_with_the_same_role_are_refused() -> None:
    ledger = funded()
    assert ledger.refused(hold(part(1), part(1, BOB))).field == "parts"


def test_repeating_a_hold_returns_the_first_answer() -> None:
    ledger = funded()
    ledger.held(hold(part(4)))
    again = ledger.held(hold(part(4)))
    assert again.replayed
    assert again.available == units(6)
    assert ledger.held_on() == units(4)


def test_two_holds_for_one_request_in_one_batch_hold_once() -> None:
    ledger = funded()
    first, second, other = ledger.batch(
        hold(part(4)), hold(part(4)), hold(part(4), fingerprint="other")
    )
    assert isinstance(first, Held)
    assert isinstance(second, Held)
    assert (first.replayed, second.replayed) == (False, True)
    assert isinstance(other, Refusal)
    assert other.reason is Reason.REQUEST_ID_REUSED
    assert ledger.held_on() == units(4)


@pytest.mark.parametrize("how", ["release", "expire"])
def test_the_request_of_an_ended_hold_is_answered_with_that_hold(how: str) -> None:
    ledger = funded()
    ledger.held(hold(part(4)))
    ledger.wait(0 if how == "release" else TTL)
    ledger.batch(release() if how == "release" else expire())
    again = ledger.held(hold(part(4)))
    assert again.replayed
    assert again.hold.state in {HoldState.RELEASED, HoldState.EXPIRED}
    assert ledger.held_on() == 0


def test_a_request_that_was_reported_cannot_be_held_for() -> None:
    ledger = funded()
    ledger.settled(settle(pay(1)))
    assert ledger.refused(hold(part(1))).reason is Reason.REQUEST_ID_REUSED


def test_a_forwarded_calls_id_is_not_answered_twice() -> None:
    ledger = funded()
    ledger.held(hold(part(1), kind=HoldKind.FORWARD))
    for kind in HoldKind:
        again = replace(hold(part(1), kind=kind), hold_id="res_another")
        assert ledger.refused(again).reason is Reason.REQUEST_ID_REUSED


def test_a_forwarded_calls_hold_is_found_again_if_its_commits_answer_was_lost() -> None:
    ledger = funded()
    command = hold(part(1), kind=HoldKind.FORWARD)
    first = ledger.held(command)
    again = ledger.held(command)
    assert (again.replayed, again.hold) == (True, first.hold)
    assert ledger.held_on() == units(1)


def test_a_partial_hold_that_is_asked_for_again_says_again_what_it_buys() -> None:
    ledger = funded()
    command = hold(priced(Usage(input_tokens=9_000_000)), allow_partial=True)
    first, again = ledger.held(command), ledger.held(command)
    assert again.replayed
    assert again.partial
    assert again.affordable_units == first.affordable_units


def test_a_dry_run_writes_nothing_and_says_what_a_hold_would() -> None:
    ledger = funded()
    would = ledger.held(hold(part(4), part(3, ANN, Role.COST), dry_run=True))
    assert would.hold.held_by(Role.CHARGE) == units(4)
    assert would.available == units(3)
    assert not ledger.rows.holds
    assert ledger.held_on() == 0
    ledger.refused(hold(part(11), dry_run=True))


def test_a_partial_hold_takes_what_there_is() -> None:
    ledger = funded()
    held = ledger.held(hold(part(25), part(2, WALLET, Role.COST), allow_partial=True))
    assert (held.partial, held.hold.amount, held.available) == (True, units(10), 0)
    assert held.hold.held_by(Role.COST) == units(2)


def test_a_part_that_asks_for_nothing_does_not_spoil_a_partial_hold() -> None:
    ledger = funded()
    held = ledger.held(hold(part(25), part(0, WALLET, Role.COST), allow_partial=True))
    assert held.hold.amount == units(10)


def test_a_partial_hold_of_nothing_is_refused() -> None:
    ledger = funded()
    ledger.held(hold(part(10)))
    assert (
        ledger.refused(hold(part(1), request_id="r2", allow_partial=True)).reason
        is Reason.INSUFFICIENT_CREDITS
    )


def test_a_hold_of_nothing_passes_even_on_an_overdrawn_account() -> None:
    ledger = Ledger()
    ledger.settled(settle(pay(5), request_id="r0"))
    assert ledger.held(hold(part(0))).hold.legs == ()


def priced(usage: Usage, *tiers: tuple[int, float]) -> HoldPart:
    return HoldPart(
        ANN, Role.CHARGE, meter=meter(*(tiers or ((0, 2),))), meter_id="prd_1", usage=usage
    )


def test_expected_usage_is_priced_by_the_meter() -> None:
    ledger = funded()
    usage = Usage(input_tokens=500_000, output_tokens=1_000_000)
    assert ledger.held(hold(priced(usage))).hold.amount == units(3)


def test_a_partial_hold_of_usage_says_how_many_units_it_buys() -> None:
    ledger = funded()
    held = ledger.held(hold(priced(Usage(input_tokens=9_000_000)), allow_partial=True))
    assert held.affordable_units == 5_000_000
    assert held.affordable_output_tokens is None


def test_a_scaled_hold_shrinks_the_output_of_every_part() -> None:
    ledger = funded()
    usage = Usage(input_tokens=1_000_000, output_tokens=9_000_000)
    cost = HoldPart(WALLET, Role.COST, usage=usage, cost=units(28), output_cost=units(27))
    held = ledger.held(hold(priced(usage), cost, allow_partial=True, scale_output=True))
    # The customer could pay for 4 million tokens, the wallet for 3 million: 1 + 3 * 3 = 10.
    assert held.affordable_output_tokens == 3_000_000
    assert held.hold.held_by(Role.CHARGE) == units(8)
    assert held.hold.held_by(Role.COST) == units(10)


def test_a_scaled_hold_is_refused_where_the_input_alone_is_too_much() -> None:
    ledger = funded()
    usage = Usage(input_tokens=6_000_000, output_tokens=1_000_000)
    command = hold(priced(usage), allow_partial=True, scale_output=True)
    assert ledger.refused(command).facts["required"] == "14.0000000000"


@pytest.mark.parametrize(("least", "placed"), [(3_000_000, True), (3_000_001, False)])
def test_a_scaled_hold_is_refused_below_the_least_output(least: int, *, placed: bool) -> None:
    ledger = funded()
    usage = Usage(input_tokens=1_000_000, output_tokens=9_000_000)
    cost = HoldPart(WALLET, Role.COST, usage=usage, cost=units(28), output_cost=units(27))
    command = hold(priced(usage), cost, allow_partial=True, scale_output=True)
    command = replace(command, output_tokens_min=least)
    if placed:
        assert ledger.held(command).affordable_output_tokens == least
    else:
        assert ledger.refused(command).reason is Reason.INSUFFICIENT_CREDITS


def test_a_hold_over_a_cycles_end_is_priced_by_the_dearest_tier() -> None:
    ledger = funded()
    tiers = ((0, 2.0), (1, 1.0))
    usage = Usage(input_tokens=1_000_000)
    end = cycle_of(NOW)[1]
    ledger.now = end - TTL * SECOND
    ledger.held(hold(priced(usage, *tiers)))
    assert ledger.held_on() == units(2) + 1


def test_a_percentage_meter_holds_a_share_of_the_cost() -> None:
    ledger = funded()
    percent = meter((0, 1.5), rate_type=RateType.PERCENTAGE)
    asked = HoldPart(ANN, Role.CHARGE, meter=percent, cost=units(2))
    assert ledger.held(hold(asked)).hold.amount == units(3)


def test_a_short_account_with_holds_on_it_is_named_for_expiry() -> None:
    ledger = funded()
    ledger.held(hold(part(4)))
    ledger.refused(hold(part(7), request_id="r2"))
    assert ledger.short == {(M, ANN)}
    ledger.batch(hold(part(7), request_id="r3", allow_partial=True))
    assert ledger.short == {(M, ANN)}
    ledger.refused(hold(part(11, BOB), request_id="r4"))
    assert not ledger.short


@pytest.mark.parametrize("known", [True, False])
def test_a_closed_or_unknown_account_is_not_found(known: bool) -> None:  # noqa: FBT001
    ledger = Ledger(account(closed=True), account(BOB))
    refusal = ledger.refused(hold(part(1, ANN if known else "con_nobody")))
    assert (refusal.reason, refusal.field) == (Reason.NOT_FOUND, "customer_id")


def test_a_negative_amount_is_refused() -> None:
    assert funded().refused(hold(part(-1))).field == "amount"


def test_a_sum_of_holds_that_64_bits_cannot_hold_is_refused() -> None:
    ledger = Ledger(account(credit_limit=None))
    ledger.batch(grant(100))
    ledger.held(hold(HoldPart(ANN, Role.CHARGE, AMOUNT_MAX)))
    assert ledger.refused(hold(part(0.0001), request_id="r2")).field == "amount"


def test_unlimited_credit_ends_where_64_bits_do() -> None:
    ledger = Ledger(account(credit_limit=None))
    ledger.batch(settle(pay(900_000_000)))
    assert ledger.refused(hold(part(30_000_000), request_id="r2")).field == "amount"
    ledger.held(hold(part(20_000_000), request_id="r3"))
    ledger.settled(settle(pay(20_000_000), request_id="r3"))


def test_a_release_gives_all_back_and_repeating_it_changes_nothing() -> None:
    ledger = funded()
    ledger.held(hold(part(4), part(2, WALLET, Role.COST)))
    for _ in range(2):
        released = ledger.hold_is(release("r1", ANN, WALLET)).hold
        assert (released.state, released.ended_at) == (HoldState.RELEASED, NOW)
    assert (ledger.held_on(), ledger.held_on(WALLET)) == (0, 0)
    assert len(ledger.rows.entries) == 3


def test_an_ended_hold_is_neither_released_nor_extended() -> None:
    ledger = funded()
    ledger.held(hold(part(4)))
    ledger.settled(settle(pay(4)))
    for command in (release(), extend()):
        refusal = ledger.refused(command)
        assert refusal.reason is Reason.RESERVATION_ENDED
        assert refusal.facts["state"] == "settled"


def test_a_hold_whose_time_is_up_counts_as_expired_before_it_is_swept() -> None:
    ledger = funded()
    ledger.held(hold(part(4)))
    ledger.wait(TTL)
    for command in (release(), extend()):
        assert ledger.refused(command).facts["state"] == "expired"


def test_an_extension_counts_from_now() -> None:
    ledger = funded()
    ledger.held(hold(part(4)))
    ledger.wait(100)
    extended = ledger.hold_is(extend(ttl=60)).hold
    assert extended.expires_at == ledger.now + 60 * SECOND
    ledger.wait(59)
    assert ledger.settled(settle(pay(4))).record.flags == ()


def test_an_unknown_hold_is_not_found() -> None:
    ledger = funded()
    for command in (release("r9"), extend("r9"), expire("r9")):
        assert ledger.refused(command).reason is Reason.NOT_FOUND


def test_an_answer_does_not_change_with_what_follows_in_its_batch() -> None:
    ledger = funded()
    first, _ = ledger.batch(hold(part(4)), release())
    assert isinstance(first, Held)
    assert first.hold.state is HoldState.ACTIVE

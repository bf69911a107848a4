"""Balance, availability and the order in which grants burn."""

from __future__ import annotations

from lava_grpc.core.hold import Role
from lava_grpc.core.time import SECOND
from tests.unit.core.builders import (
    ANN,
    NOW,
    TTL,
    Ledger,
    account,
    expire,
    grant,
    hold,
    part,
    pay,
    release,
    settle,
    units,
)

TOMORROW = NOW + 86_400 * SECOND


def legs(ledger: Ledger, request_id: str = "r1") -> list[tuple[str | None, int]]:
    row = ledger.rows.holds["mer_1", f"res_{request_id}"]
    return [(leg.grant_id, leg.amount // units(1)) for leg in row.legs]


def test_grants_burn_by_priority_then_expiry_then_age_and_credit_comes_last() -> None:
    ledger = Ledger(account(credit_limit=units(10)))
    ledger.batch(grant(1, grant_id="late", priority=20))
    ledger.wait(1)
    ledger.batch(
        grant(1, grant_id="ageing", priority=10),
        grant(1, grant_id="soon", priority=10, expires_at=TOMORROW),
        grant(1, grant_id="first", priority=5),
    )
    ledger.wait(1)
    ledger.batch(grant(1, grant_id="newest", priority=10))
    ledger.held(hold(part(7)))
    order = [("first", 1), ("soon", 1), ("ageing", 1), ("newest", 1), ("late", 1), (None, 2)]
    assert legs(ledger) == order


def test_a_restricted_grant_is_spent_on_its_meters_alone() -> None:
    ledger = Ledger()
    ledger.batch(
        grant(5, grant_id="chat", priority=1, meter_ids=("prd_chat",)), grant(2, grant_id="any")
    )
    assert ledger.held(hold(part(1, meter_id="prd_other"), request_id="other")).available == units(
        1
    )
    assert ledger.held(hold(part(6, meter_id="prd_chat"), request_id="chat")).available == 0
    assert legs(ledger, "other") == [("any", 1)]
    assert legs(ledger, "chat") == [("chat", 5), ("any", 1)]


def test_a_call_without_a_meter_cannot_spend_a_restricted_grant() -> None:
    ledger = Ledger()
    ledger.batch(grant(5, meter_ids=("prd_chat",)))
    assert ledger.refused(hold(part(1))).facts["available"] == "0.0000000000"


def test_unlimited_credit_has_no_available_amount() -> None:
    ledger = Ledger(account(credit_limit=None))
    assert ledger.held(hold(part(1_000_000))).available is None


def test_an_overdue_grant_is_worth_nothing_and_expires_when_touched() -> None:
    ledger = Ledger()
    ledger.batch(grant(5, grant_id="g", expires_at=NOW + SECOND))
    ledger.wait(1)
    (refusal,) = ledger.batch(hold(part(1)))
    assert "available" in str(refusal)
    assert ledger.balance() == 0
    assert ledger.rows.grants["mer_1", "g"].expired == units(5)


def test_a_grant_that_expires_while_held_keeps_that_part_for_the_hold() -> None:
    ledger = Ledger()
    ledger.batch(grant(5, grant_id="g", expires_at=NOW + 10 * SECOND))
    ledger.held(hold(part(3)))
    ledger.wait(20)
    ledger.settled(settle(pay(2)))
    row = ledger.rows.grants["mer_1", "g"]
    assert (row.burned, row.expired, row.held, row.remaining) == (units(2), units(3), 0, 0)
    assert ledger.balance() == 0


def test_a_new_grant_pays_for_overage_first() -> None:
    ledger = Ledger()
    ledger.settled(settle(pay(4)))
    assert ledger.granted(grant(10, grant_id="g")).grant.remaining == units(6)
    assert ledger.balance() == units(6)


def test_a_restricted_grant_does_not_pay_for_overage() -> None:
    ledger = Ledger()
    ledger.settled(settle(pay(4)))
    ledger.batch(grant(10, grant_id="g", meter_ids=("prd_chat",)))
    assert ledger.remaining("g") == units(10)
    # The debt stands in the way all the same: the balance is what counts.
    assert ledger.held(hold(part(6, meter_id="prd_chat"), request_id="r2")).available == 0


def test_what_a_hold_gives_back_pays_for_overage_before_it_can_expire() -> None:
    ledger = Ledger()
    ledger.batch(grant(10, grant_id="g", expires_at=NOW + 60 * SECOND))
    ledger.held(hold(part(10)))
    ledger.settled(settle(pay(4), request_id="r2"))
    assert ledger.balance() == units(6)
    ledger.hold_is(release())
    assert ledger.remaining("g") == units(6)
    ledger.wait(60)
    ledger.batch(expire())
    ledger.batch(grant(1, grant_id="next"))
    assert ledger.balance() == units(1)


def test_credit_used_although_a_grant_came_meanwhile_is_paid_by_it() -> None:
    ledger = Ledger(account(credit_limit=units(10)))
    ledger.held(hold(part(5)))
    ledger.batch(grant(20, grant_id="g"))
    ledger.settled(settle(pay(5)))
    assert ledger.remaining("g") == units(15)


def test_a_hold_in_a_grants_last_second_keeps_it() -> None:
    ledger = Ledger()
    ledger.batch(grant(5, grant_id="g", expires_at=NOW + TTL * SECOND))
    ledger.wait(TTL - 1)
    assert ledger.held(hold(part(5))).available == 0
    ledger.wait(1)
    ledger.batch(grant(1, account_id=ANN, grant_id="touch"))
    assert ledger.balance() == units(6)  # still held, though overdue


def test_parts_of_two_accounts_are_held_apart() -> None:
    ledger = Ledger(account(), account("con_bob"))
    ledger.batch(grant(5), grant(5, "con_bob"))
    ledger.held(hold(part(2), part(3, "con_bob", Role.COST)))
    assert (ledger.held_on(), ledger.held_on("con_bob")) == (units(2), units(3))

"""Grants, and what a batch is to its commands."""

from __future__ import annotations

from msgspec.structs import replace

from lava_grpc.core.commands import ExpireGrants, Granted, Held, Touched
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.money import AMOUNT_MAX
from lava_grpc.core.state import EntryKind
from lava_grpc.core.time import SECOND
from tests.unit.core.builders import (
    ANN,
    BOB,
    NOW,
    TTL,
    Ledger,
    M,
    account,
    grant,
    hold,
    part,
    pay,
    release,
    settle,
    units,
)


def test_a_grant_raises_the_balance_and_is_entered() -> None:
    ledger = Ledger()
    granted = ledger.granted(grant(5, grant_id="g"))
    assert (granted.grant.remaining, granted.replayed) == (units(5), False)
    assert ledger.balance() == units(5)
    (entry,) = ledger.rows.entries
    assert (entry.debit, entry.credit, entry.amount) == ("issuance", ANN, units(5))
    assert (entry.kind, entry.request_id, entry.grant_id) == (EntryKind.GRANT, "req_g", "g")


def test_repeating_a_grant_adds_nothing() -> None:
    ledger = Ledger()
    first, again = ledger.batch(grant(5, grant_id="g"), grant(5, grant_id="g"))
    assert isinstance(first, Granted)
    assert isinstance(again, Granted)
    assert (first.replayed, again.replayed) == (False, True)
    assert ledger.granted(replace(grant(5), request_id="req_g")).replayed
    assert ledger.balance() == units(5)


def test_a_grants_id_with_other_content_is_refused() -> None:
    ledger = Ledger()
    ledger.granted(grant(5, grant_id="g"))
    refusal = ledger.refused(grant(6, grant_id="g", fingerprint="other"))
    assert refusal.reason is Reason.REQUEST_ID_REUSED


def test_a_spent_grant_is_still_known_by_its_request() -> None:
    ledger = Ledger()
    ledger.granted(grant(5, grant_id="g"))
    ledger.settled(settle(pay(5)))
    again = ledger.granted(grant(5, grant_id="g"))
    assert again.replayed
    assert (again.grant.remaining, again.grant.burned) == (0, units(5))


def test_a_grant_of_nothing_or_of_the_past_is_refused() -> None:
    ledger = Ledger()
    assert ledger.refused(grant(0)).field == "amount"
    assert ledger.refused(grant(1, expires_at=NOW)).field == "expires_at"


def test_a_closed_account_takes_no_grant() -> None:
    ledger = Ledger(account(closed=True))
    assert ledger.refused(grant(1)).reason is Reason.NOT_FOUND


def test_credit_that_64_bits_cannot_hold_is_refused() -> None:
    ledger = Ledger()
    ledger.granted(replace(grant(1), amount=AMOUNT_MAX))
    assert ledger.refused(grant(1)).field == "amount"
    # Held credit counts: it may come back.
    ledger.held(hold(part(5)))
    ledger.refused(grant(1))
    ledger.settled(settle(pay(5)))
    ledger.granted(grant(5))


def test_a_refused_command_does_not_disturb_its_neighbours() -> None:
    ledger = Ledger(account(), account(BOB))
    outcomes = ledger.batch(
        grant(5),
        hold(part(6), request_id="r1"),
        hold(part(5), request_id="r2"),
        hold(part(1), request_id="r3"),
        release("r2"),
        hold(part(1), request_id="r4"),
    )
    kinds = [type(outcome).__name__ for outcome in outcomes]
    assert kinds == ["Granted", "Refusal", "Held", "Refusal", "HoldIs", "Held"]
    assert ledger.held_on() == units(1)


def test_commands_are_decided_in_arrival_order() -> None:
    ledger = Ledger()
    ledger.batch(grant(5))
    first, second = ledger.batch(hold(part(3), request_id="a"), hold(part(3), request_id="b"))
    assert isinstance(first, Held)
    assert isinstance(second, Refusal)


def test_overdue_grants_expire_once_on_request() -> None:
    ledger = Ledger()
    ledger.batch(grant(5, grant_id="g", expires_at=NOW + TTL * SECOND))
    ledger.wait(TTL)
    for _ in range(2):
        (touched,) = ledger.batch(ExpireGrants(M, ANN))
        assert isinstance(touched, Touched)
        assert touched.account.balance == 0
    assert [entry.kind for entry in ledger.rows.entries] == [EntryKind.GRANT, EntryKind.EXPIRY]


def test_a_batch_that_changes_nothing_has_nothing_to_write() -> None:
    ledger = Ledger()
    ledger.batch(grant(5))
    ledger.held(hold(part(5)))
    again = ledger.rows.run([hold(part(5)), hold(part(1), request_id="r2")], ledger.now)
    assert again.changes.empty


def test_an_account_is_its_merchants_own() -> None:
    ledger = Ledger()
    ledger.batch(grant(5))
    stranger = replace(hold(part(1)), merchant_id="mer_2")
    assert ledger.refused(stranger).reason is Reason.NOT_FOUND

"""Moving credit between grants, holds, overage and the books."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lava_grpc.core.account import Account, Grant
from lava_grpc.core.errors import InvariantBroken
from lava_grpc.core.hold import Leg, Role
from lava_grpc.core.money import AMOUNT_MAX, Amount, too_large
from lava_grpc.core.state import BREAKAGE, PROVIDERS, REVENUE, Entry, EntryKind

if TYPE_CHECKING:
    from lava_grpc.core.batch import Batch

_OTHER_SIDE = {
    Role.CHARGE: (REVENUE, EntryKind.CHARGE),
    Role.COST: (PROVIDERS, EntryKind.COST),
}


def reserve(
    batch: Batch, account: Account, role: Role, amount: Amount, meter_id: str | None
) -> list[Leg]:
    """Take `amount` out of eligible grants in burn order, then out of the credit limit.

    The caller has made sure that it is available.
    """
    legs: list[Leg] = []
    left = amount
    for grant in account.grants:
        if left <= 0:
            break
        if grant.remaining <= 0 or not grant.eligible(meter_id, batch.now):
            continue
        taken = min(grant.remaining, left)
        grant.remaining -= taken
        grant.held += taken
        left -= taken
        legs.append(Leg(account.account_id, role, grant.grant_id, taken))
        batch.touch(account, grant)
    if left > 0:
        legs.append(Leg(account.account_id, role, None, left))
    if account.held + amount > AMOUNT_MAX:
        raise InvariantBroken(f"account {account.account_id} would hold more than 64 bits")
    account.held += amount
    batch.touch(account)
    return legs


def give_back(batch: Batch, account: Account, leg: Leg, amount: Amount) -> None:
    """Return `amount` of a leg; what belonged to a grant whose time is up expires at once."""
    account.held -= amount
    if leg.grant_id is None:
        batch.touch(account)
        return
    grant = batch.grant(account.merchant_id, leg.grant_id)
    grant.held -= amount
    grant.remaining += amount
    batch.touch(account, grant)
    if grant.overdue(batch.now):
        _expire(batch, account, grant)


def spend_leg(
    batch: Batch,
    account: Account,
    leg: Leg,
    amount: Amount,
    *,
    request_id: str,
    hold_id: str | None,
) -> None:
    """Charge `amount` of a leg."""
    account.held -= amount
    account.balance -= amount
    grant = None
    if leg.grant_id is not None:
        grant = batch.grant(account.merchant_id, leg.grant_id)
        grant.held -= amount
        grant.burned += amount
    batch.touch(account, grant)
    _book(batch, account, leg.role, amount, leg.grant_id, request_id, hold_id)


def spend_free(
    batch: Batch,
    account: Account,
    role: Role,
    amount: Amount,
    meter_id: str | None,
    *,
    request_id: str,
    hold_id: str | None,
) -> bool:
    """Charge `amount` that no hold covers: eligible grants in burn order, then overage.

    Returns whether that took the account past its credit limit.
    """
    left = amount
    for grant in account.grants:
        if left <= 0:
            break
        if grant.remaining <= 0 or not grant.eligible(meter_id, batch.now):
            continue
        taken = min(grant.remaining, left)
        grant.remaining -= taken
        grant.burned += taken
        account.balance -= taken
        left -= taken
        batch.touch(account, grant)
        _book(batch, account, role, taken, grant.grant_id, request_id, hold_id)
    if left <= 0:
        return False
    if account.balance - left < -AMOUNT_MAX:
        raise too_large("charge")
    account.balance -= left
    batch.touch(account)
    _book(batch, account, role, left, None, request_id, hold_id)
    free = account.free_credit()
    return free is not None and free < 0


def expire_overdue_grants(batch: Batch, account: Account) -> None:
    """Expire what is free of each grant whose time is up; what holds keep stays with them."""
    for grant in account.grants:
        if grant.remaining > 0 and grant.overdue(batch.now):
            _expire(batch, account, grant)


def cover_overage(batch: Batch, account: Account, grant: Grant, owed: Amount) -> None:
    """Let a new grant pay for what was used before it came."""
    paid = min(owed, grant.remaining)
    grant.remaining -= paid
    grant.burned += paid
    batch.changes.entries.append(
        Entry(
            account.merchant_id,
            account.account_id,
            account.account_id,
            paid,
            EntryKind.COVER,
            None,
            None,
            grant.grant_id,
            batch.now,
        )
    )


def _expire(batch: Batch, account: Account, grant: Grant) -> None:
    amount = grant.remaining
    grant.remaining = 0
    grant.expired += amount
    account.balance -= amount
    batch.touch(account, grant)
    batch.changes.entries.append(
        Entry(
            account.merchant_id,
            account.account_id,
            BREAKAGE,
            amount,
            EntryKind.EXPIRY,
            None,
            None,
            grant.grant_id,
            batch.now,
        )
    )


def _book(
    batch: Batch,
    account: Account,
    role: Role,
    amount: Amount,
    grant_id: str | None,
    request_id: str,
    hold_id: str | None,
) -> None:
    other, kind = _OTHER_SIDE[role]
    batch.changes.entries.append(
        Entry(
            account.merchant_id,
            account.account_id,
            other,
            amount,
            kind,
            request_id,
            hold_id,
            grant_id,
            batch.now,
        )
    )

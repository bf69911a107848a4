"""Moving credit between grants, holds, overage and the books."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lava_grpc.core.account import Account, Grant
from lava_grpc.core.errors import InvariantBroken
from lava_grpc.core.hold import Leg, Role
from lava_grpc.core.money import AMOUNT_MAX, Amount
from lava_grpc.core.state import (
    BREAKAGE,
    BUDGETS,
    ISSUANCE,
    PROVIDERS,
    REVENUE,
    Entry,
    EntryKind,
)
from lava_grpc.core.time import Instant

if TYPE_CHECKING:
    from lava_grpc.core.batch import Batch

_OTHER_SIDE = {
    Role.CHARGE: (REVENUE, EntryKind.CHARGE),
    Role.COST: (PROVIDERS, EntryKind.COST),
    Role.BUDGET: (BUDGETS, EntryKind.BUDGET),
}


def take(
    account: Account, amount: Amount, meter_id: str | None, now: Instant
) -> list[tuple[Grant | None, Amount]]:
    """Hold `amount`: out of eligible grants in burn order, then out of the credit limit.

    Returns what came from where. The caller has made sure that it is available.
    """
    taken: list[tuple[Grant | None, Amount]] = []
    left = amount
    for grant in account.grants:
        if left <= 0:
            break
        if grant.remaining <= 0 or not grant.eligible(meter_id, now):
            continue
        piece = min(grant.remaining, left)
        grant.remaining -= piece
        grant.held += piece
        left -= piece
        taken.append((grant, piece))
    if left > 0:
        taken.append((None, left))
    account.held += amount
    return taken


def reserve(
    batch: Batch, account: Account, role: Role, amount: Amount, meter_id: str | None
) -> list[Leg]:
    """As `take`, for the books: returns a hold's legs."""
    if amount <= 0:
        return []
    legs: list[Leg] = []
    batch.touch(account)
    for grant, piece in take(account, amount, meter_id, batch.now):
        legs.append(Leg(account.account_id, role, grant.grant_id if grant else None, piece))
        if grant is not None:
            batch.touch_grant(grant)
    return legs


def give_back(batch: Batch, account: Account, leg: Leg, amount: Amount) -> None:
    """Return `amount` of a leg; what belonged to a grant whose time is up expires at once.

    The caller covers overage when all is given back.
    """
    account.held -= amount
    batch.touch(account)
    if leg.grant_id is None:
        return
    grant = batch.grant(account.merchant_id, leg.grant_id)
    grant.held -= amount
    grant.remaining += amount
    batch.touch_grant(grant)
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
    batch.touch(account)
    if leg.grant_id is not None:
        grant = batch.grant(account.merchant_id, leg.grant_id)
        grant.held -= amount
        grant.burned += amount
        batch.touch_grant(grant)
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

    Returns whether that took the account past its limit. The caller has made
    sure that 64 bits hold what it comes to.
    """
    batch.touch(account)
    left = amount
    for grant in account.grants:
        if left <= 0:
            break
        if grant.remaining <= 0 or not grant.eligible(meter_id, batch.now):
            continue
        piece = min(grant.remaining, left)
        grant.remaining -= piece
        grant.burned += piece
        left -= piece
        batch.touch_grant(grant)
        _book(batch, account, role, piece, grant.grant_id, request_id, hold_id)
    if left > 0:
        _book(batch, account, role, left, None, request_id, hold_id)
    account.balance -= amount
    if account.credit_taken() > AMOUNT_MAX:
        raise InvariantBroken(f"account {account.account_id} would owe more than 64 bits hold")
    available = account.available(meter_id, batch.now)
    return available is not None and available < 0


def expire_overdue_grants(batch: Batch, account: Account) -> None:
    """Expire what is free of each grant whose time is up; what holds keep stays with them."""
    for grant in account.grants:
        if grant.remaining > 0 and grant.overdue(batch.now):
            _expire(batch, account, grant)


def add_grant(batch: Batch, account: Account, grant: Grant) -> None:
    """Put a new grant on its account and into the books. The caller covers overage."""
    account.insert_grant(grant)
    batch.add_grant(grant)
    _issue(batch, account, grant, grant.amount, grant.request_id)


def grow_grant(
    batch: Batch, account: Account, grant: Grant, amount: Amount, *, request_id: str
) -> None:
    """Add to a grant that is there already. The caller covers overage, and knows that it fits."""
    grant.amount += amount
    grant.remaining += amount
    batch.grow_grant(grant)
    _issue(batch, account, grant, amount, request_id)


def cover_overage(batch: Batch, account: Account, *, at: Instant | None = None) -> None:
    """Let free credit pay for what was used before it came, or while holds had it.

    A restricted grant does not: what was used may be another meter's. `at` is when that
    is decided, now unless said.
    """
    owed = account.overage()
    if owed <= 0:
        return
    for grant in account.grants:
        if owed <= 0:
            return
        if grant.remaining <= 0 or not grant.eligible(None, batch.now if at is None else at):
            continue
        paid = min(owed, grant.remaining)
        grant.remaining -= paid
        grant.burned += paid
        owed -= paid
        batch.touch(account)
        batch.touch_grant(grant)
        _enter(batch, account, account.account_id, paid, EntryKind.COVER, grant.grant_id)


def _issue(batch: Batch, account: Account, grant: Grant, amount: Amount, request_id: str) -> None:
    account.balance += amount
    batch.touch(account)
    batch.changes.entries.append(
        Entry(
            grant.merchant_id,
            ISSUANCE,
            grant.account_id,
            amount,
            EntryKind.GRANT,
            request_id,
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
    batch.touch(account)
    batch.touch_grant(grant)
    _enter(batch, account, BREAKAGE, amount, EntryKind.EXPIRY, grant.grant_id)


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
    _enter(batch, account, other, amount, kind, grant_id, request_id, hold_id)


def _enter(
    batch: Batch,
    account: Account,
    credit: str,
    amount: Amount,
    kind: EntryKind,
    grant_id: str | None,
    request_id: str | None = None,
    hold_id: str | None = None,
) -> None:
    batch.changes.entries.append(
        Entry(
            account.merchant_id,
            account.account_id,
            credit,
            amount,
            kind,
            request_id,
            hold_id,
            grant_id,
            batch.now,
        )
    )

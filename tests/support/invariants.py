"""The design's section 3 over plain rows: what must hold after every commit.

`broken_rules` wants every row there is, grants that are no longer live too, and
takes them as the core's own types, so that any store can hand them over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lava_grpc.core.account import Account, Grant
from lava_grpc.core.hold import Hold, HoldState, Leg
from lava_grpc.core.money import AMOUNT_MAX
from lava_grpc.core.request_record import RequestRecord
from lava_grpc.core.state import Entry, EntryKind

_SPENDING = {EntryKind.CHARGE, EntryKind.COST, EntryKind.BUDGET, EntryKind.COVER}


@dataclass(frozen=True, slots=True)
class Books:
    """All rows of one merchant. Accounts need no `grants` of their own here."""

    accounts: Iterable[Account]
    grants: Iterable[Grant]
    holds: Iterable[Hold]
    records: Iterable[RequestRecord]
    entries: Iterable[Entry]


def broken_rules(books: Books) -> list[str]:
    """One sentence for each rule that a row breaks; empty when all is well."""
    return [
        *_accounts(books),
        *_grants(books),
        *_holds(books),
        *_records(books),
    ]


def _accounts(books: Books) -> Iterator[str]:
    balance: Counter[str] = Counter()
    for entry in books.entries:
        balance[entry.debit] -= entry.amount
        balance[entry.credit] += entry.amount
        if entry.amount <= 0:
            yield f"an entry of {entry.kind} moves {entry.amount}"
    held: Counter[str] = Counter()
    for leg in _active_legs(books):
        held[leg.account_id] += leg.amount
    free: Counter[str] = Counter()
    for grant in books.grants:
        free[grant.account_id] += grant.remaining
    for account in books.accounts:
        name = account.account_id
        if account.balance != balance[name]:
            yield f"{name}: balance {account.balance}, entries come to {balance[name]}"
        if account.held != held[name]:
            yield f"{name}: held {account.held}, active holds come to {held[name]}"
        taken = account.held - account.balance + free[name]
        if not 0 <= taken <= AMOUNT_MAX:
            yield f"{name}: {taken} was taken past its grants"


def _grants(books: Books) -> Iterator[str]:
    held: Counter[str] = Counter()
    for leg in _active_legs(books):
        if leg.grant_id is not None:
            held[leg.grant_id] += leg.amount
    moved: Counter[tuple[str | None, str]] = Counter()
    for entry in books.entries:
        kind = "burned" if entry.kind in _SPENDING else entry.kind.value
        moved[entry.grant_id, kind] += entry.amount
    for grant in books.grants:
        name = grant.grant_id
        parts = {
            "remaining": grant.remaining,
            "held": grant.held,
            "burned": grant.burned,
            "expired": grant.expired,
        }
        if grant.amount != sum(parts.values()) or min(parts.values()) < 0:
            yield f"{name}: {grant.amount} is not {parts}"
        expected = {
            "amount": (grant.amount, moved[name, EntryKind.GRANT]),
            "held": (grant.held, held[name]),
            "burned": (grant.burned, moved[name, "burned"]),
            "expired": (grant.expired, moved[name, EntryKind.EXPIRY]),
        }
        for what, (row, sum_of_others) in expected.items():
            if row != sum_of_others:
                yield f"{name}: {what} {row}, others come to {sum_of_others}"


def _holds(books: Books) -> Iterator[str]:
    recorded = {record.request_id for record in books.records}
    seen: set[str] = set()
    for hold in books.holds:
        if hold.request_id in seen:
            yield f"{hold.request_id}: has two holds"
        seen.add(hold.request_id)
        active = hold.state is HoldState.ACTIVE
        if active is not (hold.ended_at is None):
            yield f"{hold.hold_id}: is {hold.state}, ended at {hold.ended_at}"
        if active and hold.request_id in recorded:
            yield f"{hold.hold_id}: is active, its request is recorded already"
        if hold.state is HoldState.SETTLED and hold.request_id not in recorded:
            yield f"{hold.hold_id}: is settled without a record"


def _records(books: Books) -> Iterator[str]:
    """A request is charged once: what its entries move is what its record says."""
    moved: Counter[tuple[str | None, EntryKind]] = Counter()
    for entry in books.entries:
        moved[entry.request_id, entry.kind] += entry.amount
    records = {record.request_id: record for record in books.records}
    for (request_id, kind), amount in moved.items():
        if kind not in {EntryKind.CHARGE, EntryKind.COST}:
            continue
        record = records.get(request_id or "")
        if record is None:
            yield f"{request_id}: was charged {amount} without a record"
        elif amount != (record.charge.amount if kind is EntryKind.CHARGE else record.cost):
            yield f"{request_id}: its {kind} entries come to {amount}"


def _active_legs(books: Books) -> Iterator[Leg]:
    for hold in books.holds:
        if hold.state is HoldState.ACTIVE:
            yield from hold.legs

"""What a batch of the ledger did that merchants asked to be told of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from lava_grpc.core.account import Account, AccountKind, GrantSource
from lava_grpc.core.money import Amount, format_amount
from lava_grpc.core.request_record import Flag
from lava_grpc.core.state import Changes, Key
from lava_grpc.core.webhooks import Event


@dataclass(frozen=True, slots=True)
class Happening:
    """An event of one merchant. `before` and `after` are balances, where it is about one."""

    merchant_id: str
    event: Event
    customer_id: str | None
    details: dict[str, str] = field(default_factory=dict)
    before: Amount = 0
    after: Amount = 0


def events_of(changes: Changes, watched: Collection[str]) -> list[Happening]:
    """The events of the merchants in `watched`, each customer's in the order they are told.

    A customer's balance is told once, however often the batch changed it.
    Whether a balance is low is for each webhook's own threshold to say: that
    event comes with every fall of a balance.
    """
    told = [*_granted(changes, watched)]
    for key, net in _nets(changes, watched).items():
        account = changes.accounts.get(key)
        if net and account is not None and account.kind is AccountKind.CUSTOMER:
            told.extend(_balance(account, account.balance - net))
    told.extend(_abandoned(changes, watched))
    return told


def _granted(changes: Changes, watched: Collection[str]) -> Iterator[Happening]:
    for grant in changes.new_grants.values():
        if grant.source is not GrantSource.TOP_UP or grant.merchant_id not in watched:
            continue
        account = changes.accounts.get((grant.merchant_id, grant.account_id))
        if account is None or account.kind is not AccountKind.CUSTOMER:
            continue
        details = {"grant_id": grant.grant_id, "amount": format_amount(grant.amount)}
        yield Happening(grant.merchant_id, Event.TOPPED_UP, grant.account_id, details)


def _nets(changes: Changes, watched: Collection[str]) -> dict[Key, Amount]:
    """By how much each account's balance changed; sides that are no account of ours among them."""
    nets: dict[Key, Amount] = defaultdict(int)
    for entry in changes.entries:
        if entry.merchant_id in watched:
            nets[entry.merchant_id, entry.credit] += entry.amount
            nets[entry.merchant_id, entry.debit] -= entry.amount
    return nets


def _balance(account: Account, before: Amount) -> Iterator[Happening]:
    after = account.balance
    events = [Event.BALANCE_UPDATED]
    if after < before:
        events.append(Event.BALANCE_LOW)
        limit = account.credit_limit
        if limit is not None and before + limit > 0 >= after + limit:
            events.append(Event.CREDIT_EXHAUSTED)
    details = {"balance": format_amount(after)}
    for event in events:
        yield Happening(
            account.merchant_id, event, account.account_id, details, before=before, after=after
        )


def _abandoned(changes: Changes, watched: Collection[str]) -> Iterator[Happening]:
    for record in (*changes.new_records.values(), *changes.records.values()):
        if record.merchant_id in watched and Flag.ABANDONED in record.flags:
            details = {"request_id": record.request_id}
            customer_id = record.facts.customer_id
            yield Happening(record.merchant_id, Event.REQUEST_ABANDONED, customer_id, details)

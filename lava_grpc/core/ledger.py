"""The ledger engine's rules: commands in, outcomes and rows to write out.

`apply` is the one place that knows the rules of the design's section 3. It does
no I/O and reads no clock; SQLite, PostgreSQL and the property tests share it.
A command that is refused changes nothing and does not disturb its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from lava_grpc.core import funds, holding, paying, settling, subscribing
from lava_grpc.core.account import Grant
from lava_grpc.core.batch import Batch
from lava_grpc.core.commands import (
    AddGrant,
    ChangeSubscription,
    Command,
    Concluded,
    Enrolled,
    Expire,
    ExpireGrants,
    Extend,
    GiveUp,
    Granted,
    HandOut,
    Held,
    HoldIs,
    PlaceHold,
    Release,
    RenewCycles,
    Settle,
    Settled,
    Subscribe,
    Touched,
)
from lava_grpc.core.errors import Refusal, invalid
from lava_grpc.core.money import AMOUNT_MAX, too_large
from lava_grpc.core.state import Changes, Key, LedgerState
from lava_grpc.core.time import Instant

Outcome: TypeAlias = Held | Settled | HoldIs | Granted | Enrolled | Concluded | Touched | Refusal


@dataclass(frozen=True, slots=True)
class Decision:
    """What a batch came to: one outcome per command, in order, and the rows to write.

    `short_accounts` lacked room while something was held on them: overdue holds
    there should be expired and the batch decided again. `due_accounts` were touched
    after their cycle had ended: `RenewCycles` should come first.
    """

    outcomes: list[Outcome]
    changes: Changes
    short_accounts: frozenset[Key]
    due_accounts: frozenset[Key] = frozenset()


def apply(state: LedgerState, commands: Sequence[Command], now: Instant) -> Decision:
    """Decide each command in arrival order on a state that belongs to this batch."""
    batch = Batch(state, Changes(), now)
    outcomes: list[Outcome] = []
    for command in commands:
        try:
            outcomes.append(_decide(batch, command))
        except Refusal as refusal:
            outcomes.append(refusal)
    return Decision(
        outcomes, batch.changes, frozenset(batch.short_accounts), frozenset(batch.due_accounts)
    )


def _decide(batch: Batch, command: Command) -> Outcome:
    match command:
        case PlaceHold():
            return holding.place(batch, command)
        case Settle():
            return settling.settle(batch, command)
        case Release():
            return HoldIs(holding.release(batch, command))
        case Extend():
            return HoldIs(holding.extend(batch, command))
        case Expire():
            return HoldIs(settling.expire(batch, command))
        case AddGrant():
            return _add_grant(batch, command)
        case ExpireGrants():
            return Touched(batch.account(command.merchant_id, command.account_id))
        case _:
            return _decide_subscription(batch, command)


def _decide_subscription(
    batch: Batch, command: Subscribe | ChangeSubscription | RenewCycles | HandOut | GiveUp
) -> Outcome:
    match command:
        case HandOut():
            return Concluded(paying.hand_out(batch, command))
        case GiveUp():
            return Concluded(paying.give_up(batch, command))
        case Subscribe():
            return Enrolled(subscribing.subscribe(batch, command))
        case ChangeSubscription():
            return Enrolled(subscribing.change(batch, command))
        case RenewCycles():
            return Touched(subscribing.renew(batch, command))


def _add_grant(batch: Batch, command: AddGrant) -> Granted:
    seen = batch.state.grants_by_request.get((command.merchant_id, command.request_id))
    if seen is not None:
        batch.require_same(seen.fingerprint, command.fingerprint, command.request_id)
        return Granted(replace(seen), replayed=True)
    if command.amount <= 0:
        raise invalid("amount", "must be more than zero")
    if command.expires_at is not None and command.expires_at <= batch.now:
        raise invalid("expires_at", "must lie in the future")
    account = batch.open_account(command.merchant_id, command.account_id)
    # What was granted in all must stay within 64 bits, or a later release could not be booked.
    if account.granted() + command.amount > AMOUNT_MAX:
        raise too_large("amount")
    grant = Grant(
        merchant_id=command.merchant_id,
        account_id=command.account_id,
        grant_id=command.grant_id,
        source=command.source,
        priority=command.priority,
        amount=command.amount,
        remaining=command.amount,
        held=0,
        burned=0,
        expired=0,
        meter_ids=command.meter_ids,
        expires_at=command.expires_at,
        created_at=batch.now,
        request_id=command.request_id,
        fingerprint=command.fingerprint,
    )
    funds.add_grant(batch, account, grant)
    funds.cover_overage(batch, account)
    return Granted(replace(grant))

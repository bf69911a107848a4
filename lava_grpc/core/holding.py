"""Placing, releasing and extending holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lava_grpc.core import funds
from lava_grpc.core.claims import (
    Claim,
    all_covered,
    as_left_by,
    ask,
    check_room,
    note_short,
    short_of,
    shrink,
    units_bought,
)
from lava_grpc.core.commands import Extend, Held, PlaceHold, Release
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.hold import Bought, Hold, HoldKind, HoldState, Leg
from lava_grpc.core.money import Amount
from lava_grpc.core.time import SECOND, Instant

if TYPE_CHECKING:
    from lava_grpc.core.batch import Batch


def place(batch: Batch, command: PlaceHold) -> Held:
    """Hold every part or none; see `PlaceHold`."""
    if not command.dry_run:
        replay = _replay(batch, command)
        if replay is not None:
            return replay
    batch.require_roles(tuple([part.role for part in command.parts]))
    accounts = [batch.open_account(command.merchant_id, p.account_id) for p in command.parts]
    budgets = [account.budget for account in accounts if account.budget is not None]
    for budget in budgets:
        budget.require_room(batch.now)
    claims = ask(batch, command, accounts)
    bought = None
    if not all_covered(claims):
        note_short(batch, claims)
        if not command.allow_partial:
            raise short_of(claims)
        claims, output_tokens = shrink(batch, command, accounts, claims)
        bought = Bought(units_bought(batch, claims), output_tokens)
    check_room(claims)
    if not command.dry_run:
        for budget in budgets:
            budget.count(batch.now)
            batch.touch_budget(budget)
    hold, available = _take(batch, command, claims, bought)
    return _held(hold, available)


def release(batch: Batch, command: Release) -> Hold:
    """Give an active hold back; repeating it changes nothing."""
    hold = batch.hold(command.merchant_id, command.hold_id)
    if hold.state is HoldState.RELEASED:
        return hold.copy()
    require_active(batch, hold)
    end(batch, hold, HoldState.RELEASED)
    return hold.copy()


def extend(batch: Batch, command: Extend) -> Hold:
    """Move an active hold's expiry."""
    hold = batch.hold(command.merchant_id, command.hold_id)
    require_active(batch, hold)
    hold.expires_at = batch.now + command.ttl_seconds * SECOND
    batch.touch_hold(hold)
    return hold.copy()


def require_active(batch: Batch, hold: Hold) -> None:
    """Refuse RESERVATION_ENDED unless the hold is active and its time is not up."""
    state = hold.state
    if state is HoldState.ACTIVE:
        if hold.expires_at > batch.now:
            return
        state = HoldState.EXPIRED
    raise Refusal(
        Reason.RESERVATION_ENDED,
        f"reservation {hold.hold_id} is {state.value}",
        field="reservation_id",
        facts={"state": state.value, "reservation_id": hold.hold_id},
    )


def end(batch: Batch, hold: Hold, state: HoldState) -> None:
    """Give all legs back and close the hold."""
    for leg in hold.legs:
        account = batch.account(hold.merchant_id, leg.account_id)
        funds.give_back(batch, account, leg, leg.amount)
    cover_all(batch, hold)
    close(batch, hold, state)


def cover_all(batch: Batch, hold: Hold) -> None:
    """Let what came free on the hold's accounts pay for their overage."""
    for account_id in hold.account_ids:
        funds.cover_overage(batch, batch.account(hold.merchant_id, account_id))


def close(batch: Batch, hold: Hold, state: HoldState) -> None:
    """Note how and when a hold ended; its legs are dealt with."""
    hold.state = state
    hold.ended_at = batch.now
    batch.touch_hold(hold)


def _replay(batch: Batch, command: PlaceHold) -> Held | None:
    key = (command.merchant_id, command.request_id)
    seen = batch.state.holds_by_request.get(key)
    if seen is None:
        if key in batch.state.records:
            batch.require_same("", command.fingerprint, command.request_id)
        return None
    # A forwarded call cannot be answered from the books: its answer went to the first caller.
    # The very same command may come again, though, after its commit's answer was lost.
    forwarded = HoldKind.FORWARD in (seen.kind, command.kind) and seen.hold_id != command.hold_id
    batch.require_same("" if forwarded else seen.fingerprint, command.fingerprint, seen.request_id)
    available = None
    if command.parts:
        part = command.parts[0]
        account = batch.account(command.merchant_id, part.account_id)
        available = account.available(part.meter_id, batch.now)
    return _held(seen.copy(), available, replayed=True)


def _held(hold: Hold, available: Amount | None, *, replayed: bool = False) -> Held:
    bought = hold.bought
    return Held(
        hold,
        available,
        replayed,
        bought is not None,
        bought.units if bought else None,
        bought.output_tokens if bought else None,
    )


def _take(
    batch: Batch, command: PlaceHold, claims: list[Claim], bought: Bought | None
) -> tuple[Hold, Amount | None]:
    """The hold, and what its first account has left; a dry run takes nothing."""
    legs: list[Leg] = []
    for claim in claims:
        part = claim.part
        if command.dry_run:
            legs.append(Leg(part.account_id, part.role, None, claim.amount))
        else:
            legs += funds.reserve(batch, claim.account, part.role, claim.amount, part.meter_id)
    hold = Hold(
        merchant_id=command.merchant_id,
        hold_id=command.hold_id,
        request_id=command.request_id,
        kind=command.kind,
        state=HoldState.ACTIVE,
        account_ids=command.account_ids,
        roles=tuple([part.role for part in command.parts]),
        legs=tuple(legs),
        facts=command.facts,
        created_at=batch.now,
        expires_at=batch.now + command.ttl_seconds * SECOND,
        ended_at=None,
        fingerprint=command.fingerprint,
        bought=bought,
    )
    if command.dry_run:
        return hold, _left_by_dry_run(claims, batch.now)
    batch.add_hold(hold)
    return hold.copy(), _left_to_payer(claims, batch.now)


def _left_to_payer(claims: list[Claim], now: Instant) -> Amount | None:
    if not claims:
        return None
    return claims[0].account.available(claims[0].part.meter_id, now)


def _left_by_dry_run(claims: list[Claim], now: Instant) -> Amount | None:
    if not claims:
        return None
    left = as_left_by(claims, claims[0].account, now)
    return left.available(claims[0].part.meter_id, now)

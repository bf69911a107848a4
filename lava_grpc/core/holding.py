"""Placing, releasing and extending holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lava_grpc.core import funds
from lava_grpc.core.account import Account, AccountKind
from lava_grpc.core.commands import Extend, Held, HoldPart, PlaceHold, Release
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.hold import Hold, HoldKind, HoldState, Leg, Role
from lava_grpc.core.money import (
    AMOUNT_MAX,
    Amount,
    check_amount,
    divide_up,
    format_amount,
    too_large,
)
from lava_grpc.core.pricing import display_units, price_upper_bound, units_affordable
from lava_grpc.core.time import SECOND, Instant, cycle_of

if TYPE_CHECKING:
    from lava_grpc.core.batch import Batch


@dataclass(frozen=True, slots=True)
class _Claim:
    """What one part asks of its account."""

    part: HoldPart
    account: Account
    amount: Amount
    available: Amount | None

    @property
    def covered(self) -> bool:
        return self.amount == 0 or self.available is None or self.amount <= self.available


def place(batch: Batch, command: PlaceHold) -> Held:
    """Hold every part or none; see `PlaceHold`."""
    if not command.dry_run:
        replay = _replay(batch, command)
        if replay is not None:
            return replay
    expires_at = batch.now + command.ttl_seconds * SECOND
    accounts = [batch.open_account(command.merchant_id, p.account_id) for p in command.parts]
    claims = _claims(batch, command, accounts, expires_at, output_tokens=None)
    partial, output_tokens = False, None
    if not all(claim.covered for claim in claims):
        if command.allow_partial:
            claims, output_tokens = _shrink(batch, command, accounts, expires_at, claims)
            partial = True
        else:
            _refuse_short(batch, claims)
    for claim in claims:
        if claim.account.held + claim.amount > AMOUNT_MAX:
            raise too_large("amount")
    return _take(batch, command, claims, expires_at, partial=partial, output_tokens=output_tokens)


def release(batch: Batch, command: Release) -> Hold:
    """Give an active hold back; repeating it changes nothing."""
    hold = batch.hold(command.merchant_id, command.hold_id)
    if hold.state is HoldState.RELEASED:
        return replace(hold)
    require_active(batch, hold)
    end(batch, hold, HoldState.RELEASED)
    return replace(hold)


def extend(batch: Batch, command: Extend) -> Hold:
    """Move an active hold's expiry."""
    hold = batch.hold(command.merchant_id, command.hold_id)
    require_active(batch, hold)
    hold.expires_at = batch.now + command.ttl_seconds * SECOND
    batch.touch_hold(hold)
    return replace(hold)


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
    close(batch, hold, state)


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
    forwarded = HoldKind.FORWARD in (seen.kind, command.kind)
    batch.require_same("" if forwarded else seen.fingerprint, command.fingerprint, seen.request_id)
    available = None
    if command.parts:
        part = command.parts[0]
        account = batch.account(command.merchant_id, part.account_id)
        available = account.available(part.meter_id, batch.now)
    return Held(replace(seen), available, replayed=True)


def _claims(
    batch: Batch,
    command: PlaceHold,
    accounts: list[Account],
    expires_at: Instant,
    *,
    output_tokens: int | None,
) -> list[_Claim]:
    return [
        _Claim(
            part,
            account,
            _required(batch, command, part, expires_at, output_tokens),
            account.available(part.meter_id, batch.now),
        )
        for part, account in zip(command.parts, accounts, strict=True)
    ]


def _required(
    batch: Batch,
    command: PlaceHold,
    part: HoldPart,
    expires_at: Instant,
    output_tokens: int | None,
) -> Amount:
    if part.amount is not None:
        return part.amount
    usage, cost = part.usage, part.cost
    if output_tokens is not None and usage.output_tokens > 0:
        fixed = cost - part.output_cost
        cost = fixed + divide_up(part.output_cost * output_tokens, usage.output_tokens)
        usage = replace(usage, output_tokens=output_tokens)
    if part.meter is None:
        return check_amount(cost, "amount")
    counter = batch.counter(command.merchant_id, part.account_id, part.meter.meter_id)
    return price_upper_bound(
        part.meter,
        usage,
        cost=cost,
        counted=counter.units,
        cycle_may_end=expires_at >= cycle_of(batch.now)[1],
    )


def _refuse_short(batch: Batch, claims: list[_Claim]) -> None:
    short = next(claim for claim in claims if not claim.covered)
    account = short.account
    if account.held > 0:
        batch.short_accounts.add((account.merchant_id, account.account_id))
    available = max(short.available or 0, 0)
    whose = "merchant" if account.kind is AccountKind.MERCHANT else account.kind.value
    raise Refusal(
        Reason.INSUFFICIENT_CREDITS,
        f"{whose} {account.account_id} has {format_amount(available)} available, "
        f"{format_amount(short.amount)} is required",
        facts={
            "account": whose,
            "account_id": account.account_id,
            "required": format_amount(short.amount),
            "available": format_amount(available),
        },
    )


def _shrink(
    batch: Batch,
    command: PlaceHold,
    accounts: list[Account],
    expires_at: Instant,
    claims: list[_Claim],
) -> tuple[list[_Claim], int | None]:
    """Smaller claims that are covered, and how many output tokens they buy if that is known."""
    if not command.scale_output:
        smaller = [
            claim if claim.covered else replace(claim, amount=max(claim.available or 0, 0))
            for claim in claims
        ]
        if any(claim.amount <= 0 for claim in smaller):
            _refuse_short(batch, claims)
        # Less was to be had than asked for: overdue holds may be why.
        _note_short(batch, claims)
        return smaller, None
    low, high = 0, max(part.usage.output_tokens for part in command.parts)
    best: list[_Claim] | None = None
    while low < high:
        middle = (low + high + 1) // 2
        tried = _claims(batch, command, accounts, expires_at, output_tokens=middle)
        if all(claim.covered for claim in tried):
            low, best = middle, tried
        else:
            high = middle - 1
    if best is None:
        _refuse_short(batch, claims)
    _note_short(batch, claims)
    return best or claims, low


def _note_short(batch: Batch, claims: list[_Claim]) -> None:
    for claim in claims:
        if not claim.covered and claim.account.held > 0:
            batch.short_accounts.add((claim.account.merchant_id, claim.account.account_id))


def _take(
    batch: Batch,
    command: PlaceHold,
    claims: list[_Claim],
    expires_at: Instant,
    *,
    partial: bool,
    output_tokens: int | None,
) -> Held:
    legs: list[Leg] = []
    if not command.dry_run:
        for claim in claims:
            legs += funds.reserve(
                batch, claim.account, claim.part.role, claim.amount, claim.part.meter_id
            )
    else:
        legs = [Leg(c.account.account_id, c.part.role, None, c.amount) for c in claims]
    hold = Hold(
        merchant_id=command.merchant_id,
        hold_id=command.hold_id,
        request_id=command.request_id,
        kind=command.kind,
        state=HoldState.ACTIVE,
        account_ids=tuple(claim.account.account_id for claim in claims),
        roles=tuple(claim.part.role for claim in claims),
        legs=tuple(legs),
        facts=command.facts,
        created_at=batch.now,
        expires_at=expires_at,
        ended_at=None,
        fingerprint=command.fingerprint,
    )
    if not command.dry_run:
        batch.add_hold(hold)
    available = None
    if claims:
        payer = claims[0]
        available = payer.account.available(payer.part.meter_id, batch.now)
        if available is not None and command.dry_run:
            available -= payer.amount
    return Held(
        replace(hold),
        available,
        partial=partial,
        affordable_units=_units_bought(batch, command, claims) if partial else None,
        affordable_output_tokens=output_tokens,
    )


def _units_bought(batch: Batch, command: PlaceHold, claims: list[_Claim]) -> int | None:
    claim = next((c for c in claims if c.part.role is Role.CHARGE), None)
    if claim is None or claim.part.meter is None or claim.part.amount is not None:
        return None
    meter = claim.part.meter
    if meter.rate_type != "fixed":
        return None
    counter = batch.counter(command.merchant_id, claim.account.account_id, meter.meter_id)
    units = units_affordable(
        meter,
        amount=claim.amount,
        counted=counter.units,
        units_max=meter.units(claim.part.usage),
    )
    return display_units(meter.tier_type, units)

"""Charging what was really used, and ending holds that nobody settled."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lava_grpc.core import funds, holding
from lava_grpc.core.commands import Expire, Settle, Settled, SettlePart
from lava_grpc.core.errors import InvariantBroken, Reason, Refusal, invalid
from lava_grpc.core.hold import CallFacts, Hold, HoldKind, HoldState, Role
from lava_grpc.core.money import AMOUNT_MAX, Amount, too_large
from lava_grpc.core.pricing import NO_CHARGE, Charge, price
from lava_grpc.core.request_record import Flag, RequestRecord, RequestStatus
from lava_grpc.core.usage import NOTHING

if TYPE_CHECKING:
    from lava_grpc.core.batch import Batch


def settle(batch: Batch, command: Settle) -> Settled:
    """Charge a request once, out of its hold if it has one; see `Settle`."""
    hold = _hold_of(batch, command)
    seen = batch.state.records.get((command.merchant_id, command.request_id))
    if seen is not None and not _open_again(seen):
        batch.require_same(seen.fingerprint, command.fingerprint, command.request_id)
        return Settled(seen, replace(hold) if hold else None, replayed=True)
    if hold is not None and hold.state in (HoldState.SETTLED, HoldState.RELEASED):
        holding.require_active(batch, hold)
    charge, amounts = _amounts(batch, command)
    _check_room(batch, command, amounts)
    held = hold.amount if hold is not None else None
    flags = set(command.flags)
    if hold is not None:
        flags |= _expire_if_late(batch, hold)
    for part, amount in zip(command.parts, amounts, strict=True):
        flags |= _pay(batch, command, hold, part, amount)
    if hold is not None:
        _give_rest_back(batch, hold, command, amounts)
    _count(batch, command)
    record = _record(batch, command, charge, flags, hold, held, seen)
    batch.put_record(record)
    return Settled(record, replace(hold) if hold else None)


def expire(batch: Batch, command: Expire) -> Hold:
    """End a hold whose time is up, and list a forwarded call as abandoned."""
    hold = batch.hold(command.merchant_id, command.hold_id)
    if hold.state is not HoldState.ACTIVE or hold.expires_at > batch.now:
        return replace(hold)
    abandoned = hold.kind is HoldKind.FORWARD
    if abandoned and command.charge_abandoned:
        for leg in hold.legs:
            account = batch.account(hold.merchant_id, leg.account_id)
            funds.spend_leg(
                batch,
                account,
                leg,
                leg.amount,
                request_id=hold.request_id,
                hold_id=hold.hold_id,
            )
        holding.close(batch, hold, HoldState.EXPIRED)
    else:
        holding.end(batch, hold, HoldState.EXPIRED)
    if abandoned:
        batch.put_record(_abandoned(batch, hold, charged=command.charge_abandoned))
    return replace(hold)


def _hold_of(batch: Batch, command: Settle) -> Hold | None:
    if command.hold_id is None:
        hold = batch.state.holds_by_request.get((command.merchant_id, command.request_id))
    else:
        hold = batch.hold(command.merchant_id, command.hold_id)
        if hold.request_id != command.request_id:
            raise invalid("request_id", "is not the reservation's")
    if hold is not None and set(hold.account_ids) - set(command.account_ids):
        # The caller named another customer than the one whose credit is held.
        raise Refusal(
            Reason.REQUEST_ID_REUSED,
            f"request_id '{command.request_id[:80]}' has a reservation for another customer",
            field="customer_id",
            facts={"request_id": command.request_id, "reservation_id": hold.hold_id},
        )
    return hold


def _open_again(record: RequestRecord) -> bool:
    """An abandoned call that was not charged may still report its usage."""
    return Flag.ABANDONED in record.flags and record.charge.amount == 0 and record.cost == 0


def _amounts(batch: Batch, command: Settle) -> tuple[Charge, list[Amount]]:
    charge = NO_CHARGE
    amounts: list[Amount] = []
    for part in command.parts:
        if part.amount is not None:
            amount = part.amount
            if part.role is Role.CHARGE:
                charge = Charge(amount)
        elif part.meter is not None:
            counter = batch.counter(command.merchant_id, part.account_id, part.meter.meter_id)
            charge = price(part.meter, command.usage, cost=command.cost, counted=counter.units)
            amount = charge.amount
        else:
            amount = command.cost
        amounts.append(amount)
    return charge, amounts


def _check_room(batch: Batch, command: Settle, amounts: list[Amount]) -> None:
    """Refuse, before anything changes, what 64 bits could not hold afterwards."""
    for part, amount in zip(command.parts, amounts, strict=True):
        account = batch.account(command.merchant_id, part.account_id)
        if account.balance - amount < -AMOUNT_MAX:
            raise too_large("charge")
        if part.meter is not None:
            counter = batch.counter(command.merchant_id, part.account_id, part.meter.meter_id)
            if counter.units + part.meter.units(command.usage) > AMOUNT_MAX:
                raise invalid("usage", "takes the cycle's counter past 64 bits")


def _expire_if_late(batch: Batch, hold: Hold) -> set[Flag]:
    if hold.state is HoldState.EXPIRED:
        return {Flag.LATE}
    if hold.expires_at <= batch.now:
        holding.end(batch, hold, HoldState.EXPIRED)
        return {Flag.LATE}
    return set()


def _pay(
    batch: Batch, command: Settle, hold: Hold | None, part: SettlePart, amount: Amount
) -> set[Flag]:
    """Take `amount`: the hold's legs first, in order, then what is free, then overage."""
    account = batch.account(command.merchant_id, part.account_id)
    hold_id = hold.hold_id if hold is not None else None
    left = amount
    active = hold is not None and hold.state is HoldState.ACTIVE
    if hold is not None and active:
        for leg in hold.legs:
            if leg.role is not part.role or left <= 0:
                continue
            taken = min(leg.amount, left)
            funds.spend_leg(
                batch, account, leg, taken, request_id=command.request_id, hold_id=hold_id
            )
            left -= taken
    if left <= 0:
        return set()
    overdrawn = funds.spend_free(
        batch,
        account,
        part.role,
        left,
        part.meter_id,
        request_id=command.request_id,
        hold_id=hold_id,
    )
    flags = {Flag.OVERRUN} if active else set()
    return flags | {Flag.OVERDRAWN} if overdrawn else flags


def _give_rest_back(batch: Batch, hold: Hold, command: Settle, amounts: list[Amount]) -> None:
    if hold.state is not HoldState.ACTIVE:
        return
    unspent = {part.role: amount for part, amount in zip(command.parts, amounts, strict=True)}
    for leg in hold.legs:
        spent = min(leg.amount, unspent.get(leg.role, 0))
        if leg.role in unspent:
            unspent[leg.role] -= spent
        if leg.amount > spent:
            account = batch.account(hold.merchant_id, leg.account_id)
            funds.give_back(batch, account, leg, leg.amount - spent)
    holding.close(batch, hold, HoldState.SETTLED)


def _count(batch: Batch, command: Settle) -> None:
    for part in command.parts:
        if part.meter is not None:
            counter = batch.counter(command.merchant_id, part.account_id, part.meter.meter_id)
            counter.units += part.meter.units(command.usage)
            batch.touch_counter(counter)


def _record(
    batch: Batch,
    command: Settle,
    charge: Charge,
    flags: set[Flag],
    hold: Hold | None,
    held: Amount | None,
    seen: RequestRecord | None,
) -> RequestRecord:
    facts = command.facts
    if hold is not None:
        merged = dict(hold.facts.metadata) | dict(facts.metadata)
        facts = replace(facts, metadata=tuple(merged.items()))
    return RequestRecord(
        merchant_id=command.merchant_id,
        request_id=command.request_id,
        status=RequestStatus.COMPLETED,
        facts=facts,
        response_id=command.response_id,
        usage=command.usage,
        input_cost=command.input_cost,
        output_cost=command.output_cost,
        cost=command.cost,
        charge=charge,
        flags=tuple(flag for flag in Flag if flag in flags),
        hold_id=hold.hold_id if hold is not None else None,
        held=held,
        created_at=seen.created_at if seen else hold.created_at if hold else batch.now,
        ended_at=batch.now,
        fingerprint=command.fingerprint,
    )


def _abandoned(batch: Batch, hold: Hold, *, charged: bool) -> RequestRecord:
    if (hold.merchant_id, hold.request_id) in batch.state.records:
        raise InvariantBroken(f"active hold {hold.hold_id} has a record already")
    facts: CallFacts = hold.facts
    cost = hold.held_by(Role.COST) if charged else 0
    return RequestRecord(
        merchant_id=hold.merchant_id,
        request_id=hold.request_id,
        status=RequestStatus.ERROR,
        facts=facts,
        response_id=None,
        usage=NOTHING,
        input_cost=0,
        output_cost=cost,
        cost=cost,
        charge=Charge(hold.held_by(Role.CHARGE)) if charged else NO_CHARGE,
        flags=(Flag.ABANDONED,),
        hold_id=hold.hold_id,
        held=hold.amount,
        created_at=hold.created_at,
        ended_at=batch.now,
        fingerprint="abandoned",
    )

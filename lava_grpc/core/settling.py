"""Charging what was really used, and ending holds that nobody settled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import structs

from lava_grpc.core import funds, holding
from lava_grpc.core.account import Account
from lava_grpc.core.commands import Expire, Settle, Settled, SettlePart
from lava_grpc.core.errors import InvariantBroken, Reason, Refusal, invalid
from lava_grpc.core.hold import CallFacts, Hold, HoldKind, HoldState, Role
from lava_grpc.core.money import AMOUNT_MAX, Amount, check_amount, check_not_negative, too_large
from lava_grpc.core.pricing import NO_CHARGE, Charge, price
from lava_grpc.core.request_record import Flag, RequestRecord, RequestStatus
from lava_grpc.core.state import TierCounter
from lava_grpc.core.usage import NOTHING

if TYPE_CHECKING:
    from lava_grpc.core.batch import Batch

_FLAGS = tuple(Flag)

# In place of a fingerprint on the records of abandoned calls, which nobody reported.
_ABANDONED = "abandoned"
_ABANDONED_AND_CHARGED = "abandoned and charged"


@dataclass(slots=True)
class _Due:
    """What one part still has to pay, and the counter that it advances."""

    part: SettlePart
    account: Account
    unpaid: Amount
    charge: Charge | None = None
    counter: TierCounter | None = None
    units: int = 0


def settle(batch: Batch, command: Settle) -> Settled:
    """Charge a request once, out of its hold if it has one; see `Settle`."""
    hold = _hold_of(batch, command)
    seen = batch.state.records.get((command.merchant_id, command.request_id))
    if seen is not None and seen.fingerprint != _ABANDONED:
        if hold is not None and seen.fingerprint == _ABANDONED_AND_CHARGED:
            holding.require_active(batch, hold)
        batch.require_same(seen.fingerprint, command.fingerprint, command.request_id)
        return Settled(seen, hold.copy() if hold else None, replayed=True)
    if hold is not None and hold.state in {HoldState.SETTLED, HoldState.RELEASED}:
        holding.require_active(batch, hold)
    dues = _dues(batch, command)
    _check_room(dues, hold, batch)
    flags = set(command.flags)
    charge = _charge(dues)
    if hold is not None:
        flags |= _end_hold(batch, hold, dues)
    flags |= _pay_the_rest(batch, command, dues, hold)
    for due in dues:
        funds.cover_overage(batch, due.account)
        if due.counter is not None:
            due.counter.units += due.units
            batch.touch_counter(due.counter)
    record = _record(batch, command, charge, flags, hold, seen)
    batch.put_record(record)
    return Settled(record, hold.copy() if hold else None)


def expire(batch: Batch, command: Expire) -> Hold:
    """End a hold whose time is up, and list a forwarded call as abandoned."""
    hold = batch.hold(command.merchant_id, command.hold_id)
    if hold.state is not HoldState.ACTIVE or hold.expires_at > batch.now:
        return hold.copy()
    abandoned = hold.kind is HoldKind.FORWARD
    if abandoned:
        batch.put_record(_abandoned(batch, hold, charged=command.charge_abandoned))
    if abandoned and command.charge_abandoned:
        _charge_all(batch, hold)
    else:
        holding.end(batch, hold, HoldState.EXPIRED)
    return hold.copy()


def _charge_all(batch: Batch, hold: Hold) -> None:
    for leg in hold.legs:
        account = batch.account(hold.merchant_id, leg.account_id)
        funds.spend_leg(
            batch, account, leg, leg.amount, request_id=hold.request_id, hold_id=hold.hold_id
        )
    holding.cover_all(batch, hold)
    holding.close(batch, hold, HoldState.EXPIRED)


def _hold_of(batch: Batch, command: Settle) -> Hold | None:
    if command.hold_id is None:
        hold = batch.state.holds_by_request.get((command.merchant_id, command.request_id))
    else:
        hold = batch.hold(command.merchant_id, command.hold_id)
        if hold.request_id != command.request_id:
            raise invalid("request_id", "is not the reservation's")
    if hold is not None and not set(hold.account_ids) <= set(command.account_ids):
        # The caller named another customer than the one whose credit is held.
        raise Refusal(
            Reason.REQUEST_ID_REUSED,
            f"request_id '{command.request_id[:80]}' has a reservation for another customer",
            field="customer_id",
            facts={"request_id": command.request_id, "reservation_id": hold.hold_id},
        )
    return hold


def _dues(batch: Batch, command: Settle) -> list[_Due]:
    batch.require_roles(tuple([part.role for part in command.parts]))
    check_amount(check_not_negative(command.cost, "cost"), "cost")
    return [_due(batch, command, part) for part in command.parts]


def _due(batch: Batch, command: Settle, part: SettlePart) -> _Due:
    account = batch.account(command.merchant_id, part.account_id)
    counter, units = None, 0
    if part.meter is not None:
        counter = batch.counter(account, part.meter.meter_id)
        units = part.meter.units(command.usage)
    if part.amount is not None:
        amount = check_amount(check_not_negative(part.amount, "amount"), "amount")
        charge = Charge(amount) if part.role is Role.CHARGE else None
        return _Due(part, account, amount, charge, counter, units)
    if part.meter is not None and counter is not None:
        charge = price(part.meter, command.usage, cost=command.cost, counted=counter.units)
        return _Due(part, account, charge.amount, charge, counter, units)
    return _Due(part, account, command.cost)


def _charge(dues: list[_Due]) -> Charge:
    """The customer's charge; without a customer, whatever a meter charged."""
    charge = NO_CHARGE
    for due in dues:
        if due.charge is not None and (charge is NO_CHARGE or due.part.role is Role.CHARGE):
            charge = due.charge
    return charge


def _check_room(dues: list[_Due], hold: Hold | None, batch: Batch) -> None:
    """Refuse, before anything changes, what 64 bits could not hold afterwards."""
    running = hold is not None and hold.state is HoldState.ACTIVE and hold.expires_at > batch.now
    past_hold: dict[str, Amount] = {}
    for due in dues:
        extra = due.unpaid
        if running and hold is not None:
            extra -= hold.held_by(due.part.role)
        if extra > 0:
            account = due.account
            past_hold[account.account_id] = past_hold.get(account.account_id, 0) + extra
            if account.credit_taken() + past_hold[account.account_id] > AMOUNT_MAX:
                raise too_large("charge")
        if due.counter is not None and due.counter.units + due.units > AMOUNT_MAX:
            raise invalid("usage", "takes the cycle's counter past 64 bits")


def _end_hold(batch: Batch, hold: Hold, dues: list[_Due]) -> set[Flag]:
    """Pay out of the legs, in order, and give the rest back; a late hold gives all back."""
    if hold.state is HoldState.EXPIRED:
        return {Flag.LATE}
    if hold.expires_at <= batch.now:
        holding.end(batch, hold, HoldState.EXPIRED)
        return {Flag.LATE}
    for leg in hold.legs:
        account = batch.account(hold.merchant_id, leg.account_id)
        spent = 0
        for due in dues:
            if due.part.role is leg.role and due.account is account:
                spent = min(leg.amount, due.unpaid)
                due.unpaid -= spent
        if spent > 0:
            funds.spend_leg(
                batch, account, leg, spent, request_id=hold.request_id, hold_id=hold.hold_id
            )
        if leg.amount > spent:
            funds.give_back(batch, account, leg, leg.amount - spent)
    holding.close(batch, hold, HoldState.SETTLED)
    return {Flag.OVERRUN} if any(due.unpaid > 0 for due in dues) else set()


def _pay_the_rest(batch: Batch, command: Settle, dues: list[_Due], hold: Hold | None) -> set[Flag]:
    """Take what no hold covers: what is free, then overage."""
    flags: set[Flag] = set()
    for due in dues:
        if due.unpaid > 0:
            overdrawn = funds.spend_free(
                batch,
                due.account,
                due.part.role,
                due.unpaid,
                due.part.meter_id,
                request_id=command.request_id,
                hold_id=hold.hold_id if hold is not None else None,
            )
            if overdrawn:
                flags.add(Flag.OVERDRAWN)
    return flags


def _record(
    batch: Batch,
    command: Settle,
    charge: Charge,
    flags: set[Flag],
    hold: Hold | None,
    seen: RequestRecord | None,
) -> RequestRecord:
    return RequestRecord(
        merchant_id=command.merchant_id,
        request_id=command.request_id,
        status=RequestStatus.ERROR if command.failed else RequestStatus.COMPLETED,
        facts=_merged(command.facts, hold),
        response_id=command.response_id,
        usage=command.usage,
        input_cost=command.input_cost,
        output_cost=command.output_cost,
        cost=command.cost,
        charge=charge,
        flags=tuple([flag for flag in _FLAGS if flag in flags]) if flags else (),
        hold_id=hold.hold_id if hold is not None else None,
        held=hold.amount if hold is not None else None,
        created_at=seen.created_at if seen else hold.created_at if hold else batch.now,
        ended_at=batch.now,
        fingerprint=command.fingerprint,
        service_tier=command.service_tier,
    )


def _merged(facts: CallFacts, hold: Hold | None) -> CallFacts:
    """What is said of the call, with the hold's labels beside the report's own."""
    if hold is None or not hold.facts.metadata or hold.facts.metadata == facts.metadata:
        return facts
    merged = dict(hold.facts.metadata) | dict(facts.metadata)
    return structs.replace(facts, metadata=tuple(merged.items()))


def _abandoned(batch: Batch, hold: Hold, *, charged: bool) -> RequestRecord:
    if (hold.merchant_id, hold.request_id) in batch.state.records:
        raise InvariantBroken(f"active hold {hold.hold_id} has a record already")
    cost = hold.held_by(Role.COST) if charged else 0
    return RequestRecord(
        merchant_id=hold.merchant_id,
        request_id=hold.request_id,
        status=RequestStatus.ERROR,
        facts=hold.facts,
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
        # A hold of nothing charged nothing: its usage may still come.
        fingerprint=_ABANDONED_AND_CHARGED if charged and hold.legs else _ABANDONED,
    )

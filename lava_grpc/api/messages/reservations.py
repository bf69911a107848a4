"""Holds as reservations."""

from __future__ import annotations

from functools import lru_cache

from lava.v1 import gateway_service_pb2 as pb
from lava.v1 import reservation_pb2

from lava_grpc.api.messages.enums import HOLD_STATES, read_enum
from lava_grpc.api.messages.times import to_timestamp
from lava_grpc.core.hold import Hold, HoldState, Role
from lava_grpc.core.money import format_amount

# A batch has one instant, and its holds mostly one expiry. Only read: messages copy it.
_timestamp = lru_cache(maxsize=64)(to_timestamp)


def from_hold(hold: Hold) -> reservation_pb2.Reservation:
    """The hold as its caller sees it."""
    charge, cost = 0, 0
    for leg in hold.legs:
        if leg.role is Role.CHARGE:
            charge += leg.amount
        elif leg.role is Role.COST:
            cost += leg.amount
    facts = hold.facts
    return reservation_pb2.Reservation(
        reservation_id=hold.hold_id,
        request_id=hold.request_id,
        state=HOLD_STATES[hold.state],
        customer_id=facts.customer_id,
        meter_id=facts.meter_id,
        amount=format_amount(charge if Role.CHARGE in hold.roles else cost),
        cost_amount=format_amount(cost),
        created_at=_timestamp(hold.created_at),
        expires_at=_timestamp(hold.expires_at),
        ended_at=None if hold.ended_at is None else to_timestamp(hold.ended_at),
        metadata=dict(facts.metadata) if facts.metadata else None,
        affordable_output_tokens=hold.bought.output_tokens if hold.bought else None,
    )


def to_state(request: pb.ListReservationsRequest) -> HoldState | None:
    """The state that a list is restricted to, if any."""
    return read_enum(HOLD_STATES, request.state, "state")

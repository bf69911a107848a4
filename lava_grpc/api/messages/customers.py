"""Customers."""

from __future__ import annotations

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from lava.v1 import customer_pb2
from lava.v1 import customer_service_pb2 as pb

from lava_grpc.api.messages.free_form import from_json, to_json
from lava_grpc.api.messages.times import to_timestamp
from lava_grpc.core.resources import Customer
from lava_grpc.gateway.customers import CHANGEABLE, NewCustomer


def to_customer(request: pb.CreateCustomerRequest) -> NewCustomer:
    """A customer as it is described."""
    return NewCustomer(**{name: _given(request, name) for name in CHANGEABLE})


def to_changes(request: pb.UpdateCustomerRequest) -> dict[str, str | None]:
    """The fields to set: those in the mask, else those that are given. None clears one.

    A name in the mask that is no field that can change is left for the use case to refuse.
    """
    if request.update_mask.paths:
        return {
            name: _given(request, name) if name in CHANGEABLE else None
            for name in request.update_mask.paths
        }
    given = {name: _given(request, name) for name in CHANGEABLE}
    return {name: value for name, value in given.items() if value is not None}


def _given(message: Message, name: str) -> str | None:
    if not message.HasField(name):
        return None
    value: str | Struct = getattr(message, name)
    return to_json(value, name) if isinstance(value, Struct) else value


def from_customer(customer: Customer) -> customer_pb2.Customer:
    """The customer as its merchant sees it."""
    plan = customer.subscription
    return customer_pb2.Customer(
        customer_id=customer.customer_id,
        reference_id=customer.reference_id,
        contact=from_contact(customer),
        subscription=None
        if plan is None
        else customer_pb2.CustomerSubscription(
            subscription_id=plan.subscription_id,
            plan_id=plan.plan_id,
            name=plan.name,
            status="active",
        ),
        metadata=None if customer.metadata is None else from_json(customer.metadata),
        created_at=to_timestamp(customer.created_at),
    )


def from_contact(customer: Customer) -> customer_pb2.Contact:
    """How to reach a customer; the first word of the name counts as the first name."""
    first, _, last = (customer.name or "").strip().partition(" ")
    return customer_pb2.Contact(
        phone=customer.phone or "",
        email=customer.email or "",
        first_name=first,
        last_name=last.strip(),
    )

"""Plans and bundles."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import Message
from lava.v1 import credit_bundle_service_pb2, plan_pb2
from lava.v1 import plan_service_pb2 as pb

from lava_grpc.api.messages.enums import INTERVALS, ROLLOVERS, read_enum
from lava_grpc.api.messages.texts import optional_number
from lava_grpc.api.messages.times import to_timestamp
from lava_grpc.core.money import Amount, format_amount
from lava_grpc.core.plans import Bundle, StoredPlan
from lava_grpc.gateway.plans import CHANGEABLE, BundleText, NewPlan

_ROLLOVERS = ("rollover_type", "bundle_rollover_type")


def to_plan(request: pb.CreatePlanRequest) -> NewPlan:
    """A plan as it is described."""
    return NewPlan(
        name=request.name,
        period_amount=request.period_amount,
        interval=read_enum(INTERVALS, request.billing_interval, "billing_interval"),
        included_credit=_given(request, "included_credit"),
        rollover=read_enum(ROLLOVERS, request.rollover_type, "rollover_type"),
        bundle_rollover=read_enum(ROLLOVERS, request.bundle_rollover_type, "bundle_rollover_type"),
        meters=tuple(request.meter_ids),
        bundles=_to_bundles(request.credit_bundles),
        default_bundle_index=optional_number(request, "default_auto_top_up_bundle_index"),
        overage_limit=_given(request, "overage_limit"),
        top_up_threshold=_given(request, "default_auto_top_up_threshold"),
    )


def to_changes(request: pb.UpdatePlanRequest) -> dict[str, object]:
    """The fields to set: those in the mask, else those that are given. None clears one.

    A name in the mask that is no field that can change is left for the use case to refuse.
    """
    if request.update_mask.paths:
        return {
            name: _change(request, name) if name in CHANGEABLE else None
            for name in request.update_mask.paths
        }
    given = {name: _change(request, name) for name in CHANGEABLE}
    return {name: value for name, value in given.items() if value}


def _change(request: pb.UpdatePlanRequest, name: str) -> object:
    if name == "credit_bundles":
        return _to_bundles(request.credit_bundles)
    if name == "meter_ids":
        return tuple(request.meter_ids)
    if name in _ROLLOVERS:
        found = read_enum(ROLLOVERS, getattr(request, name), name)
        return None if found is None else found.value
    return _given(request, name)


def _to_bundles(inputs: Iterable[plan_pb2.PlanBundleInput]) -> tuple[BundleText, ...]:
    return tuple(
        [
            BundleText(
                credit_bundle_id=_given(entry, "credit_bundle_id"),
                name=_given(entry, "name"),
                cost=_given(entry, "cost"),
                credit_amount=_given(entry, "credit_amount"),
                is_deleted=entry.is_deleted,
            )
            for entry in inputs
        ]
    )


def _given(message: Message, name: str) -> str | None:
    if not message.HasField(name):
        return None
    value: str = getattr(message, name)
    return value


def from_plan(stored: StoredPlan) -> plan_pb2.Plan:
    """The plan as its merchant sees it."""
    plan = stored.plan
    return plan_pb2.Plan(
        plan_id=plan.plan_id,
        merchant_id=plan.merchant_id,
        name=plan.name,
        period_amount=format_amount(plan.period_amount),
        included_credit=format_amount(plan.included_credit),
        billing_interval=INTERVALS[plan.interval],
        rollover_type=ROLLOVERS[plan.rollover],
        bundle_rollover_type=ROLLOVERS[plan.bundle_rollover],
        default_auto_top_up_bundle_id=plan.default_bundle_id,
        linked_meters=[
            plan_pb2.LinkedMeter(meter_id=meter_id, name=name)
            for meter_id, name in stored.linked_meters
        ],
        credit_bundles=[
            plan_pb2.PlanBundle(
                credit_bundle_id=bundle.credit_bundle_id,
                name=bundle.name,
                cost=format_amount(bundle.cost),
                credit_amount=format_amount(bundle.credit_amount),
            )
            for bundle in stored.bundles
        ],
        created_at=to_timestamp(plan.created_at),
        overage_limit=amount_or_none(plan.overage_limit),
        is_default=plan.is_default,
        default_auto_top_up_threshold=amount_or_none(plan.auto_top_up_threshold),
    )


def from_bundle(bundle: Bundle) -> credit_bundle_service_pb2.CreditBundle:
    """A bundle by itself."""
    return credit_bundle_service_pb2.CreditBundle(
        credit_bundle_id=bundle.credit_bundle_id,
        plan_id=bundle.plan_id,
        name=bundle.name,
        cost=format_amount(bundle.cost),
        credit_amount=format_amount(bundle.credit_amount),
        created_at=to_timestamp(bundle.created_at),
    )


def amount_or_none(amount: Amount | None) -> str | None:
    """An amount that may be absent."""
    return None if amount is None else format_amount(amount)

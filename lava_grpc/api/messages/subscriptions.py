"""Subscriptions."""

from __future__ import annotations

from lava.v1 import subscription_pb2 as pb

from lava_grpc.api.messages.customers import from_contact
from lava_grpc.api.messages.enums import INTERVALS, PENDING_KINDS, ROLLOVERS, SUBSCRIPTION_STATUSES
from lava_grpc.api.messages.plans import amount_or_none
from lava_grpc.api.messages.times import to_timestamp
from lava_grpc.core.money import format_amount
from lava_grpc.core.plans import Enrolment, PendingKind, Plan, SubscriptionStatus
from lava_grpc.gateway.subscriptions import SubscriptionView


def from_subscription(view: SubscriptionView, *, listed: bool = False) -> pb.Subscription:
    """The subscription as its merchant sees it; lists tell the customer too."""
    enrolled, found = view.enrolment, view.enrolment.subscription
    contact = from_contact(view.customer) if listed and view.customer is not None else None
    return pb.Subscription(
        subscription_id=found.subscription_id,
        plan_id=found.plan_id,
        status=SUBSCRIPTION_STATUSES[found.status],
        auto_top_up_bundle_id=found.auto_top_up_bundle_id,
        started_at=to_timestamp(found.started_at),
        cancelled_at=None if found.cancelled_at is None else to_timestamp(found.cancelled_at),
        cycle_start_at=to_timestamp(found.cycle_start),
        cycle_end_at=to_timestamp(found.cycle_end),
        plan=_plan(enrolled.plan),
        credits=pb.SubscriptionCredits(
            total_remaining=format_amount(view.cycle_remaining + view.other_remaining),
            cycle_remaining=format_amount(view.cycle_remaining),
            bundle_remaining=format_amount(view.other_remaining),
        ),
        pending_change=_pending(enrolled),
        customer_id=found.customer_id if listed else None,
        customer=contact,
        auto_top_up_threshold=amount_or_none(found.auto_top_up_threshold),
        payment_method_id=found.payment_method_id,
        unpaid_payment_id=found.payment_id if found.unpaid else None,
    )


def _plan(plan: Plan) -> pb.SubscriptionPlan:
    return pb.SubscriptionPlan(
        name=plan.name,
        period_amount=format_amount(plan.period_amount),
        included_credit=format_amount(plan.included_credit),
        billing_interval=INTERVALS[plan.interval],
        rollover_type=ROLLOVERS[plan.rollover],
        bundle_rollover_type=ROLLOVERS[plan.bundle_rollover],
    )


def _pending(enrolled: Enrolment) -> pb.PendingChange | None:
    found = enrolled.subscription
    if found.status is SubscriptionStatus.CANCELLED:
        return None
    kind = found.pending
    if kind is None and enrolled.plan.deleted_at is not None:
        # A deleted plan's subscribers keep it until their cycle ends.
        kind = PendingKind.CANCELLATION
    if kind is None:
        return None
    plan = enrolled.pending_plan if kind is PendingKind.DOWNGRADE else None
    return pb.PendingChange(
        type=PENDING_KINDS[kind],
        effective_at=to_timestamp(found.cycle_end),
        plan_id=plan.plan_id if plan else None,
        name=plan.name if plan else None,
        period_amount=format_amount(plan.period_amount) if plan else None,
        included_credit=format_amount(plan.included_credit) if plan else None,
    )

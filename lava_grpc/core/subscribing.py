"""Beginning, renewing, changing and ending subscriptions.

Each cycle's credit is a grant that expires when the cycle ends, or with rollover
is added to the one grant that there is: a change of the plan's rollover counts
from the next cycle on, and an upgrade takes nothing away. Cycles that nobody
noticed are applied in order, each as of its own beginning, so that a customer who
comes back after a year finds what a renewal in time would have left. Where a
payment provider is asked for a cycle's price, nobody pays for a cycle that was
over before it was noticed, and it brings nothing: the present one is next.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lava_grpc.core import billing, cycle_credit, funds
from lava_grpc.core.account import Account
from lava_grpc.core.commands import ChangeSubscription, RenewCycles, Subscribe
from lava_grpc.core.errors import InvariantBroken, not_found
from lava_grpc.core.plans import (
    Enrolment,
    PendingKind,
    Plan,
    Subscription,
    SubscriptionStatus,
)
from lava_grpc.core.time import Instant

if TYPE_CHECKING:
    from lava_grpc.core.batch import Batch

CYCLES_MAX = 500
"""How many missed cycles one command makes up for; a further one goes on from there."""

_SUBSCRIPTION = "sub_"


def renew(batch: Batch, command: RenewCycles) -> Account:
    """Bring an account to its present cycle; one that is there already stays as it is."""
    account = batch.state.accounts.get((command.merchant_id, command.account_id))
    if account is None:
        raise not_found("customer", command.account_id, field="customer_id")
    for _ in range(CYCLES_MAX):
        if account.cycle_end is None or account.cycle_end > batch.now:
            break
        _end_cycle(batch, account, account.cycle_end)
        funds.expire_overdue_grants(batch, account)
        account.grants = [grant for grant in account.grants if grant.live]
    funds.expire_overdue_grants(batch, account)
    batch.note_due(account)
    return account


def subscribe(batch: Batch, command: Subscribe) -> Enrolment:
    """Put a customer on a plan: at once, or at the cycle's end if that is a downgrade.

    On the plan that the customer has, whatever was to come at the cycle's end is dropped.
    One that is charged goes on being charged, by another payment method if one is named.
    """
    account = batch.open_account(command.merchant_id, command.account_id)
    plan = command.plan
    enrolled = batch.enrolment(account)
    if enrolled is not None:
        current = _paid_by(enrolled.subscription, command)
        if plan.plan_id == current.plan_id:
            kept = replace(current, pending=None, pending_plan_id=None)
            return _put(batch, account, replace(enrolled, subscription=kept, pending_plan=None))
        if not plan.above(enrolled.plan):
            waits = replace(current, pending=PendingKind.DOWNGRADE, pending_plan_id=plan.plan_id)
            return _put(batch, account, replace(enrolled, subscription=waits, pending_plan=plan))
    begun = started(account, enrolled, command.subscription_id, plan, batch.now)
    terms = replace(
        begun.subscription,
        payment_provider=command.payment_provider,
        payment_method_id=command.payment_method_id,
        payment_id=None,
        unpaid=False,
    )
    return begin(batch, account, replace(begun, subscription=terms), batch.now)


def change(batch: Batch, command: ChangeSubscription) -> Enrolment:
    """Cancel at the cycle's end, or change auto top-up."""
    account = batch.account(command.merchant_id, command.account_id)
    enrolled = batch.enrolment(account)
    if enrolled is None or enrolled.subscription.subscription_id != command.subscription_id:
        raise not_found("subscription", command.subscription_id, field="subscription_id")
    changed = enrolled.subscription
    if command.cancel:
        changed = replace(changed, pending=PendingKind.CANCELLATION, pending_plan_id=None)
    if command.sets_auto_top_up:
        changed = replace(changed, auto_top_up_bundle_id=command.auto_top_up_bundle_id)
    if command.sets_threshold:
        changed = replace(changed, auto_top_up_threshold=command.auto_top_up_threshold)
    if changed.low_mark != enrolled.subscription.low_mark:
        batch.put_cycle(account, changed.low_mark)
    return _put(batch, account, replace(enrolled, subscription=changed))


def started(
    account: Account, enrolled: Enrolment | None, ident: str, plan: Plan, at: Instant
) -> Enrolment:
    """A plan's first cycle from `at`, `begin` not yet done: in the customer's subscription.

    One without gets a new one with the id `ident`.
    """
    if enrolled is None:
        return Enrolment(_fresh(account, ident, plan, at), plan, None, None)
    return _moved(enrolled, plan, at, anchor=at)


def begin(batch: Batch, account: Account, enrolled: Enrolment, at: Instant) -> Enrolment:
    """Begin the subscription's present cycle: its bounds, its overage limit, its credit if paid."""
    plan = enrolled.plan
    begun = replace(
        enrolled.subscription, cycle_end=enrolled.subscription.ends_after(plan.interval)
    )
    account.cycle_start, account.cycle_end = at, begun.cycle_end
    account.limit_to(plan.overage_limit)
    batch.put_cycle(account, begun.low_mark)
    if not begun.unpaid:
        cycle_credit.give(batch, account, begun, plan)
        funds.cover_overage(batch, account, at=at)
    return _put(batch, account, replace(enrolled, subscription=begun))


def cancel(batch: Batch, account: Account, enrolled: Enrolment, at: Instant) -> None:
    """End the subscription. The customer is then on the default plan, unless that is what ends."""
    current, default = enrolled.subscription, enrolled.default_plan
    over = replace(
        current,
        status=SubscriptionStatus.CANCELLED,
        cancelled_at=at,
        pending=None,
        pending_plan_id=None,
    )
    batch.end_enrolment(account, over)
    billing.charge_last(batch, account, current, at)
    if account.closed or default is None or enrolled.plan.is_default:
        account.cycle_start = account.cycle_end = None
        account.limit_to(None)
        batch.put_cycle(account, None)
        return
    ident = cycle_credit.derived_id(_SUBSCRIPTION, current, at)
    fresh = Enrolment(_fresh(account, ident, default, at), default, None, default)
    begin(batch, account, fresh, at)


def _end_cycle(batch: Batch, account: Account, end: Instant) -> None:
    """What follows a cycle: the next one, one on another plan, or none."""
    enrolled = batch.enrolment(account)
    if enrolled is None:
        raise InvariantBroken(f"account {account.account_id} has a cycle and no subscription")
    current, wanted = enrolled.subscription, enrolled.pending_plan
    downgrade = current.pending is PendingKind.DOWNGRADE
    if downgrade and wanted is not None and wanted.deleted_at is None:
        anchor = None if wanted.interval is enrolled.plan.interval else end
        _follow(batch, account, _moved(enrolled, wanted, end, anchor=anchor), moved=True)
    elif current.pending is not None or enrolled.plan.deleted_at is not None or account.closed:
        cancel(batch, account, enrolled, end)
    else:
        nth = replace(current, cycle=current.cycle + 1, cycle_start=end)
        _follow(batch, account, replace(enrolled, subscription=nth), moved=False)


def _follow(batch: Batch, account: Account, enrolled: Enrolment, *, moved: bool) -> None:
    """The next cycle; where it is charged, the present one, once that is paid."""
    begun = enrolled.subscription
    if begun.charged:
        begun = _present(begun, enrolled.plan, batch.now)
        # Credit of the cycles that were passed over has had its time.
        funds.expire_overdue_grants(batch, account)
        if moved or not begun.unpaid:
            begun = billing.charge_cycle(batch, account, begun, enrolled.plan)
    begin(batch, account, replace(enrolled, subscription=begun), begun.cycle_start)


def _present(begun: Subscription, plan: Plan, now: Instant) -> Subscription:
    """The subscription in the cycle that now is in."""
    while (end := begun.ends_after(plan.interval)) <= now:
        begun = replace(begun, cycle=begun.cycle + 1, cycle_start=end)
    return begun


def _fresh(account: Account, ident: str, plan: Plan, at: Instant) -> Subscription:
    return Subscription(
        merchant_id=account.merchant_id,
        subscription_id=ident,
        customer_id=account.account_id,
        plan_id=plan.plan_id,
        status=SubscriptionStatus.ACTIVE,
        auto_top_up_bundle_id=plan.default_bundle_id,
        anchor=at,
        anchor_cycle=1,
        cycle=1,
        cycle_start=at,
        cycle_end=at,
        started_at=at,
        auto_top_up_threshold=plan.auto_top_up_threshold,
    )


def _moved(enrolled: Enrolment, plan: Plan, at: Instant, *, anchor: Instant | None) -> Enrolment:
    """The next cycle on another plan, counted from a new anchor if one is given."""
    current = enrolled.subscription
    number = current.cycle + 1
    moved = replace(
        current,
        plan_id=plan.plan_id,
        auto_top_up_bundle_id=plan.default_bundle_id,
        auto_top_up_threshold=plan.auto_top_up_threshold,
        anchor=current.anchor if anchor is None else anchor,
        anchor_cycle=current.anchor_cycle if anchor is None else number,
        cycle=number,
        cycle_start=at,
        pending=None,
        pending_plan_id=None,
    )
    return replace(enrolled, subscription=moved, plan=plan, pending_plan=None)


def _paid_by(current: Subscription, command: Subscribe) -> Subscription:
    if command.payment_method_id is None or not current.charged:
        return current
    return replace(
        current,
        payment_provider=command.payment_provider,
        payment_method_id=command.payment_method_id,
    )


def _put(batch: Batch, account: Account, enrolled: Enrolment) -> Enrolment:
    batch.put_enrolment(account, enrolled)
    return enrolled

"""Beginning, renewing, changing and ending subscriptions.

Each cycle's credit is a grant of its own. Without rollover it expires when the
cycle ends, like any grant that has an expiry: a change of the plan's rollover
counts from the next cycle on, and an upgrade takes nothing away. Cycles that
nobody noticed are applied in order, each as of its own beginning, so that a
customer who comes back after a year finds what a renewal in time would have left.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING

from lava_grpc.core import funds
from lava_grpc.core.account import DEFAULT_PRIORITY, Account, Grant, GrantSource
from lava_grpc.core.commands import ChangeSubscription, RenewCycles, Subscribe
from lava_grpc.core.errors import InvariantBroken, not_found
from lava_grpc.core.ids import encode_ulid
from lava_grpc.core.money import AMOUNT_MAX
from lava_grpc.core.plans import (
    Enrolment,
    PendingKind,
    Plan,
    Rollover,
    Subscription,
    SubscriptionStatus,
)
from lava_grpc.core.time import Instant

if TYPE_CHECKING:
    from lava_grpc.core.batch import Batch

CYCLES_MAX = 500
"""How many missed cycles one command makes up for; a further one goes on from there."""

_SUBSCRIPTION, _GRANT = "sub_", "grt_"
_TEST = "test_"
_RANDOM_BYTES = 10


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
    """
    account = batch.open_account(command.merchant_id, command.account_id)
    plan = command.plan
    enrolled = batch.enrolment(account)
    if enrolled is None:
        fresh = _fresh(account, command.subscription_id, plan, batch.now)
        begun = Enrolment(fresh, plan, None, None)
        return _begin(batch, account, begun, batch.now)
    current = enrolled.subscription
    if plan.plan_id == current.plan_id:
        kept = replace(current, pending=None, pending_plan_id=None)
        return _put(batch, account, replace(enrolled, subscription=kept, pending_plan=None))
    if not plan.above(enrolled.plan):
        waits = replace(current, pending=PendingKind.DOWNGRADE, pending_plan_id=plan.plan_id)
        return _put(batch, account, replace(enrolled, subscription=waits, pending_plan=plan))
    moved = _moved(enrolled, plan, batch.now, anchor=batch.now)
    return _begin(batch, account, moved, batch.now, after=enrolled.plan)


def change(batch: Batch, command: ChangeSubscription) -> Enrolment:
    """Cancel at the cycle's end, or set what auto top-up buys."""
    account = batch.account(command.merchant_id, command.account_id)
    enrolled = batch.enrolment(account)
    if enrolled is None or enrolled.subscription.subscription_id != command.subscription_id:
        raise not_found("subscription", command.subscription_id, field="subscription_id")
    changed = enrolled.subscription
    if command.cancel:
        changed = replace(changed, pending=PendingKind.CANCELLATION, pending_plan_id=None)
    if command.sets_auto_top_up:
        changed = replace(changed, auto_top_up_bundle_id=command.auto_top_up_bundle_id)
    return _put(batch, account, replace(enrolled, subscription=changed))


def _end_cycle(batch: Batch, account: Account, end: Instant) -> None:
    """What follows a cycle: the next one, one on another plan, or none."""
    enrolled = batch.enrolment(account)
    if enrolled is None:
        raise InvariantBroken(f"account {account.account_id} has a cycle and no subscription")
    current, wanted = enrolled.subscription, enrolled.pending_plan
    downgrade = current.pending is PendingKind.DOWNGRADE
    if downgrade and wanted is not None and wanted.deleted_at is None:
        anchor = None if wanted.interval is enrolled.plan.interval else end
        moved = _moved(enrolled, wanted, end, anchor=anchor)
        _begin(batch, account, moved, end, after=enrolled.plan)
    elif current.pending is not None or enrolled.plan.deleted_at is not None or account.closed:
        _cancel(batch, account, enrolled, end)
    else:
        nth = replace(current, cycle=current.cycle + 1, cycle_start=end)
        _begin(batch, account, replace(enrolled, subscription=nth), end)


def _cancel(batch: Batch, account: Account, enrolled: Enrolment, at: Instant) -> None:
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
    if account.closed or default is None or enrolled.plan.is_default:
        account.cycle_start = account.cycle_end = None
        _set_limit(account, None, enrolled.plan)
        batch.put_cycle(account)
        return
    ident = _derived(_SUBSCRIPTION, current.subscription_id, current.cycle, at)
    fresh = Enrolment(_fresh(account, ident, default, at), default, None, default)
    _begin(batch, account, fresh, at, after=enrolled.plan)


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
    )


def _moved(enrolled: Enrolment, plan: Plan, at: Instant, *, anchor: Instant | None) -> Enrolment:
    """The next cycle on another plan, counted from a new anchor if one is given."""
    current = enrolled.subscription
    number = current.cycle + 1
    moved = replace(
        current,
        plan_id=plan.plan_id,
        auto_top_up_bundle_id=plan.default_bundle_id,
        anchor=current.anchor if anchor is None else anchor,
        anchor_cycle=current.anchor_cycle if anchor is None else number,
        cycle=number,
        cycle_start=at,
        pending=None,
        pending_plan_id=None,
    )
    return replace(enrolled, subscription=moved, plan=plan, pending_plan=None)


def _begin(
    batch: Batch, account: Account, enrolled: Enrolment, at: Instant, *, after: Plan | None = None
) -> Enrolment:
    """Begin the subscription's present cycle: its bounds, its credit, its overage limit."""
    plan = enrolled.plan
    begun = replace(
        enrolled.subscription, cycle_end=enrolled.subscription.ends_after(plan.interval)
    )
    account.cycle_start, account.cycle_end = at, begun.cycle_end
    _set_limit(account, plan, after)
    batch.put_cycle(account)
    grant = _credit(batch, account, begun, plan)
    if grant is not None:
        funds.add_grant(batch, account, grant)
        funds.cover_overage(batch, account, at=at)
    return _put(batch, account, replace(enrolled, subscription=begun))


def _set_limit(account: Account, plan: Plan | None, after: Plan | None) -> None:
    """A plan with an overage limit sets the account's; leaving such a plan ends it."""
    if plan is not None and plan.overage_limit is not None:
        account.credit_limit = plan.overage_limit
    elif after is not None and after.overage_limit is not None:
        account.credit_limit = 0


def _credit(batch: Batch, account: Account, begun: Subscription, plan: Plan) -> Grant | None:
    # What was granted in all must stay within 64 bits: past that there is no more.
    amount = min(plan.included_credit, AMOUNT_MAX - account.granted())
    if amount <= 0:
        return None
    return Grant(
        merchant_id=account.merchant_id,
        account_id=account.account_id,
        grant_id=_derived(_GRANT, begun.subscription_id, begun.cycle, begun.cycle_start),
        source=GrantSource.PLAN_CYCLE,
        priority=DEFAULT_PRIORITY[GrantSource.PLAN_CYCLE],
        amount=amount,
        remaining=amount,
        held=0,
        burned=0,
        expired=0,
        meter_ids=plan.meter_ids,
        expires_at=begun.cycle_end if plan.rollover is Rollover.NONE else None,
        created_at=batch.now,
        # Unique: a cycle whose credit was granted cannot be granted it again.
        request_id=f"{begun.subscription_id}/{begun.cycle}",
        fingerprint="cycle",
    )


def _put(batch: Batch, account: Account, enrolled: Enrolment) -> Enrolment:
    batch.put_enrolment(account, enrolled)
    return enrolled


def _derived(prefix: str, subscription_id: str, cycle: int, at: Instant) -> str:
    """An id that is the same whenever it is made, in the subscription's mode, sorted by time."""
    mode = _TEST if subscription_id.startswith(_SUBSCRIPTION + _TEST) else ""
    digest = blake2b(f"{subscription_id}/{cycle}".encode(), digest_size=_RANDOM_BYTES).digest()
    return f"{prefix}{mode}{encode_ulid(at // 1000, int.from_bytes(digest))}"

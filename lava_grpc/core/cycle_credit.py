"""The credit that a cycle brings."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from lava_grpc.core import funds
from lava_grpc.core.account import DEFAULT_PRIORITY, Account, Grant, GrantSource
from lava_grpc.core.ids import encode_ulid
from lava_grpc.core.money import AMOUNT_MAX, Amount
from lava_grpc.core.plans import Plan, Rollover, Subscription
from lava_grpc.core.time import Instant

if TYPE_CHECKING:
    from lava_grpc.core.batch import Batch

_GRANT = "grt_"
_TEST, _TEST_SUBSCRIPTION = "test_", "sub_test_"
_RANDOM_BYTES = 10


def give(batch: Batch, account: Account, begun: Subscription, plan: Plan) -> None:
    """Put the present cycle's credit on the account. The caller covers overage.

    With rollover it is added to what rolled over, so that an account has one grant
    of it however many cycles pass.
    """
    # What was granted in all must stay within 64 bits: past that there is no more.
    amount = min(plan.included_credit, AMOUNT_MAX - account.granted())
    if amount <= 0:
        return
    kept = _rolled_over(account, plan, amount) if plan.rollover is Rollover.FULL else None
    if kept is None:
        funds.add_grant(batch, account, _grant(batch, account, begun, plan, amount))
    else:
        funds.grow_grant(batch, account, kept, amount, request_id=_request_id(begun))


def derived_id(prefix: str, subscription: Subscription, at: Instant, purpose: str = "") -> str:
    """An id for something of the subscription's cycle that is the same whenever it is made.

    In the subscription's mode, sorted by time.
    """
    ident = subscription.subscription_id
    mode = _TEST if ident.startswith(_TEST_SUBSCRIPTION) else ""
    named = f"{ident}/{subscription.cycle}{purpose}"
    digest = blake2b(named.encode(), digest_size=_RANDOM_BYTES).digest()
    return f"{prefix}{mode}{encode_ulid(at // 1000, int.from_bytes(digest))}"


def _rolled_over(account: Account, plan: Plan, amount: Amount) -> Grant | None:
    """The live grant that a cycle's credit may join: spent on the same meters, never expiring."""
    for grant in account.grants:
        if (
            grant.source is GrantSource.PLAN_CYCLE
            and grant.expires_at is None
            and grant.meter_ids == plan.meter_ids
            and grant.live
            and grant.amount <= AMOUNT_MAX - amount
        ):
            return grant
    return None


def _request_id(begun: Subscription) -> str:
    return f"{begun.subscription_id}/{begun.cycle}"


def _grant(
    batch: Batch, account: Account, begun: Subscription, plan: Plan, amount: Amount
) -> Grant:
    return Grant(
        merchant_id=account.merchant_id,
        account_id=account.account_id,
        grant_id=derived_id(_GRANT, begun, begun.cycle_start),
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
        request_id=_request_id(begun),
        fingerprint="cycle",
    )

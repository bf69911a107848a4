"""What a subscription's payment provider is to be asked for.

The payment is written with the cycle that it is for, in one transaction, so that none
is forgotten and none is made twice; whoever finds it there asks the provider.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lava_grpc.core.account import Account
from lava_grpc.core.cycle_credit import derived_id
from lava_grpc.core.errors import InvariantBroken
from lava_grpc.core.money import AMOUNT_MAX, Amount
from lava_grpc.core.payments import Payment, PaymentKind, PaymentState
from lava_grpc.core.plans import Plan, Subscription
from lava_grpc.core.time import Instant

if TYPE_CHECKING:
    from lava_grpc.core.batch import Batch

_PAYMENT = "pay_"


def charge_cycle(batch: Batch, account: Account, begun: Subscription, plan: Plan) -> Subscription:
    """Ask for a cycle's price and for the overage of the one before; unpaid if that is anything."""
    owed = min(max(0, account.overage()), AMOUNT_MAX - plan.period_amount)
    if plan.period_amount + owed == 0:
        return replace(begun, payment_id=None, unpaid=False)
    payment = _payment(
        batch,
        begun,
        derived_id(_PAYMENT, begun, begun.cycle_start, "/payment"),
        PaymentKind.RENEWAL,
        amount=plan.period_amount + owed,
        credit_amount=owed,
    )
    return replace(begun, payment_id=payment.payment_id, unpaid=True)


def charge_last(batch: Batch, account: Account, over: Subscription, at: Instant) -> None:
    """Ask for the overage of a subscription's last cycle; an unpaid one's stays on the account."""
    owed = account.overage()
    if over.charged and not over.unpaid and owed > 0 and not account.closed:
        ident = derived_id(_PAYMENT, over, at, "/overage")
        _payment(batch, over, ident, PaymentKind.OVERAGE, amount=owed, credit_amount=owed)


def _payment(
    batch: Batch,
    of: Subscription,
    ident: str,
    kind: PaymentKind,
    *,
    amount: Amount,
    credit_amount: Amount,
) -> Payment:
    if of.payment_provider is None:
        raise InvariantBroken(f"subscription {of.subscription_id} is not charged anywhere")
    payment = Payment(
        merchant_id=of.merchant_id,
        payment_id=ident,
        account_id=of.customer_id,
        kind=kind,
        provider=of.payment_provider,
        payment_method_id=of.payment_method_id,
        credit_bundle_id=None,
        amount=amount,
        credit_amount=credit_amount,
        state=PaymentState.OPEN,
        reason=None,
        attempts=0,
        due_at=batch.now,
        created_at=batch.now,
        plan_id=of.plan_id,
    )
    batch.add_payment(payment)
    return payment

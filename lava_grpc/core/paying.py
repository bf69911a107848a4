"""What follows when a payment for a plan was paid, or was declined for good."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lava_grpc.core import cycle_credit, funds, subscribing
from lava_grpc.core.account import DEFAULT_PRIORITY, Account, Grant, GrantSource
from lava_grpc.core.commands import GiveUp, HandOut
from lava_grpc.core.money import AMOUNT_MAX, Amount, too_large
from lava_grpc.core.payments import Payment, PaymentKind, PaymentState
from lava_grpc.core.plans import Enrolment

if TYPE_CHECKING:
    from lava_grpc.core.batch import Batch

_PAYMENT, _GRANT = "pay_", "grt_"


def hand_out(batch: Batch, command: HandOut) -> Payment:
    """Give what was paid for: a plan's cycle and its overage, or where that has passed, credit.

    Nothing that a customer paid is lost: what a payment no longer buys it brings as credit.
    """
    payment = batch.payment(command.merchant_id, command.payment_id)
    if payment.state is not PaymentState.PAID:
        return payment
    account = batch.open_account(command.merchant_id, command.account_id)
    enrolled = batch.enrolment(account)
    if payment.kind is PaymentKind.SUBSCRIPTION and command.plan is not None:
        _credit(batch, account, payment, payment.credit_amount)
        begun = subscribing.started(
            account, enrolled, command.subscription_id, command.plan, batch.now
        )
        _begin(batch, account, begun, payment)
    elif enrolled is not None and _awaits(enrolled, payment):
        _credit(batch, account, payment, payment.credit_amount)
        paid = replace(enrolled.subscription, unpaid=False)
        cycle_credit.give(batch, account, paid, enrolled.plan)
        batch.put_enrolment(account, replace(enrolled, subscription=paid))
    else:
        _credit(batch, account, payment, payment.amount)
    funds.cover_overage(batch, account)
    return _end(batch, payment, PaymentState.SUCCEEDED, None)


def give_up(batch: Batch, command: GiveUp) -> Payment:
    """Decline for good; the subscription that waits for the payment is cancelled at once."""
    payment = batch.payment(command.merchant_id, command.payment_id)
    if payment.state is not PaymentState.OPEN:
        return payment
    account = batch.account(command.merchant_id, command.account_id)
    enrolled = batch.enrolment(account)
    if enrolled is not None and _awaits(enrolled, payment):
        subscribing.cancel(batch, account, enrolled, batch.now)
    return _end(batch, payment, PaymentState.DECLINED, command.reason)


def _awaits(enrolled: Enrolment, payment: Payment) -> bool:
    waits = enrolled.subscription
    return waits.unpaid and waits.payment_id == payment.payment_id


def _begin(batch: Batch, account: Account, begun: Enrolment, payment: Payment) -> None:
    terms = replace(
        begun.subscription,
        payment_provider=payment.provider,
        payment_method_id=payment.payment_method_id,
        payment_id=payment.payment_id,
        unpaid=False,
    )
    subscribing.begin(batch, account, replace(begun, subscription=terms), batch.now)


def _credit(batch: Batch, account: Account, payment: Payment, amount: Amount) -> None:
    """Credit that the payment bought; the caller covers overage."""
    if amount <= 0:
        return
    if account.granted() + amount > AMOUNT_MAX:
        raise too_large("amount")
    grant = Grant(
        merchant_id=account.merchant_id,
        account_id=account.account_id,
        # One grant for each payment: its id is the payment's with another prefix.
        grant_id=_GRANT + payment.payment_id.removeprefix(_PAYMENT),
        source=GrantSource.TOP_UP,
        priority=DEFAULT_PRIORITY[GrantSource.TOP_UP],
        amount=amount,
        remaining=amount,
        held=0,
        burned=0,
        expired=0,
        meter_ids=None,
        expires_at=None,
        created_at=batch.now,
        request_id=payment.payment_id,
        fingerprint="payment",
    )
    funds.add_grant(batch, account, grant)
    funds.cover_overage(batch, account)


def _end(batch: Batch, payment: Payment, state: PaymentState, reason: str | None) -> Payment:
    ended = replace(payment, state=state, reason=reason, due_at=None, ended_at=batch.now)
    batch.end_payment(ended)
    return ended

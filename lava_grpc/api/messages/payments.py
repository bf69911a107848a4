"""Payments."""

from __future__ import annotations

from types import MappingProxyType

from lava.v1 import payment_service_pb2 as pb

from lava_grpc.api.messages.times import to_timestamp
from lava_grpc.core.money import format_amount
from lava_grpc.core.payments import Payment, PaymentKind, PaymentMethod, PaymentState
from lava_grpc.gateway.payments import Funded

KINDS = MappingProxyType(
    {
        PaymentKind.AUTO_TOP_UP: pb.PAYMENT_KIND_AUTO_TOP_UP,
        PaymentKind.BUNDLE: pb.PAYMENT_KIND_BUNDLE,
        PaymentKind.FUND: pb.PAYMENT_KIND_FUND,
        PaymentKind.SUBSCRIPTION: pb.PAYMENT_KIND_SUBSCRIPTION,
        PaymentKind.RENEWAL: pb.PAYMENT_KIND_RENEWAL,
        PaymentKind.OVERAGE: pb.PAYMENT_KIND_OVERAGE,
    }
)
STATES = MappingProxyType(
    {
        PaymentState.OPEN: pb.PAYMENT_STATE_OPEN,
        PaymentState.SUCCEEDED: pb.PAYMENT_STATE_SUCCEEDED,
        PaymentState.DECLINED: pb.PAYMENT_STATE_DECLINED,
    }
)


def from_payment(payment: Payment) -> pb.Payment:
    """The payment as its merchant sees it; what is paid and not granted yet is open."""
    mine = payment.account_id == payment.merchant_id
    return pb.Payment(
        payment_id=payment.payment_id,
        customer_id=None if mine else payment.account_id,
        kind=KINDS[payment.kind],
        provider=payment.provider,
        credit_bundle_id=payment.credit_bundle_id,
        amount=format_amount(payment.amount),
        credit_amount=format_amount(payment.credit_amount),
        state=STATES.get(payment.state, pb.PAYMENT_STATE_OPEN),
        reason=payment.reason,
        created_at=to_timestamp(payment.created_at),
        ended_at=None if payment.ended_at is None else to_timestamp(payment.ended_at),
        plan_id=payment.plan_id,
        request_id=payment.request_id,
    )


def from_funded(funded: Funded) -> pb.FundWalletResponse:
    """How the funding stands."""
    done = funded.payment.state is PaymentState.SUCCEEDED
    return pb.FundWalletResponse(
        status=pb.FUNDING_STATUS_COMPLETED if done else pb.FUNDING_STATUS_REQUIRES_ACTION,
        payment_id=funded.payment.payment_id,
        balance=None if funded.balance is None else format_amount(funded.balance),
    )


def from_method(method: PaymentMethod) -> pb.PaymentMethod:
    """A way to pay."""
    return pb.PaymentMethod(
        payment_method_id=method.payment_method_id,
        last4=method.last4,
        expiry_month=method.expiry_month,
        expiry_year=method.expiry_year,
        brand=method.brand,
        is_default=method.is_default,
    )

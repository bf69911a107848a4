"""Credit grants and balances."""

from __future__ import annotations

from lava.v1 import credit_pb2
from lava.v1 import credit_service_pb2 as pb

from lava_grpc.api.messages.authorize import amount_or_unlimited
from lava_grpc.api.messages.enums import GRANT_SOURCES, read_enum
from lava_grpc.api.messages.texts import optional_id, optional_number, optional_text
from lava_grpc.api.messages.times import to_instant, to_timestamp
from lava_grpc.core.account import Grant, GrantSource
from lava_grpc.core.money import format_amount
from lava_grpc.gateway.credit import BalanceView, NewGrant


def to_grant(request: pb.CreateCreditGrantRequest) -> NewGrant:
    """Credit as it is described."""
    expires = request.HasField("expires_at")
    return NewGrant(
        customer=optional_text(request, "customer_id"),
        amount=request.amount,
        source=read_enum(GRANT_SOURCES, request.source, "source") or GrantSource.TOP_UP,
        priority=optional_number(request, "priority"),
        expires_at=to_instant(request.expires_at, "expires_at") if expires else None,
        meters=tuple(request.meter_ids),
        request_id=optional_id(request),
    )


def from_grant(grant: Grant) -> credit_pb2.CreditGrant:
    """The grant as its merchant sees it."""
    return credit_pb2.CreditGrant(
        grant_id=grant.grant_id,
        customer_id=_customer_id(grant.account_id, grant.merchant_id),
        source=GRANT_SOURCES[grant.source],
        priority=grant.priority,
        amount=format_amount(grant.amount),
        remaining=format_amount(grant.remaining),
        held=format_amount(grant.held),
        burned=format_amount(grant.burned),
        expired=format_amount(grant.expired),
        meter_ids=grant.meter_ids or (),
        expires_at=None if grant.expires_at is None else to_timestamp(grant.expires_at),
        created_at=to_timestamp(grant.created_at),
    )


def from_balance(view: BalanceView) -> credit_pb2.Balance:
    """A customer's balance."""
    return credit_pb2.Balance(
        customer_id=view.account_id,
        balance=format_amount(view.balance),
        held=format_amount(view.held),
        available=amount_or_unlimited(view.available),
        credit_limit=amount_or_unlimited(view.credit_limit),
    )


def from_wallet(view: BalanceView) -> pb.GetWalletResponse:
    """The merchant's own wallet."""
    return pb.GetWalletResponse(
        wallet_id=view.account_id,
        balance=format_amount(view.balance),
        held=format_amount(view.held),
        available=amount_or_unlimited(view.available),
        credit_limit=amount_or_unlimited(view.credit_limit),
    )


def _customer_id(account_id: str, merchant_id: str) -> str | None:
    return None if account_id == merchant_id else account_id

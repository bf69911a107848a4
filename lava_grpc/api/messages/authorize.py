"""Authorize: what is asked for, and the hold that was placed."""

from __future__ import annotations

from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.api.messages.enums import HOLD_POLICIES, read_enum
from lava_grpc.api.messages.reservations import from_hold
from lava_grpc.api.messages.texts import optional_id, optional_number, optional_text
from lava_grpc.api.messages.usage import to_usage
from lava_grpc.api.status import rpc_status
from lava_grpc.core.commands import Held
from lava_grpc.core.errors import Refusal
from lava_grpc.core.money import Amount, format_amount
from lava_grpc.gateway.authorize import AuthorizeCall, ProviderCallSpec
from lava_grpc.gateway.checks import check_labels, check_text

PATH_CHARS_MAX = 2048
"""The longest path of a provider call."""


def to_call(request: pb.AuthorizeRequest) -> AuthorizeCall:
    """The call; refuses malformed fields, and leaves the choice of estimate to the use case."""
    estimate = request.WhichOneof("estimate")
    return AuthorizeCall(
        request_id=optional_id(request),
        customer_id=optional_text(request, "customer_id"),
        meter=optional_text(request, "meter_slug"),
        amount=request.amount if estimate == "amount" else None,
        usage=to_usage(request.usage, "usage.") if estimate == "usage" else None,
        provider_call=_to_spec(request.provider_call) if estimate == "provider_call" else None,
        ttl_seconds=optional_number(request, "ttl_seconds"),
        allow_partial=request.allow_partial,
        dry_run=request.dry_run,
        metadata=check_labels(dict(request.metadata)) if request.metadata else (),
    )


def _to_spec(call: pb.ProviderCall) -> ProviderCallSpec:
    model, path = call.model, call.path
    return ProviderCallSpec(
        provider=check_text(call.provider, "provider_call.provider"),
        model=check_text(model, "provider_call.model") if model else None,
        body=call.request_body,
        path=check_text(path, "provider_call.path", chars_max=PATH_CHARS_MAX) if path else None,
        hold_policy=read_enum(HOLD_POLICIES, call.hold_policy, "provider_call.hold_policy"),
    )


def from_held(held: Held) -> pb.AuthorizeResponse:
    """The answer to Authorize."""
    return pb.AuthorizeResponse(
        reservation=from_hold(held.hold),
        available=amount_or_unlimited(held.available),
        partial=held.partial,
        affordable_units=held.affordable_units,
        affordable_output_tokens=held.affordable_output_tokens,
    )


def from_result(request: pb.AuthorizeRequest, result: Held | Refusal) -> pb.AuthorizeResult:
    """One result of many."""
    if isinstance(result, Refusal):
        return pb.AuthorizeResult(request_id=request.request_id, error=rpc_status(result))
    return pb.AuthorizeResult(request_id=result.hold.request_id, authorized=from_held(result))


def amount_or_unlimited(amount: Amount | None) -> str:
    """A decimal string with ten places, or "unlimited"."""
    return "unlimited" if amount is None else format_amount(amount)

"""What a spend key may be used for, decided before anything is held."""

from __future__ import annotations

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.hold_policy import HoldPolicy
from lava_grpc.core.spend_key import RequestShape, SpendKey
from lava_grpc.core.time import Instant
from lava_grpc.gateway.forward_call import ForwardCall
from lava_grpc.providers.base import Call
from lava_grpc.providers.estimate import Estimate
from lava_grpc.providers.provider import Family, Provider

_MESSAGES = frozenset(("messages", "batch_results"))
_OPENAI = frozenset(("chat", "completions", "responses"))
_BY_FAMILY = {Family.OPENAI: RequestShape.OPENAI, Family.ANTHROPIC: RequestShape.ANTHROPIC}


def require_own_call(key: SpendKey, call: ForwardCall, now: Instant) -> None:
    """Refuse PERMISSION_DENIED a key that is paused or expired, or a call on another's account."""
    key.require_usable(now)
    if call.customer_id or call.meter or call.provider_key or call.disable_billing:
        raise _denied(key, "pays for its calls itself: no customer, meter or provider key")
    if call.hold_policy is HoldPolicy.EXPECTED:
        # Its limits hold because its calls hold the most that they can use.
        raise _denied(key, "may not hold less than its calls can use: its merchant decides that")


def require_permitted(key: SpendKey, provider: Provider, call: Call, estimate: Estimate) -> None:
    """Refuse PERMISSION_DENIED a model or wire format that the key is not for.

    Under a spend limit a model must have a price: without one it would cost nothing here.
    """
    if call.job_id is None:
        # What was begun with a model may be asked after, though no model is named again.
        key.require_model(provider.id, call.model)
    key.require_shape(shape_of(provider, call))
    if key.limits.spend is not None and call.billable and not estimate.priced:
        raise _denied(key, "has a spend limit, and this call has no known price")


def shape_of(provider: Provider, call: Call) -> RequestShape | None:
    """The wire format of a call, None for one that is neither OpenAI's nor Anthropic's."""
    if call.flavor in _MESSAGES:
        return RequestShape.ANTHROPIC
    if call.flavor in _OPENAI:
        return RequestShape.OPENAI
    return _BY_FAMILY.get(provider.family)


def _denied(key: SpendKey, why: str) -> Refusal:
    return Refusal(
        Reason.PERMISSION_DENIED,
        f"spend key {key.spend_key_id} {why}",
        facts={"spend_key_id": key.spend_key_id},
    )

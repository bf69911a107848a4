"""What a spend key may be used for, decided before anything is held."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.hold_policy import HoldPolicy
from lava_grpc.core.jobs import Job
from lava_grpc.core.spend_key import RequestShape, SpendKey
from lava_grpc.core.time import Instant
from lava_grpc.gateway.forward_call import ForwardCall
from lava_grpc.providers.base import Call
from lava_grpc.providers.estimate import Estimate
from lava_grpc.providers.provider import Family, Provider

_OPENAI = frozenset(("chat", "completions", "responses"))
_BY_FAMILY = {Family.OPENAI: RequestShape.OPENAI, Family.ANTHROPIC: RequestShape.ANTHROPIC}

_READS = frozenset(("GET", "HEAD", "DELETE", "OPTIONS"))
# Lists of models show nobody's work.
_MODELS = re.compile(r"/models(?:/[^/]+){0,2}$")
_MESSAGE_RESULTS = re.compile(r"/messages/batches/[^/]+/results$")
_REMIX = re.compile(r"/videos/([^/]+)/remix$")
# What is kept at a provider under an id, and is whoever's who made it.
_KEPT = re.compile(
    r"/(?:files|batches|batch/jobs|vector_stores|containers|evals|fine_tuning/jobs|skills"
    r"|assistants)/[^/]+"
)


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

    Nor may it look into what others have at the provider: lists, files, stored answers. Under
    a spend limit a model must have a price: without one it would cost nothing here.
    """
    if call.job_id is None:
        # What was begun with a model may be asked after, though no model is named again.
        key.require_model(provider.id, call.model)
    key.require_shape(shape_of(provider, call))
    if _looks_around(call):
        raise _denied(key, "may see none of what is kept at a provider but its own work")
    if key.limits.spend is not None and call.billable and not estimate.priced:
        raise _denied(key, "has a spend limit, and this call has no known price")


def work_named(call: Call) -> str | None:
    """The id of the earlier work that a call asks after, stops, or makes more of."""
    if call.job_id is not None:
        return call.job_id
    remixed = _REMIX.search(_path(call))
    return unquote(remixed.group(1)) if remixed is not None else None


def require_own_work(key: SpendKey, job: Job | None) -> None:
    """Refuse PERMISSION_DENIED work that this key did not start, or that is not known here."""
    if job is None or job.spend_key_id != key.spend_key_id:
        # The same words for both: whether others have such work is not the key's business.
        raise _denied(key, "may ask only after work that it started itself")


def _looks_around(call: Call) -> bool:
    if call.billable or call.job_id is not None:
        return False
    path = _path(call)
    if call.method in _READS:
        return _MODELS.search(path) is None
    return path.endswith(("/cancel", ":cancel")) or _KEPT.search(path) is not None


def _path(call: Call) -> str:
    return urlsplit(call.url).path.rstrip("/")


def shape_of(provider: Provider, call: Call) -> RequestShape | None:
    """The wire format of a call, None for one that is neither OpenAI's nor Anthropic's."""
    if call.flavor == "messages" or _MESSAGE_RESULTS.search(_path(call)) is not None:
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

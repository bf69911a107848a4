"""Bounds for work that goes on after the answer: a batch's calls, a video's seconds.

A batch that names a file says nothing of what is in it, nor does a prediction
say how long it will run: nobody knows a bound for those, and `priced` is False.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from lava_grpc.core.money import AMOUNT_MAX
from lava_grpc.core.time import Instant
from lava_grpc.core.usage import COUNT_MAX, NOTHING, Usage
from lava_grpc.providers import rates
from lava_grpc.providers.base import Call
from lava_grpc.providers.batches import total
from lava_grpc.providers.estimate import Estimate, estimate
from lava_grpc.providers.prices import PriceBook
from lava_grpc.providers.provider import Provider
from lava_grpc.providers.request import read_call

CALLS_MAX = 100_000
"""The most calls of one batch that are looked at: as many as Anthropic takes."""

_UNKNOWN = Estimate(NOTHING, 0, 0, priced=False)


def job_bound(provider: Provider, call: Call, prices: PriceBook, at: Instant) -> Estimate:
    """The most that a call of one of JOB_FLAVORS can use and cost, where that can be known."""
    if not call.billable:
        return Estimate(NOTHING, 0, 0, priced=True)
    if call.flavor == "batch":
        return _batch(provider, call, prices, at)
    usage = call.request_usage
    found = prices.rates(provider, call, (call.model,), {}, at)
    if found is None or call.flavor != "video":
        return replace(_UNKNOWN, usage=usage)
    cost = rates.cost(found.rates, usage).total
    return Estimate(usage, cost, 0, priced=True)


def _batch(provider: Provider, call: Call, prices: PriceBook, at: Instant) -> Estimate:
    """The sum over the calls in the request, each as if it were made alone, at the full price."""
    listed = (call.body or {}).get("requests")
    asked = listed[:CALLS_MAX] if isinstance(listed, list) else []
    path = urlsplit(call.url).path.removesuffix("/batches")
    url = f"https://{urlsplit(call.url).netloc}{path}"
    bounds = [
        estimate(provider, read_call(provider, "POST", url, {}, raw), raw, prices, at)
        for raw in map(_body, asked)
        if raw
    ]
    if not bounds:
        return _UNKNOWN
    usage = total(bound.usage for bound in bounds)
    return Estimate(
        _within(usage),
        min(sum(bound.cost for bound in bounds), AMOUNT_MAX),
        min(sum(bound.output_cost for bound in bounds), AMOUNT_MAX),
        priced=all(bound.priced for bound in bounds),
    )


def _body(asked: object) -> bytes:
    # Anthropic's name for it, then Mistral's.
    fields = asked if isinstance(asked, Mapping) else {}
    body = fields.get("params", fields.get("body"))
    return json.dumps(body).encode() if isinstance(body, Mapping) else b""


def _within(usage: Usage) -> Usage:
    return Usage(**{name: min(value, COUNT_MAX) for name, value in usage.as_dict().items()})

"""Estimating a provider call before it is made."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lava_grpc.core.errors import invalid
from lava_grpc.core.time import Clock
from lava_grpc.providers.base import Call
from lava_grpc.providers.endpoints import url_at
from lava_grpc.providers.estimate import Estimate, estimate
from lava_grpc.providers.job_bounds import job_bound
from lava_grpc.providers.job_routes import JOB_FLAVORS
from lava_grpc.providers.prices import PriceBook
from lava_grpc.providers.provider import Provider
from lava_grpc.providers.registry import Registry, read_call


@dataclass(frozen=True, slots=True)
class Estimated:
    """A call as it was read, and what it may come to."""

    call: Call
    estimate: Estimate


class Estimator:
    """Upper bounds for calls, at today's prices."""

    def __init__(self, registry: Registry, prices: PriceBook, clock: Clock) -> None:
        self._registry = registry
        self._prices = prices
        self._clock = clock

    def of_call(self, provider: Provider, call: Call, body: bytes) -> Estimate:
        """What a call that was read may come to."""
        if call.flavor in JOB_FLAVORS:
            return job_bound(provider, call, self._prices, self._clock.now())
        return estimate(provider, call, body, self._prices, self._clock.now())

    def of_spec(
        self, *, provider: str, model: str | None, body: bytes, path: str | None
    ) -> Estimated:
        """What a call that is only described may come to.

        Refuses INVALID_FIELD for an unknown provider, a path that is none, or a
        body that is not JSON.
        """
        known = self._registry.by_id(provider)
        if known is None:
            raise invalid("provider_call.provider", f"is not a known provider: '{provider[:80]}'")
        url = url_at(
            known,
            path,
            model=model,
            path_field="provider_call.path",
            model_field="provider_call.model",
        )
        call = read_call(known, "POST", url, {"content-type": "application/json"}, body)
        if model:
            call = replace(call, model=model)
        return Estimated(call, self.of_call(known, call, body))

"""Estimating a provider call before it is made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote, urlsplit

from lava_grpc.core.errors import invalid
from lava_grpc.core.time import Clock
from lava_grpc.providers.base import Call
from lava_grpc.providers.estimate import Estimate, estimate
from lava_grpc.providers.prices import PriceBook
from lava_grpc.providers.provider import Family, Provider
from lava_grpc.providers.registry import Registry, read_call

# The chat endpoint of each family, where a caller names none.
_CHAT_PATHS = {
    Family.ANTHROPIC: "/v1/messages",
    Family.COHERE: "/v2/chat",
}
_MODEL_PATHS = {
    Family.GEMINI: "/v1beta/models/{model}:generateContent",
    Family.BEDROCK: "/model/{model}/converse",
}


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
        url = _url(known, model, path)
        call = read_call(known, "POST", url, {"content-type": "application/json"}, body)
        if model:
            call = replace(call, model=model)
        return Estimated(call, self.of_call(known, call, body))


def _url(provider: Provider, model: str | None, path: str | None) -> str:
    base = urlsplit(provider.base_url)
    if path is None:
        path = _CHAT_PATHS.get(provider.family)
        if path is None and provider.family in _MODEL_PATHS:
            if not model:
                raise invalid("provider_call.model", "is required for this provider")
            path = _MODEL_PATHS[provider.family].format(model=quote(model, safe=""))
        path = path or base.path.rstrip("/") + "/chat/completions"
    if not path.startswith("/") or any(c.isspace() or c in "?#\\" for c in path):
        raise invalid("provider_call.path", "must be a path such as '/v1/chat/completions'")
    return f"https://{base.netloc}{path}"

"""Deciding a forwarded call before anything is written or sent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from lava_grpc.core.commands import HoldPart, SettlePart
from lava_grpc.core.errors import invalid
from lava_grpc.core.hold import CallFacts, Role
from lava_grpc.core.ids import IdSource
from lava_grpc.core.pricing import Meter
from lava_grpc.core.spend_key import SpendKey
from lava_grpc.core.time import Clock
from lava_grpc.gateway.checks import fingerprint
from lava_grpc.gateway.directory import Directory
from lava_grpc.gateway.estimates import Estimator
from lava_grpc.gateway.forward_call import ForwardCall
from lava_grpc.gateway.headers import headers_to_send
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.spending import require_own_call, require_permitted
from lava_grpc.gateway.targets import Target, resolve_target
from lava_grpc.gateway.upstream import UpstreamRequest
from lava_grpc.providers.base import Call
from lava_grpc.providers.estimate import Estimate
from lava_grpc.providers.provider import Provider
from lava_grpc.providers.registry import Registry, prepare_body, read_call

LARGE_BODY_BYTES = 128 * 1024
"""Bodies from this size on are parsed in a thread, so that the event loop stays free."""

# Their host patterns match regions, all of which are the provider's own.
_REGIONAL = frozenset(("bedrock", "google-vertex"))

MANAGED, UNMANAGED = "managed", "unmanaged"


@dataclass(frozen=True, slots=True)
class ForwardPlan:
    """All that is decided of a call: where it goes, who pays, and at most how much."""

    merchant_id: str
    request_id: str
    fingerprint: str
    target: Target
    call: Call
    request: UpstreamRequest = field(repr=False)
    estimate: Estimate
    facts: CallFacts
    hold_parts: tuple[HoldPart, ...]
    settle_parts: tuple[SettlePart, ...]


@dataclass(frozen=True, slots=True)
class Egress:
    """What the operator lets out: keys by provider id, further hosts, hosts sent elsewhere."""

    provider_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    allowed_hosts: frozenset[str] = frozenset()
    upstream_map: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Read:
    call: Call
    body: bytes
    estimate: Estimate
    digest: bytes


class Planner:
    """Plans forwarded calls."""

    def __init__(
        self,
        registry: Registry,
        directory: Directory,
        estimator: Estimator,
        egress: Egress,
        *,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._registry = registry
        self._directory = directory
        self._estimator = estimator
        self._egress = egress
        self._clock = clock
        self._ids = ids

    async def plan(self, principal: Principal, call: ForwardCall) -> ForwardPlan:
        """Decide a call; refuses what must not be sent, and writes nothing."""
        merchant_id = principal.merchant_id
        spend_key = principal.spend_key
        if spend_key is not None:
            require_own_call(spend_key, call, self._clock.now())
        customer = call.customer_id or principal.customer_id
        named = call.meter or principal.meter_slug
        if customer and not named:
            raise invalid("meter_slug", "is required with a customer, to price the call")
        target = resolve_target(
            call.url,
            self._registry,
            allowed_hosts=self._egress.allowed_hosts,
            upstream_map=self._egress.upstream_map,
        )
        provider = target.provider
        if spend_key is not None:
            # Before a key of ours is looked for: whether there is one is not the caller's business.
            spend_key.require_provider(provider.id)
        own_key = call.provider_key or principal.provider_key
        key = own_key or self._managed_key(provider, target.host)
        meter = await self._directory.meter(merchant_id, named) if named else None
        customer_id = await self._directory.customer_id(merchant_id, customer) if customer else None
        read = await self._read(target, call)
        if spend_key is not None:
            require_permitted(spend_key, provider, read.call, read.estimate)
        facts = CallFacts(
            customer_id=customer_id,
            meter_id=meter.meter_id if meter else None,
            provider=provider.id,
            key_type=UNMANAGED if own_key else MANAGED,
            model=read.call.model,
            endpoint=f"{read.call.method} {target.identity_url}",
            metadata=call.metadata,
        )
        billed = not (call.disable_billing or principal.disable_billing)
        roles = _payers(
            merchant_id,
            charged=(customer_id, meter) if customer_id and meter and billed else None,
            managed=own_key is None,
            spend_key=spend_key,
        )
        request_id = call.request_id or (
            f"req_{principal.prefix}{self._ids.ulid(self._clock.now())}"
        )
        return ForwardPlan(
            merchant_id=merchant_id,
            request_id=request_id,
            fingerprint=fingerprint("forward", facts, read.digest),
            target=target,
            call=read.call,
            request=UpstreamRequest(
                read.call.method,
                target.keyed_url(key),
                headers_to_send(call.headers, provider, key, read.call),
                read.body,
            ),
            estimate=read.estimate,
            facts=facts,
            hold_parts=tuple([_hold_part(part, read.estimate) for part in roles]),
            settle_parts=roles,
        )

    def _managed_key(self, provider: Provider, host: str) -> str:
        keys = self._egress.provider_keys
        key = keys.get(host)
        if key is None and self._takes_provider_key(provider, host):
            key = keys.get(provider.id)
        if key is None:
            raise invalid(
                "provider_key", f"is required: this service has no key of its own for {provider.id}"
            )
        return key

    def _takes_provider_key(self, provider: Provider, host: str) -> bool:
        """Whether the platform's key for the provider as a whole may be sent to `host`.

        What a host pattern matches is somebody's own account, unless it is one of the
        provider's regions, or the operator named that very host.
        """
        egress = self._egress
        named = host in egress.upstream_map or host in egress.allowed_hosts
        return named or provider.id in _REGIONAL or not provider.per_account(host)

    async def _read(self, target: Target, call: ForwardCall) -> _Read:
        if len(call.body) < LARGE_BODY_BYTES:
            return self._parse(target, call)
        return await asyncio.to_thread(self._parse, target, call)

    def _parse(self, target: Target, call: ForwardCall) -> _Read:
        provider = target.provider
        read = read_call(
            provider, call.method or "POST", target.identity_url, dict(call.headers), call.body
        )
        read, body = prepare_body(provider, read, call.body)
        bound = self._estimator.of_call(provider, read, call.body)
        return _Read(read, body, bound, blake2b(call.body, digest_size=16).digest())


def _payers(
    merchant_id: str,
    *,
    charged: tuple[str, Meter] | None,
    managed: bool,
    spend_key: SpendKey | None,
) -> tuple[SettlePart, ...]:
    """Who pays what: the customer the charge, the merchant's wallet the cost of a managed key.

    A spend key's budget pays the cost too.
    """
    parts: list[SettlePart] = []
    if charged is not None:
        customer_id, meter = charged
        parts.append(SettlePart(customer_id, Role.CHARGE, meter=meter, meter_id=meter.meter_id))
    if managed:
        parts.append(SettlePart(merchant_id, Role.COST))
    if spend_key is not None:
        parts.append(SettlePart(spend_key.spend_key_id, Role.BUDGET))
    return tuple(parts)


def _hold_part(part: SettlePart, estimate: Estimate) -> HoldPart:
    return HoldPart(
        part.account_id,
        part.role,
        meter=part.meter,
        meter_id=part.meter_id,
        usage=estimate.usage,
        cost=estimate.cost,
        output_cost=estimate.output_cost,
    )

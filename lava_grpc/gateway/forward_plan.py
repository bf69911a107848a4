"""Deciding a forwarded call before anything is written or sent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from lava_grpc.core.commands import HoldPart, SettlePart
from lava_grpc.core.errors import invalid
from lava_grpc.core.hold import CallFacts, Role
from lava_grpc.core.ids import IdSource
from lava_grpc.core.pricing import Meter
from lava_grpc.core.time import Clock
from lava_grpc.gateway.checks import fingerprint
from lava_grpc.gateway.directory import Directory
from lava_grpc.gateway.estimates import Estimator
from lava_grpc.gateway.forward_call import ForwardCall
from lava_grpc.gateway.headers import headers_to_send
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.targets import Target, resolve_target
from lava_grpc.gateway.upstream import UpstreamRequest
from lava_grpc.providers.base import Call
from lava_grpc.providers.estimate import Estimate
from lava_grpc.providers.provider import Provider
from lava_grpc.providers.registry import Registry, prepare_body, read_call

LARGE_BODY_BYTES = 128 * 1024
"""Bodies from this size on are parsed in a thread, so that the event loop stays free."""

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
        own_key = call.provider_key or principal.provider_key
        key = own_key or self._managed_key(provider, target.host)
        meter = await self._directory.meter(merchant_id, named) if named else None
        customer_id = await self._directory.customer_id(merchant_id, customer) if customer else None
        read = await self._read(target, call)
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
        )
        request_id = call.request_id or (
            f"req_{principal.prefix}{self._ids.ulid(self._clock.now())}"
        )
        return ForwardPlan(
            merchant_id=merchant_id,
            request_id=request_id,
            fingerprint=fingerprint("forward", facts, call.body),
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
        # What a host pattern matches is somebody's own account: the platform's key for the
        # provider as a whole is not sent there.
        key = keys.get(host) if provider.per_account(host) else keys.get(provider.id)
        if key is None:
            raise invalid(
                "provider_key", f"is required: this service has no key of its own for {provider.id}"
            )
        return key

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
        return _Read(read, body, self._estimator.of_call(provider, read, call.body))


def _payers(
    merchant_id: str, *, charged: tuple[str, Meter] | None, managed: bool
) -> tuple[SettlePart, ...]:
    """Who pays what: the customer the charge, the merchant's wallet the cost of a managed key."""
    parts: list[SettlePart] = []
    if charged is not None:
        customer_id, meter = charged
        parts.append(SettlePart(customer_id, Role.CHARGE, meter=meter, meter_id=meter.meter_id))
    if managed:
        parts.append(SettlePart(merchant_id, Role.COST))
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

"""Deciding a forwarded call before anything is written or sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from msgspec import structs

from lava_grpc.core.commands import HoldPart, SettlePart
from lava_grpc.core.errors import invalid
from lava_grpc.core.hold import CallFacts, Role
from lava_grpc.core.ids import IdSource
from lava_grpc.core.pricing import Meter
from lava_grpc.core.provider_key import KeyType
from lava_grpc.core.spend_key import SpendKey
from lava_grpc.core.time import SECOND, Clock
from lava_grpc.gateway.checks import fingerprint
from lava_grpc.gateway.directory import Directory
from lava_grpc.gateway.estimates import Estimator
from lava_grpc.gateway.expectations import Expectations
from lava_grpc.gateway.forward_call import ForwardCall
from lava_grpc.gateway.headers import headers_to_send
from lava_grpc.gateway.key_choice import KeyChooser, KeyUse, aws_signing
from lava_grpc.gateway.key_pool import KeyTurns, Pool
from lava_grpc.gateway.ports import JobStore
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.spending import (
    require_own_call,
    require_own_work,
    require_permitted,
    work_named,
)
from lava_grpc.gateway.stored_keys import StoredKeys
from lava_grpc.gateway.targets import Target, resolve_target
from lava_grpc.gateway.upstream import UpstreamRequest
from lava_grpc.providers.base import Call
from lava_grpc.providers.clamp import Clamp, clamp_of
from lava_grpc.providers.estimate import Estimate
from lava_grpc.providers.expectation import expected
from lava_grpc.providers.registry import Registry, prepare_body, read_call

LARGE_BODY_BYTES = 128 * 1024
"""Bodies from this size on are parsed in a thread, so that the event loop stays free."""

KEPT_BODY_BYTES = 16 * 1024
"""A larger body is let go of once it is sent."""


@dataclass(frozen=True, slots=True)
class ForwardPlan:
    """All that is decided of a call: where it goes, who pays, and at most how much.

    `estimate` is the upper bound, whatever the hold's parts ask for. With a `clamp`
    less output may be held, and the call is sent as `clamped` says.
    """

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
    # Whom to tell what the provider answered; None where nobody need know.
    key_use: KeyUse | None = None
    clamp: Clamp | None = field(default=None, repr=False)
    clamped_output_tokens: int | None = None
    # How long the body is, where it is not kept any more.
    sent_bytes: int | None = None

    @property
    def body_bytes(self) -> int:
        """How long the body is that goes out, or went."""
        return len(self.request.body) if self.sent_bytes is None else self.sent_bytes

    def sent(self) -> ForwardPlan:
        """The plan of a call that went out: without its body, which a stream may outlive by far."""
        if self.body_bytes <= KEPT_BODY_BYTES:
            return self
        return replace(
            self,
            call=replace(self.call, body=None),
            request=replace(self.request, body=b""),
            clamp=None,
            sent_bytes=self.body_bytes,
        )

    def clamped(self, total: int) -> ForwardPlan:
        """The plan where the credit covers `total` output tokens of all choices together."""
        if self.clamp is None:
            return self
        tokens = self.clamp.per_choice(total)
        bound = self.estimate
        return replace(
            self,
            call=replace(self.call, output_tokens_max=tokens),
            request=replace(self.request, body=self.clamp.body(tokens)),
            estimate=replace(bound, usage=structs.replace(bound.usage, output_tokens=total)),
            clamp=None,
            clamped_output_tokens=tokens,
        )


@dataclass(frozen=True, slots=True)
class Egress:
    """What the operator lets out: keys by provider id, further hosts, hosts sent elsewhere."""

    provider_keys: Mapping[str, Pool] = field(default_factory=dict, repr=False)
    allowed_hosts: frozenset[str] = frozenset()
    upstream_map: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Read:
    call: Call
    body: bytes
    estimate: Estimate
    digest: bytes
    clamp: Clamp | None


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
        stored: StoredKeys | None = None,
        expectations: Expectations | None = None,
        jobs: JobStore | None = None,
    ) -> None:
        self._registry = registry
        self._expectations = expectations
        self._jobs = jobs
        self._directory = directory
        self._estimator = estimator
        self._egress = egress
        self._keys = KeyChooser(
            egress.provider_keys,
            KeyTurns(time.monotonic, lambda: clock.now() / SECOND),
            clock,
            stored=stored,
            named=egress.allowed_hosts | egress.upstream_map.keys(),
        )
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
        chosen = await self._keys.choose(
            merchant_id, target, call.provider_key or principal.provider_key
        )
        aws = aws_signing(target, chosen.secret)
        key = chosen.secret if aws is None else None
        meter = await self._directory.meter(merchant_id, named) if named else None
        customer_id = await self._directory.customer_id(merchant_id, customer) if customer else None
        clamps = call.clamp_output or principal.clamp_output
        read = await self._read(target, call, clamps=clamps)
        held = read.estimate
        if self._expectations is not None and self._expectations.count_for(
            principal, call.hold_policy
        ):
            held = await self._expected(merchant_id, customer_id, read)
        if spend_key is not None:
            require_permitted(spend_key, provider, read.call, read.estimate)
            if (work := work_named(read.call)) is not None:
                await self._require_own_work(spend_key, provider.id, work)
        facts = CallFacts(
            customer_id=customer_id,
            meter_id=meter.meter_id if meter else None,
            provider=provider.id,
            key_type=chosen.key_type.value,
            model=read.call.model,
            endpoint=f"{read.call.method} {target.identity_url}",
            metadata=call.metadata,
        )
        billed = not (call.disable_billing or principal.disable_billing or read.call.job_id)
        roles = _payers(
            merchant_id,
            charged=(customer_id, meter) if customer_id and meter and billed else None,
            # Asking after work is free: whoever had it begun pays for it.
            managed=chosen.key_type is KeyType.MANAGED and read.call.job_id is None,
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
                aws,
            ),
            estimate=read.estimate,
            facts=facts,
            hold_parts=tuple([_hold_part(part, held) for part in roles]),
            settle_parts=roles,
            key_use=chosen.use,
            clamp=read.clamp,
        )

    async def _require_own_work(self, key: SpendKey, provider: str, job_id: str) -> None:
        jobs = self._jobs
        job = None if jobs is None else await jobs.find(key.merchant_id, provider, job_id)
        require_own_work(key, job)

    async def _expected(self, merchant_id: str, customer_id: str | None, read: _Read) -> Estimate:
        """What calls before this one let expect of it."""
        if self._expectations is None:
            return read.estimate
        past = await self._expectations.past(
            merchant_id, customer_id, provider=read.call.provider, model=read.call.model
        )
        return expected(read.estimate, read.call, len(read.body), past)

    async def _read(self, target: Target, call: ForwardCall, *, clamps: bool) -> _Read:
        if len(call.body) < LARGE_BODY_BYTES:
            return self._parse(target, call, clamps)
        return await asyncio.to_thread(self._parse, target, call, clamps)

    def _parse(self, target: Target, call: ForwardCall, clamps: bool) -> _Read:  # noqa: FBT001
        provider = target.provider
        read = read_call(
            provider, call.method or "POST", target.identity_url, dict(call.headers), call.body
        )
        read, body = prepare_body(provider, read, call.body)
        bound = self._estimator.of_call(provider, read, call.body)
        clamp = clamp_of(provider, read, body) if clamps else None
        return _Read(read, body, bound, blake2b(call.body, digest_size=16).digest(), clamp)


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

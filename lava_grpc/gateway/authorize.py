"""Placing a hold before a call that the caller makes itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
from msgspec import structs

from lava_grpc.core.commands import Held, HoldPart, PlaceHold
from lava_grpc.core.deferred import DeferredCommand
from lava_grpc.core.errors import Refusal, invalid
from lava_grpc.core.hold import CallFacts, HoldKind, Role
from lava_grpc.core.hold_policy import HoldPolicy
from lava_grpc.core.ids import IdSource
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.money import parse_amount
from lava_grpc.core.pricing import Meter
from lava_grpc.core.time import Clock
from lava_grpc.core.usage import Usage
from lava_grpc.gateway.checks import fingerprint
from lava_grpc.gateway.directory import Directory, or_refused
from lava_grpc.gateway.estimates import Estimated, Estimator
from lava_grpc.gateway.expectations import Expectations
from lava_grpc.gateway.ports import DeferringLedger
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.recent import RecentHolds
from lava_grpc.providers.expectation import expected

TTL_SECONDS_DEFAULT = 120
TTL_SECONDS_MAX = 86_400

CALLS_MAX = 1000
"""The most requests in one batch."""

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ProviderCallSpec:
    """A call that will be made to a provider, to be estimated."""

    provider: str
    model: str | None
    body: bytes
    path: str | None
    hold_policy: HoldPolicy | None = None


class AuthorizeCall(msgspec.Struct, frozen=True):
    """What Authorize is asked for; exactly one of `amount`, `usage`, `provider_call`."""

    request_id: str | None = None
    customer_id: str | None = None
    meter: str | None = None
    amount: str | None = None
    usage: Usage | None = None
    provider_call: ProviderCallSpec | None = None
    ttl_seconds: int | None = None
    allow_partial: bool = False
    dry_run: bool = False
    metadata: Labels = ()


class Authorizer:
    """Authorize: a hold by amount, by expected usage, or by a provider call."""

    def __init__(
        self,
        ledger: DeferringLedger,
        directory: Directory,
        estimator: Estimator,
        recent: RecentHolds,
        *,
        clock: Clock,
        ids: IdSource,
        expectations: Expectations | None = None,
    ) -> None:
        self._ledger = ledger
        self._expectations = expectations
        self._directory = directory
        self._estimator = estimator
        self._recent = recent
        self._clock = clock
        self._ids = ids

    async def __call__(
        self, principal: Principal, call: AuthorizeCall, *, deadline: float | None = None
    ) -> Held:
        """Hold durably, or refuse and change nothing."""
        merchant_id = principal.merchant_id
        customer, named = _names(principal, call)
        customer_id = await self._directory.customer_id(merchant_id, customer) if customer else None
        meter = await self._directory.meter(merchant_id, named) if named else None
        estimated = None
        if self._expects(principal, call):
            estimated = await self._expected(merchant_id, call, customer_id)
        command = self._command(principal, call, customer_id, meter, estimated)
        return self.placed(command, await self._ledger.submit(command, deadline=deadline))

    def at_once(self, principal: Principal, call: AuthorizeCall) -> PlaceHold | None:
        """The command of a call, for `defer`; None where something has to be looked up for it.

        Refuses what can be told to be wrong without the ledger.
        """
        if call.provider_call is not None:
            return None
        customer, named = _names(principal, call)
        if customer and not self._directory.is_customer_id(customer):
            return None
        meter = None
        if named:
            meter = self._directory.meter_at_hand(principal.merchant_id, named)
            if meter is None:
                return None
        return self._command(principal, call, customer or None, meter, None)

    def defer(self, deferred: DeferredCommand) -> None:
        """See `gateway.ports.DeferringLedger.defer`."""
        self._ledger.defer(deferred)

    async def many(
        self, principal: Principal, calls: Sequence[AuthorizeCall], *, deadline: float | None = None
    ) -> list[Held | Refusal]:
        """Hold for each on its own, in as few commits as they fit into; in order.

        A refused one does not disturb the others. Refuses as a whole where the
        ledger does: OVERLOADED, and none was placed.
        """
        named = [_names(principal, call) for call in calls]
        merchant_id = principal.merchant_id
        customers = await self._directory.customer_ids(merchant_id, [c for c, _ in named if c])
        meters = await self._directory.meters(merchant_id, [m for _, m in named if m])
        results: list[Held | Refusal | None] = []
        commands: list[PlaceHold] = []
        for call, (customer, meter) in zip(calls, named, strict=True):
            try:
                customer_id = or_refused(customers[customer]) if customer else None
                estimated = None
                if self._expects(principal, call):
                    estimated = await self._expected(merchant_id, call, customer_id)
                commands.append(
                    self._command(
                        principal,
                        call,
                        customer_id,
                        or_refused(meters[meter]) if meter else None,
                        estimated,
                    )
                )
                results.append(None)
            except Refusal as refusal:
                results.append(refusal)
        outcomes = await self._ledger.submit_many(commands, deadline=deadline)
        placed = map(self._placed_or_not, commands, outcomes)
        return [next(placed) if result is None else result for result in results]

    def _command(
        self,
        principal: Principal,
        call: AuthorizeCall,
        customer_id: str | None,
        meter: Meter | None,
        estimated: Estimated | None,
    ) -> PlaceHold:
        merchant_id = principal.merchant_id
        part, facts = self._sized(call, customer_id, meter, merchant_id, estimated)
        # One for both: they name the two sides of the same thing.
        ulid = f"{principal.prefix}{self._ids.ulid(self._clock.now())}"
        return PlaceHold(
            merchant_id=merchant_id,
            request_id=call.request_id or f"req_{ulid}",
            hold_id=f"res_{ulid}",
            fingerprint=_fingerprint(call, customer_id, meter.meter_id if meter else None),
            kind=HoldKind.AUTHORIZE,
            parts=(part,),
            facts=facts,
            ttl_seconds=check_ttl(call.ttl_seconds),
            allow_partial=call.allow_partial,
            scale_output=call.provider_call is not None,
            dry_run=call.dry_run,
        )

    def placed(self, command: PlaceHold, outcome: Outcome) -> Held:
        """The hold that was placed, remembered for who settles it."""
        if not isinstance(outcome, Held):
            raise TypeError(outcome)
        if not command.dry_run:
            self._recent.remember(outcome.hold)
        return outcome

    def _placed_or_not(self, command: PlaceHold, outcome: Outcome) -> Held | Refusal:
        return outcome if isinstance(outcome, Refusal) else self.placed(command, outcome)

    def _expects(self, principal: Principal, call: AuthorizeCall) -> bool:
        """Whether what is held is what is to be expected of a provider call."""
        return (
            self._expectations is not None
            and call.provider_call is not None
            and self._expectations.count_for(principal, call.provider_call.hold_policy)
        )

    async def _expected(
        self, merchant_id: str, call: AuthorizeCall, customer_id: str | None
    ) -> Estimated | None:
        """The provider call as it was read, and what calls before it let expect of it."""
        spec = call.provider_call
        if spec is None or self._expectations is None:
            return None
        estimated = self._estimated(spec)
        read = estimated.call
        past = await self._expectations.past(
            merchant_id, customer_id, provider=read.provider, model=read.model
        )
        likely = expected(estimated.estimate, read, len(spec.body), past)
        return replace(estimated, estimate=likely)

    def _estimated(self, spec: ProviderCallSpec) -> Estimated:
        return self._estimator.of_spec(
            provider=spec.provider, model=spec.model, body=spec.body, path=spec.path
        )

    def _sized(
        self,
        call: AuthorizeCall,
        customer_id: str | None,
        meter: Meter | None,
        merchant_id: str,
        estimated: Estimated | None,
    ) -> tuple[HoldPart, CallFacts]:
        """What to hold, and on which account; and what is known of the call."""
        account_id = customer_id or merchant_id
        # With neither, the merchant's own wallet pays what the operation costs.
        role = Role.CHARGE if customer_id or meter else Role.COST
        meter_id = meter.meter_id if meter else None
        facts = CallFacts(customer_id=customer_id, meter_id=meter_id, metadata=call.metadata)
        if call.amount is not None:
            amount = parse_amount(call.amount, "amount")
            if amount == 0:
                raise invalid("amount", "must be positive")
            # The amount is given, so the meter prices nothing; which grants it may spend
            # is still the meter's to say.
            return HoldPart(account_id, role, amount=amount, meter_id=meter_id), facts
        if call.usage is not None:
            if meter is None:
                raise invalid("meter_slug", "is required with expected usage, to price it")
            return HoldPart(account_id, role, None, meter, meter_id, call.usage), facts
        spec = call.provider_call
        if spec is None:
            raise invalid("estimate", "is required: one of amount, usage, provider_call")
        if meter is None and customer_id is not None:
            raise invalid("meter_slug", "is required with a customer, to price the call")
        if estimated is None:
            estimated = self._estimated(spec)
        estimate = estimated.estimate
        part = HoldPart(
            account_id,
            role,
            meter=meter,
            meter_id=meter_id,
            usage=estimate.usage,
            cost=estimate.cost,
            output_cost=estimate.output_cost,
        )
        return part, structs.replace(
            facts,
            provider=estimated.call.provider,
            model=estimated.call.model,
            endpoint=f"{estimated.call.method} {estimated.call.url}",
        )


def _names(principal: Principal, call: AuthorizeCall) -> tuple[str | None, str | None]:
    """The customer and the meter as the caller names them."""
    return call.customer_id or principal.customer_id, call.meter or principal.meter_slug


def check_ttl(ttl_seconds: int | None) -> int:
    """`ttl_seconds`, or the default where none is given; refuses one out of range."""
    if ttl_seconds is None:
        return TTL_SECONDS_DEFAULT
    if not 1 <= ttl_seconds <= TTL_SECONDS_MAX:
        raise invalid("ttl_seconds", f"must be from 1 to {TTL_SECONDS_MAX}")
    return ttl_seconds


def _fingerprint(call: AuthorizeCall, customer_id: str | None, meter_id: str | None) -> str:
    spec = call.provider_call
    # Last, and only where it is given: what was fingerprinted before it was known stays equal.
    policy = () if spec is None or spec.hold_policy is None else (spec.hold_policy,)
    return fingerprint(
        "authorize",
        customer_id,
        meter_id,
        call.amount,
        call.usage,
        None if spec is None else (spec.provider, spec.model, spec.path, spec.body),
        call.ttl_seconds,
        call.allow_partial,
        call.metadata,
        *policy,
    )

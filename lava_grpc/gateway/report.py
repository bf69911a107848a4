"""Charging for usage that a caller reports: out of a hold, or after the fact."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from msgspec import structs

from lava_grpc.core.commands import Settle, Settled, SettlePart
from lava_grpc.core.deferred import DeferredCommand
from lava_grpc.core.errors import Refusal, invalid, not_found
from lava_grpc.core.hold import CallFacts, Hold, Role
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.money import Amount, parse_amount
from lava_grpc.core.pricing import Meter
from lava_grpc.core.request_record import Flag
from lava_grpc.core.time import Clock
from lava_grpc.core.usage import NOTHING, Usage
from lava_grpc.gateway.checks import fingerprint
from lava_grpc.gateway.directory import Directory, or_refused
from lava_grpc.gateway.expectations import Expectations
from lava_grpc.gateway.ports import DeferringLedger
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.recent import HoldFacts, RecentHolds
from lava_grpc.providers.answer import RawAnswer, call_answered, read_answer, require_usage
from lava_grpc.providers.base import Call, UsageReading
from lava_grpc.providers.prices import PriceBook
from lava_grpc.providers.provider import Provider
from lava_grpc.providers.registry import Registry
from lava_grpc.providers.tiers import named_tier

REPORTS_MAX = 1000
"""The most reports in one batch."""

LARGE_ANSWER_BYTES = 128 * 1024
"""Answers of this size together are read in a thread, so that the event loop stays free."""

STREAM_WEIGHT = 16
"""A stream's byte counts as this many: it may be as many documents as it has lines."""

Labels = tuple[tuple[str, str], ...]
_PLAIN = CallFacts()


@dataclass(frozen=True, slots=True)
class Report:
    """What an operation used. `cost` and `amount` are decimal strings.

    With a `response` usage is read from that; `usage` then stands in where it states none.
    """

    usage: Usage
    request_id: str | None = None
    customer_id: str | None = None
    meter: str | None = None
    metadata: Labels = ()
    reservation_id: str | None = None
    provider: str | None = None
    model: str | None = None
    cost: str | None = None
    endpoint: str | None = None
    amount: str | None = None
    response: RawAnswer | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a report's response was read as."""

    provider: Provider
    call: Call
    reading: UsageReading
    # Of its bytes: another answer is another report, though it may state the same usage.
    digest: bytes


@dataclass(frozen=True, slots=True)
class _Costs:
    total: Amount = 0
    input: Amount = 0
    output: Amount = 0
    priced: bool = True


class Reporter:
    """ReportUsage: settles a hold, or bills with none. Never refused for want of credit."""

    def __init__(
        self,
        ledger: DeferringLedger,
        directory: Directory,
        recent: RecentHolds,
        *,
        registry: Registry,
        prices: PriceBook,
        clock: Clock,
        expectations: Expectations | None = None,
    ) -> None:
        self._ledger = ledger
        self._directory = directory
        self._recent = recent
        self._registry = registry
        self._prices = prices
        self._clock = clock
        self._expectations = expectations

    async def __call__(
        self, principal: Principal, report: Report, *, deadline: float | None = None
    ) -> Settled:
        """Charge durably and once; the first answer where it was reported before."""
        merchant_id = principal.merchant_id
        hold = await self._hold(merchant_id, report)
        customer = _customer_named(principal, report, hold)
        named = _meter_named(principal, report, hold)
        customer_id = await self._directory.customer_id(merchant_id, customer) if customer else None
        meter = await self._directory.meter(merchant_id, named) if named else None
        answer = None
        if report.response is not None:
            (answer,) = map(or_refused, await self._answers([(report, hold)]))
        command = self._command(merchant_id, report, hold, customer_id, meter, answer)
        outcome = await self._ledger.submit(command, deadline=deadline)
        return self.settled(command, outcome, hold=hold)

    def at_once(self, principal: Principal, report: Report) -> Settle | None:
        """The command of a report, for `defer`; None where something has to be looked up for it.

        Refuses what can be told to be wrong without the ledger.
        """
        if report.response is not None:
            return None
        merchant_id, hold = principal.merchant_id, None
        if report.reservation_id:
            hold = self._recent.at_hand(merchant_id, report.reservation_id)
        if hold is None and _may_have_hold(report):
            return None
        customer = _customer_named(principal, report, hold)
        if customer and not self._directory.is_customer_id(customer):
            return None
        named, meter = _meter_named(principal, report, hold), None
        if named:
            meter = self._directory.meter_at_hand(merchant_id, named)
            if meter is None:
                return None
        return self._command(merchant_id, report, hold, customer or None, meter, None)

    def defer(self, deferred: DeferredCommand) -> None:
        """See `gateway.ports.DeferringLedger.defer`."""
        self._ledger.defer(deferred)

    def settled(
        self, command: Settle, outcome: Outcome, *, hold: HoldFacts | None = None
    ) -> Settled:
        """What was charged, noted for who goes by it. `hold` is told where it is known."""
        if not isinstance(outcome, Settled):
            raise TypeError(outcome)
        if not outcome.replayed:
            self._learn(command, hold or outcome.hold)
        return outcome

    async def many(
        self, principal: Principal, reports: Sequence[Report], *, deadline: float | None = None
    ) -> list[Settled | Refusal]:
        """Charge for each on its own, in as few commits as they fit into; in order.

        A refused one does not disturb the others. Refuses as a whole where the
        ledger does: OVERLOADED, and none was charged.
        """
        merchant_id = principal.merchant_id
        asked = list(zip(reports, await self._holds(merchant_id, reports), strict=True))
        names = [
            (_customer_named(principal, report, hold), _meter_named(principal, report, hold))
            for report, hold in asked
            if not isinstance(hold, Refusal)
        ]
        customers = await self._directory.customer_ids(merchant_id, [c for c, _ in names if c])
        meters = await self._directory.meters(merchant_id, [m for _, m in names if m])
        answers = await self._answers(asked)
        results: list[Refusal | None] = []
        commands: list[Settle] = []
        named = iter(names)
        for (report, hold), answer in zip(asked, answers, strict=True):
            if isinstance(hold, Refusal):
                results.append(hold)
                continue
            customer, meter = next(named)
            try:
                commands.append(
                    self._command(
                        merchant_id,
                        report,
                        hold,
                        or_refused(customers[customer]) if customer else None,
                        or_refused(meters[meter]) if meter else None,
                        or_refused(answer),
                    )
                )
                results.append(None)
            except Refusal as refusal:
                results.append(refusal)
        outcomes = await self._ledger.submit_many(commands, deadline=deadline)
        if self._expectations is not None and self._expectations.wanted:
            for command, outcome in zip(commands, outcomes, strict=True):
                if isinstance(outcome, Settled) and not outcome.replayed:
                    self._learn(command, outcome.hold)
        settled = map(_settled, outcomes)
        return [next(settled) if result is None else result for result in results]

    def _command(
        self,
        merchant_id: str,
        report: Report,
        hold: HoldFacts | None,
        customer_id: str | None,
        meter: Meter | None,
        answer: _Answer | None,
    ) -> Settle:
        request_id = report.request_id or (hold.request_id if hold else None)
        if not request_id:
            raise invalid("request_id", "is required")
        facts = _facts(report, hold, customer_id, meter)
        response_id = service_tier = None
        answered: tuple[bytes, ...] = ()
        if answer is not None:
            report = replace(report, usage=answer.reading.usage)
            facts = _as_answered(facts, answer)
            response_id = answer.reading.response_id
            service_tier = named_tier(answer.call, answer.reading.extra)
            answered = (answer.digest,)
        costs = self._costs(report, facts, answer)
        part = _part(report, facts, meter, merchant_id)
        return Settle(
            merchant_id=merchant_id,
            request_id=request_id,
            fingerprint=fingerprint(
                "report", facts, report.usage, report.cost, report.amount, *answered
            ),
            parts=(part,),
            facts=facts,
            usage=report.usage,
            cost=costs.total,
            input_cost=costs.input,
            output_cost=costs.output,
            response_id=response_id,
            hold_id=hold.hold_id if hold else None,
            flags=() if costs.priced else (Flag.UNPRICED,),
            service_tier=service_tier,
        )

    async def _holds(
        self, merchant_id: str, reports: Sequence[Report]
    ) -> list[HoldFacts | Refusal | None]:
        """The hold of each, or why it cannot be told; only those not at hand are read, together."""
        found: list[HoldFacts | Refusal | None] = [
            self._recent.at_hand(merchant_id, report.reservation_id)
            if report.reservation_id
            else None
            for report in reports
        ]
        missing = [
            (index, report)
            for index, report in enumerate(reports)
            if found[index] is None and _may_have_hold(report)
        ]
        if not missing:
            return found
        named = {report.reservation_id for _, report in missing if report.reservation_id}
        asked = {r.request_id for _, r in missing if r.request_id and not r.reservation_id}
        by_id = await self._recent.many(merchant_id, named)
        by_request = await self._recent.of_requests(merchant_id, asked)
        for index, report in missing:
            if report.reservation_id:
                found[index] = by_id.get(report.reservation_id) or not_found(
                    "reservation", report.reservation_id, field="reservation_id"
                )
            else:
                found[index] = by_request.get(report.request_id or "")
        return found

    async def _answers(
        self, asked: Sequence[tuple[Report, HoldFacts | Refusal | None]]
    ) -> list[_Answer | Refusal | None]:
        """What each response was read as, or why it cannot be; None where there is none."""
        weights = [_weight(report.response) for report, _ in asked if report.response is not None]
        if not weights:
            return [None] * len(asked)
        if sum(weights) < LARGE_ANSWER_BYTES:
            return [self._answer(report, hold) for report, hold in asked]
        return await asyncio.to_thread(
            lambda: [self._answer(report, hold) for report, hold in asked]
        )

    def _answer(self, report: Report, hold: HoldFacts | Refusal | None) -> _Answer | Refusal | None:
        if report.response is None or isinstance(hold, Refusal):
            return None
        try:
            return self._read(report, report.response, hold.facts if hold else _PLAIN)
        except Refusal as refusal:
            return refusal

    def _read(self, report: Report, raw: RawAnswer, known: CallFacts) -> _Answer:
        named = report.provider or (known.provider if known.provider != _PLAIN.provider else None)
        if named is None:
            raise invalid("provider", f"is required with {raw.name}, to read it")
        provider = self._registry.by_id(named)
        if provider is None:
            raise invalid("provider", f"is not a known provider: '{named[:80]}'")
        endpoint = report.endpoint
        if endpoint is None and known.endpoint != _PLAIN.endpoint:
            endpoint = known.endpoint
        model = report.model or known.model
        call = call_answered(provider, raw, endpoint=endpoint, model=model)
        reading = read_answer(provider, call, raw)
        if not (reading.stated and reading.complete) and report.usage != NOTHING:
            reading = replace(reading, usage=report.usage)
        else:
            require_usage(raw, reading)
        return _Answer(provider, call, reading, blake2b(raw.data, digest_size=16).digest())

    def _learn(self, command: Settle, hold: HoldFacts | Hold | None) -> None:
        """Note what a provider call used, where anybody goes by it."""
        if self._expectations is None or not self._expectations.wanted:
            return
        facts = command.facts
        self._expectations.learn_reported(
            command.merchant_id,
            facts.customer_id,
            provider=facts.provider,
            # As it was asked for, if that is known: the answer may name it otherwise.
            model=(hold.facts.model if hold else None) or facts.model,
            usage=command.usage,
        )

    async def _hold(self, merchant_id: str, report: Report) -> HoldFacts | None:
        """The hold that the report names, or whose customer it needs to be told."""
        if report.reservation_id:
            return await self._recent.facts(merchant_id, report.reservation_id)
        if _may_have_hold(report) and report.request_id:
            return await self._recent.of_request(merchant_id, report.request_id)
        return None

    def _costs(self, report: Report, facts: CallFacts, answer: _Answer | None) -> _Costs:
        if report.cost is not None:
            return _Costs(parse_amount(report.cost, "cost"))
        if report.amount is not None and facts.customer_id is None and facts.meter_id is None:
            return _Costs(parse_amount(report.amount, "amount"))
        if answer is not None:
            made = self._prices.cost_of_parts(
                answer.provider, answer.call, answer.reading, self._clock.now()
            )
            return _Costs(made.total, made.input, made.output, made.priced)
        provider = self._registry.by_id(facts.provider)
        if facts.model is None or provider is None:
            return _Costs()
        found = self._prices.cost(
            price_provider=provider.price_provider or provider.id,
            model=facts.model,
            usage=report.usage,
            at=self._clock.now(),
        )
        return _Costs(found.total, found.input, found.output, found.priced)


def _weight(raw: RawAnswer) -> int:
    return len(raw.data) * (STREAM_WEIGHT if raw.stream else 1)


def _may_have_hold(report: Report) -> bool:
    """Whether the report names a hold, or needs one to tell whose it is."""
    return bool(report.reservation_id or (report.customer_id is None and report.request_id))


def _customer_named(principal: Principal, report: Report, hold: HoldFacts | None) -> str | None:
    """The customer as the report or the caller names it; None leaves it to the hold."""
    return report.customer_id or (None if hold else principal.customer_id)


def _meter_named(principal: Principal, report: Report, hold: HoldFacts | None) -> str | None:
    """The meter by its slug or id, the hold's where the report names none."""
    return report.meter or (hold.facts.meter_id if hold else principal.meter_slug)


def _facts(
    report: Report, hold: HoldFacts | None, customer_id: str | None, meter: Meter | None
) -> CallFacts:
    """What the record will say of the call: the hold's word, unless the report's differs."""
    known = hold.facts if hold else _PLAIN
    return CallFacts(
        customer_id=customer_id or known.customer_id,
        meter_id=meter.meter_id if meter else None,
        provider=report.provider or known.provider,
        key_type=known.key_type,
        model=report.model or known.model,
        endpoint=report.endpoint or known.endpoint,
        metadata=report.metadata,
    )


def _as_answered(facts: CallFacts, answer: _Answer) -> CallFacts:
    """The facts with the model that the answer names, and the endpoint that it is of."""
    endpoint = facts.endpoint
    if endpoint == _PLAIN.endpoint:
        endpoint = f"{answer.call.method} {answer.call.url}"
    return structs.replace(
        facts,
        provider=answer.provider.id,
        model=answer.reading.model or facts.model,
        endpoint=endpoint,
    )


def _settled(outcome: Outcome) -> Settled | Refusal:
    if not isinstance(outcome, Settled | Refusal):
        raise TypeError(outcome)
    return outcome


def _part(report: Report, facts: CallFacts, meter: Meter | None, merchant_id: str) -> SettlePart:
    """Who pays, and by what: an amount, a meter, or the cost itself."""
    account_id = facts.customer_id or merchant_id
    meter_id = meter.meter_id if meter else None
    if report.amount is not None and report.meter is not None:
        raise invalid("amount", "must not come with a meter, which makes the charge")
    if meter is None and facts.customer_id is None:
        # The merchant's own wallet pays what the operation cost.
        return SettlePart(merchant_id, Role.COST)
    if report.amount is not None:
        amount = parse_amount(report.amount, "amount")
        return SettlePart(account_id, Role.CHARGE, meter_id=meter_id, amount=amount)
    if meter is None:
        raise invalid("meter_slug", "is required with a customer, unless an amount is given")
    return SettlePart(account_id, Role.CHARGE, meter=meter, meter_id=meter_id)

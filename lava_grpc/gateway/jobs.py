"""Work that goes on after the answer: whose request it is, and settling that once it is done.

The call that starts such work keeps its hold, for up to a day. Whichever call
of the merchant's then shows that it has ended settles it: the request, the
customer and the meter are those of the call that started it. The ledger takes
one settlement of a request, so any number of callers may ask at once.
"""

from __future__ import annotations

from dataclasses import replace

import structlog
from msgspec import structs

from lava_grpc.core.commands import Extend, Release, Settle, SettlePart
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.hold import Hold, Role
from lava_grpc.core.jobs import Job
from lava_grpc.core.request_record import Flag
from lava_grpc.core.time import Clock
from lava_grpc.core.usage import NOTHING
from lava_grpc.gateway.forward_plan import ForwardPlan
from lava_grpc.gateway.ports import Books, JobStore
from lava_grpc.providers.base import Call, JobSeen, JobState, UsageReading
from lava_grpc.providers.prices import PriceBook
from lava_grpc.providers.provider import Provider
from lava_grpc.providers.tiers import named_tier

_log = structlog.get_logger(__name__)

JOB_HOLD_SECONDS = 86_400
"""How long a hold waits for its work to end: as long as a hold may live."""

_PASSING = frozenset((Reason.OVERLOADED, Reason.STORE_UNAVAILABLE))


class Jobs:
    """The work that goes on for a merchant's requests."""

    def __init__(self, store: JobStore, books: Books, prices: PriceBook, clock: Clock) -> None:
        self._store = store
        self._books = books
        self._prices = prices
        self._clock = clock

    async def begin(self, plan: ForwardPlan, hold: Hold, seen: JobSeen) -> Extend:
        """Remember durably what a call started; what keeps its hold meanwhile."""
        call = plan.call
        now = self._clock.now()
        meters = (part.meter for part in plan.settle_parts if part.role is Role.CHARGE)
        budgets = (part.account_id for part in plan.settle_parts if part.role is Role.BUDGET)
        await self._store.add(
            Job(
                merchant_id=plan.merchant_id,
                provider=plan.target.provider.id,
                job_id=seen.ident,
                request_id=plan.request_id,
                hold_id=hold.hold_id,
                created_at=hold.created_at,
                flavor=call.flavor,
                endpoint=call.url,
                model=call.model,
                price_provider=call.price_provider,
                usage=call.request_usage,
                meter=next(meters, None),
                # A spend key's account has the key's id.
                spend_key_id=next(budgets, None),
            ),
            now,
        )
        return Extend(plan.merchant_id, hold.hold_id, hold.account_ids, JOB_HOLD_SECONDS)

    async def told(
        self, merchant_id: str, provider: Provider, job_id: str, reading: UsageReading
    ) -> tuple[Job, Settle | Release] | None:
        """What ends the request of a job that an answer tells of; None where nothing does."""
        seen = reading.job
        if seen is None or seen.state is JobState.RUNNING:
            return None
        job = await self._store.find(merchant_id, provider.id, job_id)
        if job is None or job.ended:
            return None
        if seen.state is JobState.RESULTS_ELSEWHERE:
            if seen.results is not None:
                await self._store.add(replace(job, job_id=seen.results), self._clock.now())
            return None
        hold = await self._books.hold(merchant_id, job.hold_id)
        if hold is None:
            return None
        return job, self._end(job, hold, provider, reading, seen)

    async def forget(self, job: Job) -> None:
        """The job is settled: whoever asks after it again finds nothing to settle."""
        await self._store.forget(job)

    @staticmethod
    def gave_up(job: Job, refusal: Refusal) -> bool:
        """Whether the ledger refuses to end the job's request for good."""
        if refusal.reason in _PASSING:
            return False
        # It was charged when its hold expired, or reported by the caller meanwhile.
        _log.warning("a job was ended another way", request=job.request_id, job=job.job_id)
        return True

    def _end(
        self, job: Job, hold: Hold, provider: Provider, reading: UsageReading, seen: JobSeen
    ) -> Settle | Release:
        if seen.state is JobState.FAILED and not reading.stated:
            return Release(hold.merchant_id, hold.hold_id, hold.account_ids)
        flags: tuple[Flag, ...] = ()
        if not reading.stated:
            reading = replace(reading, usage=job.usage)
            flags = () if job.usage != NOTHING else (Flag.ESTIMATED,)
        # At the prices of the hold's time.
        cost = self._prices.cost_of_parts(provider, _call(job), reading, hold.created_at)
        return Settle(
            merchant_id=job.merchant_id,
            request_id=job.request_id,
            fingerprint=hold.fingerprint,
            parts=tuple(_part(job, hold, n) for n in range(len(hold.roles))),
            facts=structs.replace(hold.facts, model=reading.model or hold.facts.model),
            usage=reading.usage,
            cost=cost.total,
            input_cost=cost.input,
            output_cost=cost.output,
            response_id=reading.response_id or job.job_id,
            hold_id=hold.hold_id,
            flags=flags if cost.priced else (*flags, Flag.UNPRICED),
            failed=seen.state is JobState.FAILED,
            service_tier=named_tier(_call(job), reading.extra),
        )


def _call(job: Job) -> Call:
    """The call that started the job, as far as prices care."""
    return Call(
        provider=job.provider,
        flavor=job.flavor,
        method="POST",
        url=job.endpoint,
        model=job.model,
        price_provider=job.price_provider,
    )


def _part(job: Job, hold: Hold, n: int) -> SettlePart:
    """Who pays what, as the call that started the job decided it."""
    role, account_id = hold.roles[n], hold.account_ids[n]
    if role is not Role.CHARGE or job.meter is None:
        return SettlePart(account_id, role)
    return SettlePart(account_id, role, meter=job.meter, meter_id=job.meter.meter_id)

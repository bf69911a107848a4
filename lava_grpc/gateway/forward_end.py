"""The end of a forwarded call: settled or released, whatever became of the client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

import structlog
from msgspec import structs

from lava_grpc.core.commands import Command, Extend, HoldIs, Release, Settle, Settled
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.hold import Hold
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.request_record import Flag
from lava_grpc.core.time import Clock
from lava_grpc.core.usage import NOTHING
from lava_grpc.gateway.expectations import Expectations
from lava_grpc.gateway.forward_call import ForwardSummary, Measurement
from lava_grpc.gateway.forward_plan import ForwardPlan
from lava_grpc.gateway.jobs import Jobs
from lava_grpc.gateway.ports import Ledger
from lava_grpc.gateway.upstream import UpstreamAnswer
from lava_grpc.providers.base import JobSeen, JobState, UsageReading, UsageTap
from lava_grpc.providers.estimate import settle_estimate
from lava_grpc.providers.expectation import sample_of
from lava_grpc.providers.prices import PriceBook
from lava_grpc.providers.rates import FREE
from lava_grpc.providers.registry import make_tap
from lava_grpc.providers.tiers import named_tier

T = TypeVar("T")

_log = structlog.get_logger(__name__)

HOLD_SECONDS = 300
"""How long a forwarded call's hold lives; a longer call extends it while it lasts."""

ENCODED_CHUNK_BYTES = 2048
"""Compressed chunks from this size on are read in a thread: they may hold much more."""

LARGE_ANSWER_BYTES = 128 * 1024
"""Answers from this size on are parsed in a thread."""

TAIL_SECONDS_MAX = 0.25
"""How long what may be an answer's last bytes wait for its end, before they are passed on."""

TAIL_BYTES_MAX = 256 * 1024
"""How many bytes may wait so."""

SETTLE_WAIT_SECONDS_MAX = 2.0
"""How long a client waits for its last bytes while the ledger cannot settle."""

SETTLE_SECONDS_MAX = 3600.0
"""How long a settlement is tried again: a late one is still charged, and usage is never lost."""

_RETRY_SECONDS = 0.1
_RETRY_SECONDS_MAX = 5.0
_OK = range(200, 300)
# What closes a stream of most providers. One that stated no usage ends with it all the same.
_DONE = b"[DONE]"
# A failed extension is tried again, twice, before the hold expires.
_EXTENSIONS_PER_LIFE = 3


class GonePolicy(StrEnum):
    """What becomes of the upstream call of a client that has gone."""

    DRAIN = "drain"  # read on to the usage, for a bounded time
    CANCEL = "cancel"  # stop it at once


@dataclass(frozen=True, slots=True)
class Detaching:
    """How calls without a client are read on: for how long, and how many at once."""

    policy: GonePolicy = GonePolicy.DRAIN
    drain_seconds: float = 10.0
    readers_max: int = 1000


class Closing:
    """What ends calls. Keeps hold of those that outlive their client."""

    def __init__(
        self,
        ledger: Ledger,
        prices: PriceBook,
        clock: Clock,
        detaching: Detaching | None = None,
        *,
        hold_seconds: int = HOLD_SECONDS,
        expectations: Expectations | None = None,
        jobs: Jobs | None = None,
    ) -> None:
        self.ledger = ledger
        self._expectations = expectations
        self.jobs = jobs
        self.prices = prices
        self.clock = clock
        self.detaching = detaching or Detaching()
        self.hold_seconds = hold_seconds
        self.detached = 0
        # The detached readers' time limits, and when all of them end at the latest.
        self._readers: set[asyncio.Timeout] = set()
        self._read_until: float | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def open(self, plan: ForwardPlan, hold: Hold) -> OpenCall:
        """Begin a call whose hold was placed."""
        return OpenCall(self, plan, hold)

    def learn(self, plan: ForwardPlan, outcome: Outcome, measurement: Measurement) -> None:
        """Note what a call used by its provider's word, unless its output had been limited."""
        if self._expectations is None or not self._expectations.wanted:
            return
        if plan.clamped_output_tokens is not None or measurement is not Measurement.PROVIDER:
            return
        if not isinstance(outcome, Settled):
            return
        facts = plan.facts
        self._expectations.learn(
            plan.merchant_id,
            facts.customer_id,
            provider=facts.provider,
            model=facts.model,
            sample=sample_of(
                outcome.record.usage,
                choices=plan.call.choices,
                body_bytes=plan.body_bytes,
            ),
        )

    def keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` to its end, whoever stops waiting for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or isinstance(error := task.exception(), Refusal | None):
            return
        _log.error("a call's task failed", error=type(error).__name__)

    @contextlib.asynccontextmanager
    async def reading_on(self, seconds: float) -> AsyncIterator[None]:
        """Time for a detached reader; raises TimeoutError at its end, or at that of `hurry`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        limit = asyncio.timeout_at(
            until if self._read_until is None else min(until, self._read_until)
        )
        async with limit:
            self._readers.add(limit)
            try:
                yield
            finally:
                self._readers.discard(limit)

    def hurry(self, seconds: float) -> None:
        """Let no detached reader read on for longer than this from now."""
        until = asyncio.get_running_loop().time() + seconds
        self._read_until = until
        for limit in self._readers:
            when = limit.when()
            if when is not None and when > until and not limit.expired():
                limit.reschedule(until)

    async def drain(self) -> None:
        """Wait until every call has ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def surely(self, command: Command) -> Outcome:
        """Submit what must not be lost, again while the ledger is overloaded or away."""
        return await self.insist(lambda: self.ledger.submit(command), command)

    async def insist(self, step: Callable[[], Awaitable[T]], what: object) -> T:
        """The result of a step that must not be lost, tried again while the store is away."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + SETTLE_SECONDS_MAX
        pause = _RETRY_SECONDS
        while True:
            try:
                return await step()
            except Refusal as refusal:
                passing = refusal.reason in (Reason.OVERLOADED, Reason.STORE_UNAVAILABLE)
                if not passing or loop.time() > give_up:
                    # The hold then expires, and the operator finds the request ABANDONED.
                    _log.error(
                        "a call could not be ended",
                        reason=refusal.reason.value,
                        hold=getattr(what, "hold_id", None),
                    )
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, _RETRY_SECONDS_MAX)


class OpenCall:
    """A call between its hold and its end."""

    def __init__(self, closing: Closing, plan: ForwardPlan, hold: Hold) -> None:
        self._closing = closing
        self._plan = plan
        self._hold = hold
        self._sending: asyncio.Task[UpstreamAnswer] | None = None
        self._answer: UpstreamAnswer | None = None
        self._tap: UsageTap | None = None
        self._encoded = False
        self._bytes = 0
        self._length: int | None = None
        # The answer's last bytes, which the client gets once the call is settled.
        self.tail: list[bytes] = []
        # A read of the tap that runs in a thread; there is never more than one.
        self._reading: asyncio.Future[bytes] | None = None
        self._ending: asyncio.Task[ForwardSummary] | None = None
        self._extending: asyncio.TimerHandle | None = None
        self._extend_later()

    @property
    def plan(self) -> ForwardPlan:
        """What was decided of the call; without its body once that is sent."""
        return self._plan

    async def send(self, sending: Coroutine[Any, Any, UpstreamAnswer]) -> UpstreamAnswer:
        """Send the call; if who waits is cancelled, it is sent all the same."""
        self._sending = self._closing.keep(sending)
        return self._answered(await asyncio.shield(self._sending))

    async def body(self) -> AsyncIterator[bytes]:
        """What the client gets before the call is settled: all but the answer's last bytes.

        Those are kept in `tail`, to be passed on after the settlement: a client that
        has its whole answer then finds it in the books.
        """
        while (passed := await self._read()) is not None:
            if not self._may_be_last(passed):
                if passed:
                    yield passed
                continue
            self.tail.append(passed)
            if await self._ended():
                break
            yield self._flushed()
        self.tail.append(await self._finish())

    def _may_be_last(self, passed: bytes) -> bool:
        """Whether the client could take `passed` for the end of its answer."""
        if self._answer is None or self._tap is None:
            return False
        if self._length is not None:
            return self._bytes >= self._length
        if not self._plan.call.stream:
            # Its end is the end of the transport, which comes after the settlement anyway.
            return False
        if passed.rstrip().endswith(_DONE):
            return True
        reading = self._tap.reading()
        return reading.stated and reading.complete

    async def _ended(self) -> bool:
        """Whether the answer ends now; what comes until that is known goes to the tail."""
        try:
            async with asyncio.timeout(TAIL_SECONDS_MAX):
                while (passed := await self._read()) is not None:
                    self.tail.append(passed)
                    if sum(map(len, self.tail)) > TAIL_BYTES_MAX:
                        return False
        except TimeoutError:
            return False
        return True

    def _flushed(self) -> bytes:
        passed = b"".join(self.tail)
        self.tail.clear()
        return passed

    async def _read(self) -> bytes | None:
        """The next bytes for the client, perhaps none; None at the end of the answer."""
        if self._answer is None or self._tap is None:
            return None
        if self._reading is not None:
            # Who waited for it was cancelled; its bytes are the next all the same.
            return await self._aside_done(self._reading)
        chunk = await self._answer.read()
        if chunk:
            self._bytes += len(chunk)
            heavy = self._encoded and len(chunk) >= ENCODED_CHUNK_BYTES
            return await self._aside(self._tap.feed, chunk) if heavy else self._tap.feed(chunk)
        return None

    async def _finish(self) -> bytes:
        """The answer has ended: what the tap still held back for the client."""
        if self._tap is None:
            return b""
        if self._bytes >= (ENCODED_CHUNK_BYTES if self._encoded else LARGE_ANSWER_BYTES):
            return await self._aside(self._tap.finish)
        return self._tap.finish()

    async def soon(self) -> None:
        """Settle or release, but do not keep the client waiting for its answer for long."""
        with contextlib.suppress(TimeoutError, Refusal):
            async with asyncio.timeout(SETTLE_WAIT_SECONDS_MAX):
                await self.end()

    async def end(self) -> ForwardSummary:
        """Settle or release, once; goes on if who waits for it is cancelled."""
        if self._ending is None:
            self._ending = self._closing.keep(self._end())
        return await asyncio.shield(self._ending)

    def detach(self) -> None:
        """The client has gone: let the call be read to its usage, and end it."""
        if self._ending is None:
            self._closing.keep(self._detached())

    async def _detached(self) -> None:
        closing = self._closing
        rules = closing.detaching
        drains = rules.policy is GonePolicy.DRAIN and closing.detached < rules.readers_max
        closing.detached += 1
        try:
            async with closing.reading_on(rules.drain_seconds if drains else 0):
                await self._read_on()
        except TimeoutError:
            pass
        except Refusal:
            pass  # It broke off: what was seen counts.
        finally:
            closing.detached -= 1
            await self.end()

    async def _read_on(self) -> None:
        if self._answer is None and self._sending is not None:
            self._answered(await asyncio.shield(self._sending))
        while await self._read() is not None:
            pass
        await self._finish()

    def _answered(self, answer: UpstreamAnswer) -> UpstreamAnswer:
        headers = dict(answer.headers)
        self._plan = plan = self._plan.sent()
        self._answer = answer
        self._tap = make_tap(plan.target.provider, plan.call, answer.status, headers)
        lower = {name.lower(): value for name, value in headers.items()}
        if plan.key_use is not None:
            plan.key_use.answered(answer.status, lower)
        self._encoded = "content-encoding" in lower
        length = lower.get("content-length", "")
        self._length = int(length) if length.isascii() and length.isdigit() else None
        return answer

    async def _aside(self, work: Callable[..., bytes], *args: bytes) -> bytes:
        self._reading = asyncio.ensure_future(asyncio.to_thread(work, *args))
        return await self._aside_done(self._reading)

    async def _aside_done(self, reading: asyncio.Future[bytes]) -> bytes:
        # Cancelled, the thread goes on: who reads on waits for it first.
        result = await asyncio.shield(reading)
        self._reading = None
        return result

    async def _end(self) -> ForwardSummary:
        if self._extending is not None:
            self._extending.cancel()
        # A call that is out and unanswered may be billed: it is charged by estimate.
        in_flight = self._sending is not None and not self._sending.done()
        if in_flight and self._sending is not None:
            self._sending.cancel()
        elif self._answer is None:
            self._adopt()
        if self._answer is not None:
            await self._answer.close()
        if self._reading is not None:
            # It reads what has arrived, and has nothing to wait for.
            await asyncio.wait((self._reading,))
        reading = self._tap.reading() if self._tap is not None else UsageReading()
        if reading.job is not None and await self._goes_on(reading, reading.job):
            return ForwardSummary(None, Measurement.NONE, self._hold)
        command: Release | Settle
        if not in_flight and self._unused(reading):
            command, measurement = self._release(), Measurement.NONE
        else:
            command, measurement = self._settlement(reading)
        try:
            outcome = await self._closing.surely(command)
        except Refusal as refusal:
            if refusal.reason is not Reason.RESERVATION_ENDED:
                raise
            # It had expired, and its request is listed as abandoned, and charged or not by
            # the operator's policy. The answer is the client's all the same.
            _log.warning("a call outlived its hold", hold=self._hold.hold_id)
            return ForwardSummary(None, measurement, None)
        self._closing.learn(self._plan, outcome, measurement)
        return _summary(outcome, measurement, self._plan.clamped_output_tokens)

    async def _goes_on(self, reading: UsageReading, seen: JobSeen) -> bool:
        """Keep the hold of work that the call started; settle work that the answer tells of."""
        closing, plan = self._closing, self._plan
        jobs = closing.jobs
        if jobs is None:
            return False
        if plan.call.job_id is not None:
            await self._settle_job(jobs, plan.call.job_id, reading)
            return False
        if seen.state is not JobState.RUNNING:
            return False
        extend = await closing.insist(lambda: jobs.begin(plan, self._hold, seen), self._hold)
        with contextlib.suppress(Refusal):
            # Where the hold ended meanwhile, the job is charged all the same, as a late one.
            await closing.surely(extend)
        return True

    async def _settle_job(self, jobs: Jobs, job_id: str, reading: UsageReading) -> None:
        plan, closing = self._plan, self._closing
        provider = plan.target.provider
        found = await closing.insist(
            lambda: jobs.told(plan.merchant_id, provider, job_id, reading), self._hold
        )
        if found is None:
            return
        job, command = found
        try:
            await closing.surely(command)
        except Refusal as refusal:
            if not jobs.gave_up(job, refusal):
                raise
        await closing.insist(lambda: jobs.forget(job), job)

    def _release(self) -> Release:
        return Release(self._plan.merchant_id, self._hold.hold_id, self._hold.account_ids)

    def _adopt(self) -> None:
        """Take over an answer that came in the moment in which nobody waited for it any more."""
        sending = self._sending
        if sending is not None and not sending.cancelled() and sending.exception() is None:
            self._answered(sending.result())

    def _unused(self, reading: UsageReading) -> bool:
        """Whether the provider refused or failed before it did anything that it bills."""
        if self._answer is None or self._answer.status not in _OK:
            return True
        return reading.failed and not reading.stated and reading.output_bytes_seen == 0

    def _settlement(self, reading: UsageReading) -> tuple[Settle, Measurement]:
        plan = self._plan
        flags: tuple[Flag, ...] = ()
        usage = reading.usage
        measurement = Measurement.PROVIDER
        if not plan.call.billable:
            usage = NOTHING
        elif not (reading.stated and reading.complete):
            # A count in the midst of a stream, as Anthropic's and Google's have, is no total.
            usage = settle_estimate(plan.call, reading, plan.estimate)
            flags, measurement = (Flag.ESTIMATED,), Measurement.ESTIMATED
        cost = FREE
        if plan.call.billable:
            # At the prices of the hold's time, which its bound was made with.
            read = replace(reading, usage=usage)
            at = self._hold.created_at
            cost = self._closing.prices.cost_of(plan.target.provider, plan.call, read, at)
        if not cost.priced:
            flags = (*flags, Flag.UNPRICED)
        if plan.clamped_output_tokens is not None:
            flags = (*flags, Flag.CLAMPED)
        settle = Settle(
            merchant_id=plan.merchant_id,
            request_id=plan.request_id,
            fingerprint=plan.fingerprint,
            parts=plan.settle_parts,
            facts=structs.replace(plan.facts, model=reading.model or plan.facts.model),
            usage=usage,
            cost=cost.total,
            input_cost=cost.input,
            output_cost=cost.output,
            response_id=reading.response_id,
            hold_id=self._hold.hold_id,
            flags=flags,
            failed=reading.failed,
            service_tier=named_tier(plan.call, reading.extra),
        )
        return settle, measurement

    def _extend_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._extending = loop.call_later(
            self._closing.hold_seconds / _EXTENSIONS_PER_LIFE, self._extend
        )

    def _extend(self) -> None:
        if self._ending is not None:
            return
        hold = self._hold
        seconds = self._closing.hold_seconds
        extend = Extend(hold.merchant_id, hold.hold_id, hold.account_ids, seconds)
        self._closing.keep(self._extended(extend))
        self._extend_later()

    async def _extended(self, extend: Extend) -> None:
        # If it fails the next one is due before the hold expires.
        with contextlib.suppress(Refusal):
            await self._closing.ledger.submit(extend)


def _summary(
    outcome: Outcome, measurement: Measurement, clamped_output_tokens: int | None
) -> ForwardSummary:
    match outcome:
        case Settled():
            return ForwardSummary(outcome.record, measurement, outcome.hold, clamped_output_tokens)
        case HoldIs():
            return ForwardSummary(None, measurement, outcome.hold, clamped_output_tokens)
        case _:
            raise TypeError(outcome)

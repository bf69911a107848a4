"""Calls that are one command each: read and answered where the ledger's batches are made."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, cast

import pytest
import structlog
from google.protobuf.message import Message
from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.api import direct as direct_calls
from lava_grpc.api.direct import RAW_BYTES_MAX, Answer, DirectMethod, Reading
from lava_grpc.core.account import Account, AccountKind
from lava_grpc.core.commands import Command, ExpireGrants, Touched
from lava_grpc.core.deferred import DeferredCommand
from lava_grpc.core.errors import Reason, Refusal, invalid
from lava_grpc.core.ledger import Outcome
from lava_grpc.gateway.principal import Principal

COMMAND = ExpireGrants("mer_1", "con_1")
OUTCOME = Touched(Account("mer_1", "con_1", AccountKind.CUSTOMER, 0, 0, 0, closed=False))
RAW = pb.AuthorizeRequest(customer_id="con_1").SerializeToString()
METHOD = "lava.v1.GatewayService/Authorize"


@dataclass
class Caller:
    """An edge's context."""

    credential: str = "good"
    seconds_left: float | None = None


class Using:
    """A use case, and the ledger's queue."""

    def __init__(self, *, needs_caller: bool = True) -> None:
        self.needs_caller = needs_caller
        self.queue: deque[DeferredCommand] = deque()
        self.asked: list[tuple[str, Principal]] = []
        self.found: Command | None = COMMAND
        self.error: Exception | None = None
        self.answer_error: Exception | None = None

    def command(self, request: pb.AuthorizeRequest, principal: Principal) -> Command | None:
        self.asked.append((request.customer_id, principal))
        if self.error is not None:
            raise self.error
        return self.found

    def answer(self, command: Command, outcome: Outcome) -> Message:
        assert (command, outcome) == (COMMAND, OUTCOME)
        if self.answer_error is not None:
            raise self.answer_error
        return pb.AuthorizeResponse(available="1.0")

    def defer(self, deferred: DeferredCommand) -> None:
        self.queue.append(deferred)

    def batch(self, outcome: Outcome = OUTCOME) -> int:
        """Make and conclude all that wait; how many commands that was."""
        made = 0
        while self.queue:
            deferred = self.queue.popleft()
            if deferred.make() is not None:
                made += 1
                deferred.conclude(outcome)
        return made


class Keys:
    def remembered(self, credential: str, *, spend_keys: bool = False) -> Principal | None:
        assert not spend_keys
        return Principal("mer_1") if credential == "good" else None


def _read(raw: bytes) -> Message:
    if raw == b"\xff":
        raise invalid("request", "is no message")
    return pb.AuthorizeRequest.FromString(raw)


class LongWay:
    """The dispatcher, which answers when told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Message, str, float | None]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.error: Exception | None = None
        self.ended = asyncio.Event()

    async def __call__(
        self, method: str, request: Message, *, credential: str, timeout_seconds: float | None
    ) -> Message:
        self.asked.append((method, request, credential, timeout_seconds))
        try:
            await self.go.wait()
            if self.error is not None:
                raise self.error
            return pb.AuthorizeResponse(available="2.0")
        finally:
            self.ended.set()


def _direct(use: Using, long_way: LongWay | None = None) -> DirectMethod[Caller]:
    reading: Reading[Caller] = Reading(_read, lambda c: c.credential, lambda c: c.seconds_left)
    return DirectMethod(METHOD, use, cast("Any", Keys()), reading, long_way or LongWay())


async def test_a_call_is_read_with_its_batch_and_answered_with_it() -> None:
    use = Using()
    direct = _direct(use)
    waiting = [asyncio.ensure_future(_called(direct)) for _ in range(2)]
    assert use.asked == []
    assert use.batch() == 2
    assert use.asked == [("con_1", Principal("mer_1"))] * 2
    for answer in waiting:
        raw = await answer
        assert isinstance(raw, bytes)
        assert pb.AuthorizeResponse.FromString(raw).available == "1.0"


async def test_what_takes_a_look_up_goes_the_long_way_when_its_turn_comes() -> None:
    use, long_way = Using(), LongWay()
    use.found = None
    caller = Caller(seconds_left=5.0)
    unheard = _called(_direct(use, long_way), caller=caller)
    # gRPC's call may have none left by then.
    caller.credential = ""
    assert use.batch() == 0
    assert pb.AuthorizeResponse.FromString(_bytes(await unheard)).available == "2.0"
    request = pb.AuthorizeRequest(customer_id="con_1")
    assert long_way.asked == [(METHOD, request, "good", 5.0)]


async def test_who_is_not_known_and_what_is_large_does_not_wait_for_a_batch() -> None:
    use = Using()
    direct = _direct(use)
    assert direct(RAW, Caller("unknown")) is None
    assert direct(bytes(RAW_BYTES_MAX + 1), Caller()) is None
    assert not use.queue
    assert direct(bytes(RAW_BYTES_MAX), Caller()) is not None
    assert len(use.queue) == 1


async def test_who_was_known_on_arrival_need_not_be_when_the_batch_is_made() -> None:
    use = Using()
    caller = Caller()
    waiting = _called(_direct(use), caller=caller)
    caller.credential = "another's"
    assert use.batch() == 1
    assert use.asked == [("con_1", Principal("mer_1"))]
    _bytes(await waiting)


def _called(
    direct: DirectMethod[Caller], raw: bytes = RAW, caller: Caller | None = None
) -> Awaitable[Answer]:
    waiting = direct(raw, caller or Caller())
    assert waiting is not None
    return waiting


def _bytes(answer: bytes | Refusal) -> bytes:
    assert isinstance(answer, bytes)
    return answer


async def test_no_more_are_looked_up_at_once_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_calls, "LOOK_UPS_MAX", 1)
    use, long_way = Using(needs_caller=False), LongWay()
    use.found = None
    long_way.go.clear()
    method = _direct(use, long_way)
    gone = asyncio.ensure_future(_called(method))
    assert use.batch() == 0
    gone.cancel()
    refused = _called(method)
    assert use.batch() == 0
    told = await refused
    assert isinstance(told, Refusal)
    assert told.reason is Reason.OVERLOADED
    long_way.go.set()
    # The one whose caller has gone is looked up all the same, and then there is room again.
    await long_way.ended.wait()
    while method._looking:  # noqa: ASYNC110, SLF001 - counted, not told
        await asyncio.sleep(0)
    let_in = _called(method)
    assert use.batch() == 0
    _bytes(await let_in)
    assert len(long_way.asked) == 2


async def test_the_long_way_tells_a_no_too() -> None:
    use, long_way = Using(), LongWay()
    use.found = None
    long_way.error = refusal = Refusal(Reason.NOT_FOUND, "no such customer")
    refused = _called(_direct(use, long_way))
    use.batch()
    assert await refused is refusal
    long_way.error = ValueError("a secret")
    with structlog.testing.capture_logs() as logs:
        defective = _called(_direct(use, long_way))
        use.batch()
        told = await defective
    assert isinstance(told, Refusal)
    assert told.reason is Reason.INTERNAL
    assert "a secret" not in str(logs)


async def test_a_report_that_takes_a_look_up_is_charged_though_its_caller_has_gone() -> None:
    use, long_way = Using(needs_caller=False), LongWay()
    use.found = None
    long_way.go.clear()
    for before_its_batch in (True, False):
        long_way.ended.clear()
        waiting = asyncio.ensure_future(_called(_direct(use, long_way)))
        await asyncio.sleep(0)
        if not before_its_batch:
            use.batch()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        use.batch()
        await asyncio.sleep(0)
        assert not long_way.ended.is_set()
    assert len(long_way.asked) == 2
    long_way.go.set()
    async with asyncio.timeout(30):
        await long_way.ended.wait()


async def test_a_hold_that_takes_a_look_up_is_dropped_with_its_caller() -> None:
    use, long_way = Using(), LongWay()
    use.found = None
    long_way.go.clear()
    waiting = asyncio.ensure_future(_called(_direct(use, long_way)))
    await asyncio.sleep(0)
    use.batch()
    await asyncio.sleep(0)
    assert len(long_way.asked) == 1
    waiting.cancel()
    async with asyncio.timeout(30):
        await long_way.ended.wait()
    assert waiting.cancelled()


@pytest.mark.parametrize(
    ("raw", "caller", "error", "reason"),
    [
        (RAW, Caller(seconds_left=0.0), None, Reason.DEADLINE_EXCEEDED),
        (b"\xff", Caller(), None, Reason.INVALID_FIELD),
        (RAW, Caller(), invalid("amount", "must be positive"), Reason.INVALID_FIELD),
    ],
)
async def test_a_no_that_needs_no_ledger_is_told_and_is_no_command(
    raw: bytes, caller: Caller, error: Exception | None, reason: Reason
) -> None:
    use = Using()
    use.error = error
    told = _called(_direct(use), raw, caller)
    assert use.batch() == 0
    refusal = await told
    assert isinstance(refusal, Refusal)
    assert refusal.reason is reason


async def test_a_refused_command_is_told_so_though_it_was_never_made() -> None:
    use = Using()
    refusal = Refusal(Reason.INSUFFICIENT_CREDITS, "no credit")
    made = _called(_direct(use))
    assert use.batch(refusal) == 1
    assert await made is refusal
    left = _called(_direct(use))
    use.queue.popleft().conclude(refusal)
    assert await left is refusal


async def test_a_hold_that_nobody_waits_for_is_not_made_and_a_report_is() -> None:
    for needs_caller, made in ((True, 0), (False, 1)):
        use = Using(needs_caller=needs_caller)
        waiting = asyncio.ensure_future(_called(_direct(use)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert use.batch() == made


async def test_an_answer_that_nobody_waits_for_any_more_is_dropped() -> None:
    use = Using()
    waiting = asyncio.ensure_future(_called(_direct(use)))
    deferred = use.queue.popleft()
    assert deferred.make() == COMMAND
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    deferred.conclude(OUTCOME)


@pytest.mark.parametrize("where", ["command", "answer"])
async def test_a_defect_is_logged_without_its_words_and_told_without_detail(where: str) -> None:
    use = Using()
    error = ValueError("a secret")
    use.error, use.answer_error = (error, None) if where == "command" else (None, error)
    with structlog.testing.capture_logs() as logs:
        told = _called(_direct(use))
        use.batch()
        refusal = await told
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.message) == (Reason.INTERNAL, "internal error")
    assert [line["event"] for line in logs] == ["internal_error"]
    assert "a secret" not in str(logs)

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from google.protobuf.message import Message
from lava.v1 import credit_service_pb2
from lava.v1 import gateway_service_pb2 as pb
from structlog.testing import capture_logs

from lava_grpc.api.dispatch import Handler, LocalDispatcher
from lava_grpc.core.errors import InvariantBroken, Reason, Refusal
from lava_grpc.gateway.forward_call import ForwardCall, ForwardHead, ForwardSummary, Measurement
from lava_grpc.gateway.principal import Principal

METHOD = "lava.v1.CreditService/GetWallet"
REQUEST = credit_service_pb2.GetWalletRequest()
ANSWER = credit_service_pb2.GetWalletResponse(wallet_id="mer_1")
SECRET = "sk-very-secret"


class OneKey:
    """Knows the credential `good`, and has it at hand from the second time on."""

    def __init__(self) -> None:
        self.known = False

    def remembered(self, credential: str, *, spend_keys: bool = False) -> Principal | None:
        del spend_keys
        return Principal("mer_1") if self.known and credential == "good" else None

    async def __call__(self, credential: str, *, spend_keys: bool = False) -> Principal:
        del spend_keys
        if credential != "good":
            raise Refusal(Reason.INVALID_CREDENTIALS, "unknown")
        self.known = True
        return Principal("mer_1")


class Forwarding:
    """A forwarded call of two chunks; notes how it ended."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.ended = ""
        self.closing = asyncio.Event()
        self.finish = asyncio.Event()
        self.finish.set()
        self.wait: asyncio.Event | None = None

    async def __call__(
        self, principal: Principal, call: ForwardCall
    ) -> AsyncIterator[ForwardHead | bytes | ForwardSummary]:
        assert (principal.merchant_id, call.method) == ("mer_1", "POST")
        try:
            yield ForwardHead(200, (("Content-Type", "text/plain"),), "req_1", "res_1")
            yield b"one"
            if self.wait is not None:
                await self.wait.wait()
            if self.failure is not None:
                raise self.failure
            yield b"two"
            yield ForwardSummary(None, Measurement.NONE, None)
            self.ended = "whole"
        except (GeneratorExit, asyncio.CancelledError) as gone:
            self.closing.set()
            await self.finish.wait()
            self.ended = type(gone).__name__
            raise


def dispatcher(
    handler: Handler | None = None, forward: Forwarding | None = None
) -> LocalDispatcher:
    return LocalDispatcher(
        cast("Any", OneKey()), {METHOD: handler} if handler else {}, forward or Forwarding()
    )


async def call(
    to: LocalDispatcher, credential: str = "good", timeout_seconds: float | None = None
) -> Message:
    return await to.unary(METHOD, REQUEST, credential=credential, timeout_seconds=timeout_seconds)


async def test_a_handler_gets_the_request_the_caller_and_a_deadline() -> None:
    seen: list[tuple[object, ...]] = []

    async def handler(*args: object) -> Message:
        seen.append(args)
        return ANSWER

    to = dispatcher(handler)
    assert await call(to) is ANSWER
    before = asyncio.get_running_loop().time()
    assert await call(to, timeout_seconds=10) is ANSWER
    assert seen[0] == (REQUEST, Principal("mer_1"), None)
    assert before + 10 <= cast("float", seen[1][2]) < before + 11


async def test_without_a_good_credential_no_handler_runs() -> None:
    async def handler(*_: object) -> Message:
        raise AssertionError

    with pytest.raises(Refusal) as refused:
        await call(dispatcher(handler), credential="bad")
    assert refused.value.reason is Reason.INVALID_CREDENTIALS


async def test_a_method_without_a_handler_is_not_implemented() -> None:
    with pytest.raises(Refusal) as refused:
        await call(dispatcher())
    assert refused.value.reason is Reason.NOT_IMPLEMENTED


async def test_a_deadline_that_has_passed_is_refused_before_any_work() -> None:
    async def handler(*_: object) -> Message:
        raise AssertionError

    with pytest.raises(Refusal) as refused:
        await call(dispatcher(handler), timeout_seconds=0)
    assert refused.value.reason is Reason.DEADLINE_EXCEEDED


async def test_a_refusal_is_passed_on_as_it_is() -> None:
    said = Refusal(Reason.NOT_FOUND, "no such thing", field="customer_id")

    async def handler(*_: object) -> Message:
        raise said

    with pytest.raises(Refusal) as refused:
        await call(dispatcher(handler))
    assert refused.value is said


@pytest.mark.parametrize("error", [ValueError(SECRET), KeyError(SECRET), AssertionError(SECRET)])
async def test_a_defect_is_logged_without_its_words_and_told_without_detail(
    error: Exception,
) -> None:
    async def handler(*_: object) -> Message:
        raise error

    with capture_logs() as logs, pytest.raises(Refusal) as refused:
        await call(dispatcher(handler))
    assert (refused.value.reason, refused.value.message) == (Reason.INTERNAL, "internal error")
    assert refused.value.__cause__ is None
    (entry,) = logs
    assert (entry["method"], entry["error"]) == (METHOD, type(error).__name__)
    assert "test_dispatch.py" in entry["where"]
    assert SECRET not in str(entry)


async def test_a_broken_rule_is_logged_in_full() -> None:
    async def handler(*_: object) -> Message:
        raise InvariantBroken("account con_1 is off by 3")

    with capture_logs() as logs, pytest.raises(Refusal) as refused:
        await call(dispatcher(handler))
    assert refused.value.reason is Reason.INTERNAL
    assert logs[0]["detail"] == "account con_1 is off by 3"


async def test_a_cancelled_call_stays_cancelled() -> None:
    started = asyncio.Event()

    async def handler(*_: object) -> Message:
        started.set()
        await asyncio.Event().wait()
        return ANSWER

    running = asyncio.ensure_future(call(dispatcher(handler)))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def parts_of(to: LocalDispatcher, credential: str = "good") -> list[str | None]:
    request = pb.ForwardRequest(url="https://api.openai.com/v1")
    return [part.WhichOneof("part") async for part in to.forward(request, credential=credential)]


async def test_a_forwarded_call_is_a_head_chunks_and_a_summary() -> None:
    forward = Forwarding()
    kinds = await parts_of(dispatcher(forward=forward))
    assert kinds == ["head", "chunk", "chunk", "summary"]
    assert forward.ended == "whole"


async def test_a_defect_in_a_stream_is_told_without_detail() -> None:
    forward = Forwarding()
    forward.failure = ValueError(SECRET)
    with capture_logs() as logs, pytest.raises(Refusal) as refused:
        await parts_of(dispatcher(forward=forward))
    assert refused.value.reason is Reason.INTERNAL
    assert SECRET not in str(logs)


async def test_closing_the_iterator_closes_the_call_behind_it() -> None:
    forward = Forwarding()
    request = pb.ForwardRequest(url="https://api.openai.com/v1")
    parts = cast("Any", dispatcher(forward=forward).forward(request, credential="good"))
    await anext(parts)
    await parts.aclose()
    assert forward.ended == "GeneratorExit"


async def test_cancelling_who_waits_reaches_the_call() -> None:
    forward = Forwarding()
    forward.wait = asyncio.Event()
    waiting = asyncio.ensure_future(parts_of(dispatcher(forward=forward)))
    while not waiting.cancelled() and not forward.closing.is_set():
        await asyncio.sleep(0)
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert forward.closing.is_set()


async def test_a_close_that_is_cancelled_goes_on_to_its_end() -> None:
    forward = Forwarding()
    forward.finish.clear()
    request = pb.ForwardRequest(url="https://api.openai.com/v1")
    parts = cast("Any", dispatcher(forward=forward).forward(request, credential="good"))
    await anext(parts)
    closing = asyncio.ensure_future(parts.aclose())
    await forward.closing.wait()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    forward.finish.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert forward.ended == "GeneratorExit"

"""Holds of long calls, of calls that nobody finished, and settlements that have to wait."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from lava_grpc.core.commands import Command, Release, Settle
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.hold import HoldState
from lava_grpc.core.ledger import Outcome
from lava_grpc.gateway.forward_call import ForwardSummary
from lava_grpc.gateway.ports import Ledger
from lava_grpc.testing import FakeProvider, Fault
from tests.integration.forward.calls import (
    CHAT,
    chat,
    encoded,
    forward,
    hung_up,
    path,
    paying,
    record_when_there,
    request,
    sent_headers,
)
from tests.integration.forward.parts import WALLET, call_of, forwarding
from tests.support.ledger import MovingClock, ledger_on
from tests.support.service import running

STREAM = chat(stream=True)
# Beyond the life of a forwarded call's hold.
LONG_SECONDS = 400


async def test_a_call_that_lives_long_extends_its_hold(database_url: str) -> None:
    async with (
        FakeProvider() as provider,
        forwarding(database_url, provider, hold_seconds=1) as (forwarder, on, principal),
    ):
        provider.fault = Fault(pause_after=4)
        parts = forwarder(principal, call_of(request(body=STREAM, request_id="long")))
        head = await anext(parts)
        hold = await on.books.hold_of_request(WALLET, "long")
        assert hold is not None
        first = hold.expires_at
        async with asyncio.timeout(10):
            while hold.expires_at < first + 1_000_000:
                found = await on.books.hold_of_request(WALLET, "long")
                assert found is not None
                hold = found
        provider.resume()
        rest = [part async for part in parts]
        record = await on.books.record(WALLET, "long")
        assert head is not None
        assert rest
        assert record is not None
        assert record.flags == ()
        assert record.usage.output_tokens == 12
        await on.verified()


@pytest.mark.parametrize("on_abandoned", ["release", "charge"])
async def test_a_hold_that_nobody_ends_is_listed_as_abandoned(
    database_url: str, on_abandoned: str
) -> None:
    clock = MovingClock()
    async with running(database_url, clock=clock, on_abandoned=on_abandoned) as on:
        customer, token = await paying(on)
        on.provider.fault = Fault(pause_after=4)
        async with on.http.stream(
            "POST",
            path(CHAT),
            content=encoded(STREAM),
            headers=sent_headers(on, token, {"idempotency-key": "dead"}),
        ) as answer:
            chunks = answer.aiter_bytes()
            await anext(chunks)
            # As if this process had been frozen, and another one swept.
            clock.move(LONG_SECONDS)
            record = await record_when_there(on, "dead")
            assert record["flags"] == ["abandoned"]
            charge = record["charge"]["amount"]
            assert (charge == "0.0000000000") is (on_abandoned == "release")
            has = await on.balance(customer)
            assert has.get("held", "0.0000000000") == "0.0000000000"
            await on.verified()
            on.provider.resume()
            async for _ in chunks:
                pass
        after = await on.record("dead")
        if on_abandoned == "release":
            # It came back to life: what it used is charged all the same.
            assert after["flags"] == ["late"]
            assert after["charge"]["amount"] == "0.0150000000"
        else:
            assert after["charge"]["amount"] == charge
        await on.verified()


class AwayAtFirst:
    """A ledger that is away when the first settlements come."""

    def __init__(self, ledger: Ledger, reason: Reason) -> None:
        self._ledger = ledger
        self._reason = reason
        self.refused = 0

    async def submit(self, command: Command, *, deadline: float | None = None) -> Outcome:
        if isinstance(command, Settle | Release) and self.refused < 3:
            self.refused += 1
            raise Refusal(self._reason, "not now")
        return await self._ledger.submit(command, deadline=deadline)


@pytest.mark.parametrize("reason", [Reason.OVERLOADED, Reason.STORE_UNAVAILABLE])
@pytest.mark.parametrize("status", [None, 500])
async def test_an_end_waits_for_a_ledger_that_is_away(
    sqlite_url: str, reason: Reason, status: int | None
) -> None:
    away: list[AwayAtFirst] = []

    def wrapped(ledger: Ledger) -> Ledger:
        away.append(AwayAtFirst(ledger, reason))
        return away[0]

    async with (
        FakeProvider() as provider,
        forwarding(sqlite_url, provider, wrapped=wrapped) as (
            forwarder,
            on,
            principal,
        ),
    ):
        provider.fault = Fault(status=status)
        parts = forwarder(principal, call_of(request(body=STREAM, request_id="waits")))
        last = [part async for part in parts][-1]
        assert isinstance(last, ForwardSummary)
        assert away[0].refused == 3
        record = await on.books.record(WALLET, "waits")
        assert (record is None) is (status == 500)
        hold = await on.books.hold_of_request(WALLET, "waits")
        assert hold is not None
        assert hold.state is (HoldState.SETTLED if status is None else HoldState.RELEASED)
        await on.verified()


async def test_a_client_gets_its_answer_though_the_ledger_is_away(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        _, token = await paying(on)
        on.provider.fault = Fault(pause_after=4)
        blocker = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
        headers = sent_headers(on, token, {"idempotency-key": "answered"})
        seen = b""
        async with on.http.stream(
            "POST", path(CHAT), content=encoded(STREAM), headers=headers
        ) as answer:
            async for chunk in answer.aiter_bytes():
                if not seen:
                    blocker.execute("BEGIN IMMEDIATE")
                    on.provider.resume()
                seen += chunk
                if seen.endswith(b"[DONE]\n\n"):
                    blocker.execute("ROLLBACK")
        blocker.close()
        assert (await on.record("answered"))["model_usage"]["output_tokens"] == 12
        await on.verified()


async def test_a_full_queue_refuses_calls_and_loses_no_settlement(database_url: str) -> None:
    async with running(database_url, queue_commands_max=2, batch_commands_max=1) as on:
        _, token = await paying(on)
        answers = await asyncio.gather(*[forward(on, token=token) for _ in range(30)])
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) <= {200, 503}
        assert 200 in statuses
        for answer in answers:
            if answer.status_code == 200:
                record = await record_when_there(on, answer.headers["x-lava-request-id"])
                assert record["model_usage"]["output_tokens"] == 12
        assert on.provider.calls_total == statuses.count(200)
        await on.verified()


@pytest.mark.parametrize("ends", [True, False])
async def test_a_service_that_stops_settles_what_it_streams(
    database_url: str,
    ends: bool,  # noqa: FBT001
) -> None:
    async with running(database_url, shutdown_seconds=1, drain_seconds=0.2) as on:
        _, token = await paying(on)
        on.provider.fault = Fault(pause_after=4) if ends else Fault(endless=True, chunk_delay_ms=5)
        async with hung_up(on, STREAM, "stopped", token):
            stopping = asyncio.create_task(on.service.stop())
            if ends:
                on.provider.resume()
            await stopping
        async with ledger_on(database_url) as books:
            record = await books.books.record(on.merchant_id, "stopped")
            assert record is not None
            assert [flag.value for flag in record.flags] == ([] if ends else ["estimated"])
            assert record.charge.amount > 0
            await books.verified()

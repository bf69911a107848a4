"""What a call does not keep: its body once that is sent, its client's stream once it must stop."""

from __future__ import annotations

import asyncio
import tracemalloc

from lava_grpc.gateway.forward_call import ForwardCall
from lava_grpc.testing import FakeProvider, Fault
from tests.integration.forward.calls import CHAT, chat, hung_up, paying, request
from tests.integration.forward.parts import call_of, forwarding
from tests.support.ledger import ledger_on
from tests.support.service import running

STREAM = chat(stream=True)
LARGE_BYTES = 4 * 1024 * 1024


def _large() -> ForwardCall:
    said = [{"role": "user", "content": "x" * LARGE_BYTES}]
    return call_of(request(CHAT, chat(stream=True, messages=said), request_id="large"))


async def test_a_large_body_is_not_kept_while_its_answer_streams(sqlite_url: str) -> None:
    async with (
        FakeProvider() as provider,
        forwarding(sqlite_url, provider) as (forwarder, on, principal),
    ):
        small = call_of(request(CHAT, STREAM))
        # What is loaded with the first call is not what is looked for.
        assert [part async for part in forwarder(principal, small)]
        provider.fault = Fault(pause_after=2)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            parts = forwarder(principal, _large())
            head = await anext(parts)
            await anext(parts)
            # The fake keeps what it was sent.
            provider.calls[-1].body = b""
            async with asyncio.timeout(10):
                while tracemalloc.get_traced_memory()[0] - before > LARGE_BYTES // 2:  # noqa: ASYNC110
                    await asyncio.sleep(0)
        finally:
            tracemalloc.stop()
        provider.resume()
        assert [part async for part in parts]
        assert head is not None
        await on.verified()


async def test_a_service_that_stops_gives_readers_no_more_time_than_it_has(
    database_url: str,
) -> None:
    async with running(database_url, shutdown_seconds=1, drain_seconds=600) as on:
        _, token = await paying(on)
        on.provider.fault = Fault(endless=True, chunk_delay_ms=5)
        async with hung_up(on, STREAM, "stopped", token):
            pass
        await on.service.stop()
        async with ledger_on(database_url) as books:
            record = await books.books.record(on.merchant_id, "stopped")
            assert record is not None
            assert [flag.value for flag in record.flags] == ["estimated"]
            assert record.charge.amount > 0
            await books.verified()

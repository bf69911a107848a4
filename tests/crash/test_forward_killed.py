"""Forwarded calls that were in flight when their server died are settled or listed, never lost."""

from __future__ import annotations

import asyncio
from collections import Counter

from lava.v1 import ledger_service_pb2 as ledger
from sqlalchemy import create_engine, select

from lava_grpc import config
from lava_grpc.app.clock import SystemClock
from lava_grpc.app.service import Service
from lava_grpc.core.money import parse_amount
from lava_grpc.core.time import SECOND, Instant
from lava_grpc.gateway.forward_end import HOLD_SECONDS
from lava_grpc.store import schema
from lava_grpc.testing import FakeProvider
from lava_grpc.testing.fake_provider.fault import Fault
from tests.crash.forwards import CREDIT, Forwards
from tests.support.process import calling, init, serving

STUCK, KILLS, CALLERS = 4, 2, 8


class Later:
    """The machine's clock, when every hold that lives now is overdue."""

    def now(self) -> Instant:
        """See `core.time.Clock.now`."""
        return SystemClock().now() + 2 * HOLD_SECONDS * SECOND


async def test_forwarded_calls_are_settled_or_abandoned_but_never_lost(database_url: str) -> None:
    merchant = await init(database_url)
    async with FakeProvider() as provider:
        settings = {
            "provider_keys": {"openai": "sk-platform"},
            "upstream_map": provider.upstream_map(),
        }
        async with (
            serving(database_url, **settings) as server,
            calling(server.grpc_address, merchant) as caller,
        ):
            forwards = Forwards(caller)
            await forwards.prepare()
            provider.fault = Fault(chunk_delay_ms=5)
            tasks = [asyncio.create_task(forwards.work(str(n))) for n in range(CALLERS)]
            for _ in range(KILLS):
                await forwards.more(20)
                await server.kill9()
                await server.start()
            await forwards.more(20)
            forwards.stopping = True
            await asyncio.gather(*tasks)
            # And some that certainly stand in the middle of their stream.
            provider.fault = Fault(pause_after=2)
            seen = provider.calls_total
            stuck = {f"stuck-{n}" for n in range(STUCK)}
            tasks = [asyncio.create_task(forwards.forward(name)) for name in stuck]
            await provider.until(lambda: provider.calls_total == seen + STUCK)
            await server.kill9()
            await asyncio.gather(*tasks)
        assert stuck <= forwards.broken
        loaded = config.load(
            {"database_url": database_url, "grpc_address": "127.0.0.1:0", "http_address": ""}
        )
        service = Service(loaded, Later())
        addresses = await service.start()
        try:
            async with calling(addresses.grpc_address, merchant) as caller:
                await until_no_hold_is_active(database_url)
                report = await caller.call("LedgerService/Verify", ledger.VerifyRequest())
                assert report.ok, report.findings
        finally:
            await service.stop()
        assert_accounted_for(database_url, forwards, stuck)


async def until_no_hold_is_active(database_url: str) -> None:
    """Wait for the sweeper to have ended every hold."""
    engine = create_engine(database_url)
    active = select(schema.holds.c.hold_id).where(schema.holds.c.state == "active")
    try:
        async with asyncio.timeout(30):
            while True:
                with engine.connect() as connection:
                    if connection.execute(active).first() is None:
                        return
                await asyncio.sleep(0.05)
    finally:
        engine.dispose()


def assert_accounted_for(database_url: str, forwards: Forwards, stuck: set[str]) -> None:
    """Every call that was charged is there as told; every other is settled, listed or not begun."""
    engine = create_engine(database_url)
    with engine.connect() as connection:
        records = {row.request_id: row for row in connection.execute(select(schema.requests))}
        holds = {row.request_id: row for row in connection.execute(select(schema.holds))}
        mine = schema.accounts.c.account_id == forwards.customer_id
        account = connection.execute(select(schema.accounts).where(mine)).one()
        entries = schema.entries.c
        charged = Counter(
            connection.execute(
                select(entries.request_id).where(
                    entries.kind == "charge", entries.account_id == forwards.customer_id
                )
            ).scalars()
        )
    engine.dispose()
    for request_id, amount in forwards.charged.items():
        assert records[request_id].charge == parse_amount(amount, "amount") > 0
        assert records[request_id].flags == ""
    for request_id in forwards.broken & holds.keys():
        if holds[request_id].state == "expired":
            assert (records[request_id].flags, records[request_id].charge) == ("abandoned", 0)
        elif holds[request_id].state == "settled":
            assert records[request_id].charge > 0
        else:
            assert holds[request_id].state == "released"
    assert {request_id for request_id in stuck if holds[request_id].state == "expired"} == stuck
    assert holds.keys() <= forwards.charged.keys() | forwards.broken
    assert set(charged.values()) == {1}
    assert account.held == 0
    assert account.balance == CREDIT - sum(row.charge for row in records.values())

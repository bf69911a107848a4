"""PostgreSQL turns the ledger's transactions away; its batches are applied again, once."""

from __future__ import annotations

import asyncio

from tests.crash.audit import audit, repeated_differently
from tests.crash.conflicts import Conflict, make_serializable, provoke
from tests.crash.load import Load
from tests.support.process import calling, init, serving


async def test_serialization_failures_and_deadlocks_reach_no_caller(postgres_url: str) -> None:
    await asyncio.to_thread(make_serializable, postgres_url)
    merchant = await init(postgres_url)
    async with (
        serving(postgres_url, log_level="warning") as server,
        calling(server.grpc_address, merchant) as caller,
    ):
        load = Load(caller)
        await load.prepare()
        load.start()
        try:
            for conflict in (*Conflict, *Conflict):
                await load.log.more(20)
                accounts = (load.rich, load.poor)
                await asyncio.to_thread(provoke, postgres_url, conflict, accounts)
            await load.log.more(50)
            await load.stop()
        finally:
            await load.cancel()
        for conflict in Conflict:
            assert server.log.count(conflict.value) >= 2, server.log
        found = audit(postgres_url, load)
        assert found.clean, found
        assert (load.log.strange, load.log.retries) == ([], 0)
        assert await repeated_differently(load, caller) == []

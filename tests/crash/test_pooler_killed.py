"""The pooler before PostgreSQL killed under load: whatever went through it counts once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from tests.crash.audit import audit, repeated_differently
from tests.crash.load import Load
from tests.support.pgbouncer import SERVER_CONNECTIONS_MAX, PgBouncer
from tests.support.process import calling, command, environment, init, serving

KILLS = 3


async def test_a_killed_pooler_loses_and_doubles_nothing(
    pooler: PgBouncer, postgres_url: str
) -> None:
    url = pooler.through(postgres_url)
    merchant = await init(url, database_prepare=False)
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(serving(url, database_prepare=False)) for _ in range(2)
        ]
        callers = [
            await stack.enter_async_context(calling(server.grpc_address, merchant))
            for server in servers
        ]
        one, two = loads = [Load(caller, seed=seed) for seed, caller in enumerate(callers)]
        for load in loads:
            await load.prepare()
            load.start()
        try:
            for _ in range(KILLS):
                await asyncio.gather(*[load.log.more(50) for load in loads])
                clients, connections = await asyncio.to_thread(pooler.connections, url)
                assert 0 < connections <= SERVER_CONNECTIONS_MAX <= clients
                await asyncio.to_thread(pooler.kill9)
                await asyncio.to_thread(pooler.start)
            await asyncio.gather(*[load.log.more(100) for load in loads])
            for load in loads:
                await load.stop()
        finally:
            for load in loads:
                await load.cancel()
        for load, other, caller in ((one, two, callers[0]), (two, one, callers[1])):
            found = audit(postgres_url, load, besides=other.log.requests)
            assert found.clean, found
            assert load.log.strange == []
            assert await repeated_differently(load, caller) == []
        assert [await server.terminate() for server in servers] == [0, 0]
    done = await command("verify", env=environment(database_url=url, database_prepare=False))
    assert done.code == 0, done

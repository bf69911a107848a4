"""kill -9 under load: what was acknowledged is there once, and nothing else is."""

from __future__ import annotations

import random

from tests.crash.audit import audit, repeated_differently
from tests.crash.load import Load
from tests.support.process import calling, init, serving

KILLS = 3


async def test_a_killed_server_loses_and_doubles_nothing(database_url: str) -> None:
    merchant = await init(database_url)
    dice = random.Random(7)  # noqa: S311 - a moment, no secret
    async with serving(database_url) as server, calling(server.grpc_address, merchant) as caller:
        load = Load(caller)
        await load.prepare()
        load.start()
        try:
            for _ in range(KILLS):
                await load.log.more(dice.randint(100, 250))
                await server.kill9()
                await server.start()
            await load.log.more(200)
            await load.stop()
        finally:
            await load.cancel()
        found = audit(database_url, load)
        assert found.clean, found
        assert load.log.strange == []
        assert load.log.refused > 0, "the poor customer's credit was to run out"
        assert load.log.retries > 0, "the kills were to hit calls in flight"
        assert await repeated_differently(load, caller) == []
        # Asking again changed nothing.
        assert audit(database_url, load).clean

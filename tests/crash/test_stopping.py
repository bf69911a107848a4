"""SIGTERM under load: no more calls, an end for those that run, and nothing lost."""

from __future__ import annotations

import asyncio
import signal

from lava_grpc.testing import FakeProvider
from lava_grpc.testing.fake_provider.fault import Fault
from tests.crash.audit import audit
from tests.crash.forwards import Forwards
from tests.crash.load import Load
from tests.support.process import Health, calling, init, serving


async def test_a_server_told_to_stop_finishes_what_it_began(database_url: str) -> None:
    merchant = await init(database_url)
    async with FakeProvider() as provider:
        async with (
            serving(
                database_url,
                provider_keys={"openai": "sk-platform"},
                upstream_map=provider.upstream_map(),
            ) as server,
            calling(server.grpc_address, merchant) as caller,
        ):
            load, forwards = Load(caller), Forwards(caller)
            await load.prepare()
            await forwards.prepare()
            provider.fault = Fault(pause_after=2)
            stream = asyncio.create_task(forwards.forward("stream"))
            load.start()
            try:
                await provider.until(lambda: provider.calls_total == 1)
                await load.log.more(100)
                async with Health(caller.channel) as health:
                    await health.until(serving=True)
                    server.signal(signal.SIGTERM)
                    await health.until(serving=False)
                assert not stream.done()
                provider.resume()
                assert await server.ended() == 0
                await stream
                # Its callers still wait for answers: they get them from the next server.
                await server.start()
                await load.log.more(50)
                await load.stop()
            finally:
                await load.cancel()
        assert forwards.broken == set()
        assert forwards.charged.keys() == {"stream"}
        assert load.log.strange == []
        found = audit(database_url, load, besides={"stream"})
        assert found.clean, found

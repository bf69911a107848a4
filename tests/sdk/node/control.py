"""What a test in another language asks of the fake provider: a small HTTP server beside it.

| call | does |
|---|---|
| POST /fail_next | takes a list of faults, for the next calls, one each |
| POST /fault | takes the fault of every call from now on; `{}` is none |
| POST /script | takes `method`, `path`, `status`, `headers`, `chunks`: an answer to send as it is |
| POST /resume | lets paused answers go on |
| POST /reset | forgets the calls so far |
| GET /calls | the calls so far, oldest first |
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from lava_grpc.testing import FakeProvider, Fault
from lava_grpc.testing.fake_provider import Scripted


class Control:
    """The handlers, for one fake provider."""

    def __init__(self, provider: FakeProvider) -> None:
        self._provider = provider

    async def fail_next(self, request: web.Request) -> web.Response:
        self._provider.fail_next(*(Fault(**fault) for fault in await request.json()))
        return web.json_response({})

    async def fault(self, request: web.Request) -> web.Response:
        self._provider.fault = Fault(**await request.json())
        return web.json_response({})

    async def script(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self._provider.script(
            asked["method"],
            asked["path"],
            Scripted(
                asked.get("status", 200),
                tuple(asked.get("headers", {}).items()),
                tuple(chunk.encode() for chunk in asked["chunks"]),
            ),
        )
        return web.json_response({})

    async def resume(self, _: web.Request) -> web.Response:
        self._provider.resume()
        return web.json_response({})

    async def reset(self, _: web.Request) -> web.Response:
        self._provider.calls.clear()
        # Ids in its answers are made of the count: two equal runs answer alike.
        self._provider.calls_total = 0
        return web.json_response({})

    async def calls(self, _: web.Request) -> web.Response:
        return web.json_response(
            [
                {
                    "method": call.method,
                    "path": call.path,
                    "headers": dict(call.headers),
                    "body": call.body.decode(errors="replace"),
                    "outcome": call.outcome,
                }
                for call in self._provider.calls
            ]
        )


@asynccontextmanager
async def controlling(provider: FakeProvider) -> AsyncIterator[str]:
    """Serve on loopback until the block ends; the server's URL."""
    control = Control(provider)
    app = web.Application()
    for name in ("fail_next", "fault", "script", "resume", "reset"):
        app.router.add_post(f"/{name}", getattr(control, name))
    app.router.add_get("/calls", control.calls)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()

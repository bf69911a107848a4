"""What a test in another language asks of the fake provider: a small HTTP server beside it.

| call | does |
|---|---|
| POST /fail_next | takes a list of faults, for the next calls, one each |
| POST /fault | takes the fault of every call from now on; `{}` is none |
| POST /script | takes `method`, `path`, `status`, `headers`, `chunks`: an answer to send as it is |
| POST /replay | takes `answers`, each an id of the corpus or as for /script, and `straight` |
| GET /corpus | every pair: `id`, `url`, `body`, `streamed`, `free`, `estimated`, `usage` |
| POST /resume | lets paused answers go on |
| POST /reset | forgets scripts, faults and the calls so far |
| GET /calls | the calls so far, oldest first |

The answers of a replay are for the next calls of the last one's endpoint, one each, and the last
stays. `straight` leaves out what a provider says only because the gateway asked for it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from lava_grpc.testing import FakeProvider, Fault
from lava_grpc.testing.fake_provider import Scripted
from tests.corpus import Pair, pairs
from tests.sdk.cases import path_of, scripted
from tests.sdk.payer import is_free

_PAIRS = {pair.id: pair for pair in pairs()}


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
        self._provider.script(asked["method"], asked["path"], _answer(asked))
        return web.json_response({})

    async def replay(self, request: web.Request) -> web.Response:
        asked = await request.json()
        straight, each = asked["straight"], asked["answers"]
        answers = [
            scripted(_PAIRS[item], straight=straight) if isinstance(item, str) else _answer(item)
            for item in each
        ]
        self._provider.script("POST", path_of(_PAIRS[each[-1]]), *answers)
        return web.json_response({})

    async def corpus(self, _: web.Request) -> web.Response:
        return web.json_response([_told(pair) for pair in _PAIRS.values() if _is_json(pair)])

    async def resume(self, _: web.Request) -> web.Response:
        self._provider.resume()
        return web.json_response({})

    async def reset(self, _: web.Request) -> web.Response:
        # Ids in its answers are made of the count: two equal runs answer alike.
        self._provider.reset()
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


def _answer(asked: dict[str, Any]) -> Scripted:
    return Scripted(
        asked.get("status", 200),
        tuple(asked.get("headers", {}).items()),
        tuple(chunk.encode() for chunk in asked["chunks"]),
    )


def _is_json(pair: Pair) -> bool:
    return pair.request_headers.get("content-type") == "application/json" and bool(pair.request)


def _told(pair: Pair) -> dict[str, Any]:
    return {
        "id": pair.id,
        "url": pair.url,
        "body": json.loads(pair.request),
        "streamed": pair.streamed,
        "free": is_free(pair),
        "estimated": pair.estimated,
        "usage": pair.expected.usage,
    }


@asynccontextmanager
async def controlling(provider: FakeProvider) -> AsyncIterator[str]:
    """Serve on loopback until the block ends; the server's URL."""
    control = Control(provider)
    app = web.Application()
    for name in ("fail_next", "fault", "script", "replay", "resume", "reset"):
        app.router.add_post(f"/{name}", getattr(control, name))
    app.router.add_get("/calls", control.calls)
    app.router.add_get("/corpus", control.corpus)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()

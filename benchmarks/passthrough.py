"""The least that a proxy can do in Python: `python -m benchmarks.passthrough UPSTREAM`.

aiohttp's server and aiohttp's client on libuv's loop: each call's body and a few of its
headers go to the upstream, the answer comes back as it arrives. Nobody is asked, and
nothing is read, held or written. Prints its port; ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web

_PASSED = ("content-type", "authorization", "x-bench-hold")


async def _serve(upstream: str) -> None:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
    ) as session:

        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            headers = {name: request.headers[name] for name in _PASSED if name in request.headers}
            async with session.post(
                f"{upstream}{request.rel_url}", data=body, headers=headers
            ) as answer:
                kind = {"content-type": answer.headers["content-type"]}
                if answer.headers.get("transfer-encoding") != "chunked":
                    return web.Response(
                        body=await answer.read(), status=answer.status, headers=kind
                    )
                passed = web.StreamResponse(status=answer.status, headers=kind)
                await passed.prepare(request)
                async for chunk in answer.content.iter_any():
                    await passed.write(chunk)
                await passed.write_eof()
                return passed

        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))

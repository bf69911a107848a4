"""Work that ends at the provider while servers die: each piece is charged once, whoever asked."""

from __future__ import annotations

import asyncio
import contextlib
import json

import httpx

from lava_grpc.testing import FakeProvider
from lava_grpc.testing.fake_provider import Scripted
from tests.support.process import Merchant, ServerProcess, init, serving

JOBS, KILLS, ASKING = 12, 2, 4
USED = {"input_tokens": 1_000_000, "output_tokens": 0, "total_tokens": 1_000_000}
KIND = (("content-type", "application/json"),)


async def test_each_piece_of_work_is_charged_once_though_servers_die(database_url: str) -> None:
    merchant = await init(database_url)
    async with FakeProvider() as provider:
        settings = {
            "provider_keys": {"openai": "sk-platform"},
            "upstream_map": provider.upstream_map(),
            "rest_calls_per_minute": 0,
        }
        async with serving(database_url, **settings) as server:
            async with _client(server, merchant) as http:
                for n in range(JOBS):
                    _script(provider, "POST", "responses", _response(n, "queued", None))
                    await _begin(http, n)
            for n in range(JOBS):
                _script(provider, "GET", f"responses/r{n}", _response(n, "completed", USED))
            for _ in range(KILLS):
                await _killed_while_asked(server, merchant)
            async with _client(server, merchant) as http:
                await asyncio.gather(*(_ask(http, n) for n in range(JOBS)))
                for n in range(JOBS):
                    record = (await http.get(f"/v1/requests/job-{n}")).json()
                    assert (record["status"], record["cost"]) == ("completed", "0.1500000000")
                wallet = (await http.get("/v1/wallet")).json()
                assert wallet["balance"] == f"-{JOBS * 15 / 100:.10f}"
                report = (await http.get("/v1/ledger/verify")).json()
                assert report["ok"], report["findings"]


async def _killed_while_asked(server: ServerProcess, merchant: Merchant) -> None:
    """Kill the server in the middle of many callers who ask, and start it again."""
    async with _client(server, merchant) as http:
        asking = [asyncio.create_task(_ask(http, n)) for n in [*range(JOBS)] * ASKING]
        await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        await server.kill9()
        await asyncio.gather(*asking)
    await server.start()


def _client(server: ServerProcess, merchant: Merchant) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"http://{server.http_address}",
        headers={"authorization": f"Bearer {merchant.secret_key}"},
        timeout=30,
    )


async def _begin(http: httpx.AsyncClient, n: int) -> None:
    answer = await http.post(
        "/v1/forward?u=https://api.openai.com/v1/responses",
        json={"model": "gpt-4o-mini", "input": "hello", "background": True},
        headers={"idempotency-key": f"job-{n}"},
    )
    assert answer.status_code == 200, answer.text


async def _ask(http: httpx.AsyncClient, n: int) -> None:
    # Its server may die.
    with contextlib.suppress(httpx.TransportError):
        await http.get(f"/v1/forward?u=https://api.openai.com/v1/responses/r{n}")


def _script(provider: FakeProvider, method: str, path: str, document: object) -> None:
    raw = json.dumps(document).encode()
    provider.script(method, f"/openai/v1/{path}", Scripted(200, KIND, (raw,)))


def _response(n: int, status: str, usage: object) -> dict[str, object]:
    return {"id": f"r{n}", "model": "gpt-4o-mini", "status": status, "usage": usage}

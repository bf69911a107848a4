"""The calls that these tests forward, over both edges."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
from lava.v1 import gateway_service_pb2 as pb
from lava.v1 import gateway_service_pb2_grpc as stubs

from tests.support.service import Running

METER = "per-token"
QUESTION = "one two three"
CHAT = "https://api.openai.com/v1/chat/completions"
RESPONSES = "https://api.openai.com/v1/responses"
EMBEDDINGS = "https://api.openai.com/v1/embeddings"
MESSAGES = "https://api.anthropic.com/v1/messages"
GENERATE = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash"
JSON = {"content-type": "application/json"}
VERSION = {"anthropic-version": "2023-06-01"}


def chat(**more: object) -> dict[str, Any]:
    """A chat request: 3 tokens in, 12 out."""
    said = [{"role": "user", "content": QUESTION}]
    return {"model": "gpt-4o-mini", "messages": said, "max_tokens": 100, **more}


def message(**more: object) -> dict[str, Any]:
    """A request to Anthropic: 3 tokens in, 12 out."""
    said = [{"role": "user", "content": QUESTION}]
    return {"model": "claude-sonnet-4-6", "max_tokens": 100, "messages": said, **more}


def contents() -> dict[str, Any]:
    """A request to Google."""
    return {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}]}


def path(url: str) -> str:
    """The gateway's path and query for a target."""
    return f"/v1/forward?u={quote(url, safe='')}"


async def forward(
    on: Running,
    url: str = CHAT,
    body: object = None,
    *,
    token: str | None = None,
    headers: dict[str, str] | None = None,
    method: str = "POST",
) -> httpx.Response:
    """A call over REST."""
    return await on.http.request(
        method, path(url), content=encoded(body), headers=sent_headers(on, token, headers)
    )


def encoded(body: object) -> bytes:
    """The body as JSON; the usual chat for None."""
    if isinstance(body, bytes):
        return body
    return json.dumps(chat() if body is None else body).encode()


def sent_headers(
    on: Running, token: str | None = None, headers: dict[str, str] | None = None
) -> dict[str, str]:
    """The headers of a JSON call with this credential."""
    return {"authorization": f"Bearer {token or on.secret_key}", **JSON, **(headers or {})}


@dataclass
class Got:
    """What Forward answered over gRPC."""

    head: pb.ForwardHead = field(default_factory=pb.ForwardHead)
    body: bytes = b""
    summary: pb.ForwardSummary | None = None


def request(
    url: str = CHAT, body: object = None, headers: dict[str, str] | None = None, **facts: Any
) -> pb.ForwardRequest:
    """A ForwardRequest."""
    return pb.ForwardRequest(
        url=url,
        method="POST",
        body=encoded(body),
        headers=[pb.Header(name=n, value=v) for n, v in (JSON | (headers or {})).items()],
        **facts,
    )


def opened(on: Running, asked: pb.ForwardRequest) -> Any:  # noqa: ANN401 - of gRPC's own
    """The stream of a call over gRPC."""
    return stubs.GatewayServiceStub(on.channel).Forward(asked, metadata=on.metadata)


async def over_grpc(on: Running, asked: pb.ForwardRequest) -> Got:
    """A call over gRPC, to its end."""
    got = Got()
    async for part in opened(on, asked):
        match part.WhichOneof("part"):
            case "head":
                got.head = part.head
            case "chunk":
                got.body += part.chunk
            case _:
                got.summary = part.summary
    return got


async def direct(on: Running, path: str, body: object, headers: dict[str, str]) -> bytes:
    """What the provider answers without a gateway in between."""
    async with httpx.AsyncClient(base_url=on.provider.base_url) as client:
        answer = await client.post(path, content=encoded(body), headers=JSON | headers)
        return answer.content


async def paying(on: Running, credit: str = "10") -> tuple[str, str]:
    """A customer with credit and a meter, and the forward token that names both."""
    await on.meter(METER, "1000")
    customer = await on.customer(credit)
    return customer, on.token(customer_id=customer, meter_slug=METER)


async def unheld(on: Running, customer: str, balance: str) -> None:
    """Fail unless the customer has this much and nothing is held of it."""
    has = await on.balance(customer)
    assert has["balance"] == f"{balance}.0000000000"
    assert has.get("held", "0.0000000000") == "0.0000000000"


async def recorded(on: Running, request_id: str) -> bool:
    """Whether there is a record of the request."""
    answer = await on.http.get(f"/v1/requests/{request_id}")
    assert answer.status_code in (200, 404)
    return answer.status_code == 200


async def record_when_there(on: Running, request_id: str) -> dict[str, Any]:
    """The record, as soon as the call has ended that nobody waits for."""
    async with asyncio.timeout(20):
        while True:
            answer = await on.http.get(f"/v1/requests/{request_id}")
            if answer.status_code == 200 and answer.json()["status"] != "pending":
                found: dict[str, Any] = answer.json()
                return found


async def released_when_there(on: Running, customer: str) -> None:
    """Wait until the customer has a hold, and none that is active."""
    async with asyncio.timeout(20):
        states = ["active"]
        while not states or "active" in states:
            found = await on.rest("GET", f"/v1/reservations?customer_id={customer}")
            states = [hold["state"] for hold in found["data"]]


@asynccontextmanager
async def hung_up(on: Running, body: object, request_id: str, token: str) -> AsyncIterator[None]:
    """A client that has read the first piece of its stream; it hangs up when the block ends."""
    headers = sent_headers(on, token, {"idempotency-key": request_id})
    async with on.http.stream("POST", path(CHAT), content=encoded(body), headers=headers) as answer:
        await anext(answer.aiter_bytes())
        yield

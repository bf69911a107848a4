"""A dispatcher that answers as told and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import httpx
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.rest.app import RestSettings, build_app
from lava_grpc.rest.transcode import services

KEY = "aks_live_abc"
BASES = {"openai": "https://api.openai.com/v1", "groq": "https://api.groq.com/openai/v1"}

Script = Callable[[pb.ForwardRequest], AsyncIterator[pb.ForwardResponse]]


@dataclass
class Asked:
    method: str
    request: Message
    credential: str
    timeout_seconds: float | None
    idempotency_key: str | None = None


async def whole(request: pb.ForwardRequest) -> AsyncIterator[pb.ForwardResponse]:
    yield head()
    yield chunk(request.body or b"ok")
    yield summary()


@dataclass
class FakeDispatcher:
    """`answers` by method; an exception is raised. Without one: an empty answer."""

    answers: dict[str, Message | Exception] = field(default_factory=dict)
    script: Script = whole
    asked: list[Asked] = field(default_factory=list)
    forwarded: list[pb.ForwardRequest] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def unary(
        self,
        method: str,
        request: Message,
        *,
        credential: str,
        timeout_seconds: float | None,
        idempotency_key: str | None = None,
    ) -> Message:
        self.asked.append(Asked(method, request, credential, timeout_seconds, idempotency_key))
        answer = self.answers.get(method)
        if isinstance(answer, Exception):
            raise answer
        return answer or empty_answer(method)

    async def authenticate(self, credential: str) -> None:
        answer = self.answers.get(credential)
        if isinstance(answer, Exception):
            raise answer

    async def forward(
        self, request: pb.ForwardRequest, *, credential: str, in_full: bool = True
    ) -> AsyncIterator[pb.ForwardResponse]:
        assert not in_full, "nobody reads the summary"
        self.forwarded.append(request)
        self.credentials.append(credential)
        try:
            async for part in self.script(request):
                yield part
        finally:
            self.closed.set()


def empty_answer(method: str) -> Message:
    for service in services():
        for each in service.methods:
            if f"{service.full_name}/{each.name}" == method:
                return GetMessageClass(each.output_type)()
    raise LookupError(method)


def head(status: int = 200, request_id: str = "req_1", **headers: str) -> pb.ForwardResponse:
    listed = [pb.Header(name=n.replace("_", "-"), value=v) for n, v in headers.items()]
    return pb.ForwardResponse(
        head=pb.ForwardHead(status=status, headers=listed, request_id=request_id)
    )


def chunk(data: bytes) -> pb.ForwardResponse:
    return pb.ForwardResponse(chunk=data)


def summary() -> pb.ForwardResponse:
    return pb.ForwardResponse(summary=pb.ForwardSummary())


def client(dispatcher: FakeDispatcher, settings: RestSettings | None = None) -> httpx.AsyncClient:
    app = build_app(dispatcher, settings=settings, provider_bases=BASES)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app),
        base_url="http://lava.test",
        headers={"authorization": f"Bearer {KEY}"},
    )

"""Further official Python clients: each says through the gateway what it says without it.

OpenAI's and Anthropic's have files of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import cohere
import groq
import pytest
import pytest_asyncio
import together
from cohere.core.api_error import ApiError as CohereError
from google import genai
from google.genai import errors as google_errors
from google.genai import types as google
from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from typing_extensions import override

from lava_grpc.testing import Fault, Outcome, Scripted
from tests.sdk import published
from tests.sdk.books import records
from tests.sdk.published import TEXT, Published
from tests.support.service import Running, running

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # Google's client has a session class of its own, and leaves the connection of a stream
    # that was not read to its end to the garbage collector.
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    pytest.mark.filterwarnings(
        "ignore:.*Connection.__del__:pytest.PytestUnraisableExceptionWarning"
    ),
]

ASKED = "Say that sleep is good"
METER = "per-token"
MESSAGES: Any = [{"role": "user", "content": ASKED}]
KEYS = {
    name: f"{name}-platform"
    for name in ("openai", "anthropic", "google", "mistral", "groq", "together", "cohere")
}
HOSTS = ("api.mistral.ai", "api.groq.com", "api.together.xyz", "api.cohere.ai", "api.cohere.com")


class Client(Protocol):
    """An official client that is open."""

    async def ask(self, model: str) -> Any:  # noqa: ANN401 - the client's own type
        """A whole answer."""

    async def stream(self, model: str) -> list[Any]:
        """What a streamed answer comes to, item by item."""

    async def leave(self, model: str) -> None:
        """Take one item of a streamed answer, and close it."""


@dataclass(frozen=True, slots=True)
class MistralClient(Client):
    sdk: Mistral

    @override
    async def ask(self, model: str) -> Any:
        return await self.sdk.chat.complete_async(model=model, messages=MESSAGES)

    @override
    async def stream(self, model: str) -> list[Any]:
        events = await self.sdk.chat.stream_async(model=model, messages=MESSAGES)
        async with events:
            return [event.data async for event in events]

    @override
    async def leave(self, model: str) -> None:
        events = await self.sdk.chat.stream_async(model=model, messages=MESSAGES)
        async with events:
            await anext(aiter(events))


@dataclass(frozen=True, slots=True)
class ChatClient(Client):
    """One of those that Stainless makes, as it makes OpenAI's."""

    sdk: Any

    @override
    async def ask(self, model: str) -> Any:
        return await self.sdk.chat.completions.create(model=model, messages=MESSAGES)

    @override
    async def stream(self, model: str) -> list[Any]:
        stream = await self.sdk.chat.completions.create(model=model, messages=MESSAGES, stream=True)
        return [chunk async for chunk in stream]

    @override
    async def leave(self, model: str) -> None:
        stream = await self.sdk.chat.completions.create(model=model, messages=MESSAGES, stream=True)
        await anext(aiter(stream))
        await stream.close()


@dataclass(frozen=True, slots=True)
class CohereClient(Client):
    sdk: cohere.AsyncClientV2

    @override
    async def ask(self, model: str) -> Any:
        return await self.sdk.chat(model=model, messages=MESSAGES)

    @override
    async def stream(self, model: str) -> list[Any]:
        return [event async for event in self.sdk.chat_stream(model=model, messages=MESSAGES)]

    @override
    async def leave(self, model: str) -> None:
        events: Any = self.sdk.chat_stream(model=model, messages=MESSAGES)
        await anext(events)
        await events.aclose()


@dataclass(frozen=True, slots=True)
class GoogleClient(Client):
    sdk: genai.Client

    @override
    async def ask(self, model: str) -> Any:
        return await self.sdk.aio.models.generate_content(model=model, contents=ASKED)

    @override
    async def stream(self, model: str) -> list[Any]:
        chunks = await self.sdk.aio.models.generate_content_stream(model=model, contents=ASKED)
        return [chunk async for chunk in chunks]

    @override
    async def leave(self, model: str) -> None:
        chunks: Any = await self.sdk.aio.models.generate_content_stream(model=model, contents=ASKED)
        await anext(chunks)
        await chunks.aclose()


@asynccontextmanager
async def _mistral(base: str, key: str) -> AsyncIterator[Client]:
    async with Mistral(api_key=key, server_url=base) as sdk:
        yield MistralClient(sdk)


@asynccontextmanager
async def _groq(base: str, key: str) -> AsyncIterator[Client]:
    async with groq.AsyncGroq(api_key=key, base_url=base) as sdk:
        yield ChatClient(sdk)


@asynccontextmanager
async def _together(base: str, key: str) -> AsyncIterator[Client]:
    async with together.AsyncTogether(api_key=key, base_url=base) as sdk:
        yield ChatClient(sdk)


@asynccontextmanager
async def _cohere(base: str, key: str) -> AsyncIterator[Client]:
    async with cohere.AsyncClientV2(api_key=key, base_url=base) as sdk:
        yield CohereClient(sdk)


@asynccontextmanager
async def _google(base: str, key: str) -> AsyncIterator[Client]:
    options = google.HttpOptions(base_url=base, api_version="v1beta")
    sdk = genai.Client(api_key=key, http_options=options)
    try:
        yield GoogleClient(sdk)
    finally:
        await sdk.aio.aclose()
        sdk.close()


Opened = Callable[[str, str], AbstractAsyncContextManager[Client]]


@dataclass(frozen=True, slots=True)
class Case:
    """A client, its base URLs with us and the one without, and what its provider answers."""

    opened: Opened
    answers: Published
    paths: tuple[str, ...]
    straight: str
    refusal: type[Exception]


# Mistral's client drops a query from its base URL, and Google's puts its path before it: they
# take the forms with the target in the path. Cohere's takes every `/v1` out of a base URL with
# its own host in it: it takes the alias.
CASES = {
    "mistral": Case(
        _mistral,
        published.MISTRAL,
        ("/v1/forward/https://api.mistral.ai", "/v1/forward/mistral"),
        "",
        SDKError,
    ),
    "groq": Case(
        _groq,
        published.GROQ,
        ("/v1/forward?u=https://api.groq.com", "/v1/forward/groq"),
        "",
        groq.APIStatusError,
    ),
    "together": Case(
        _together,
        published.TOGETHER,
        ("/v1/forward?u=https://api.together.xyz/v1", "/v1/forward/together"),
        "/v1",
        together.APIStatusError,
    ),
    "cohere": Case(_cohere, published.COHERE, ("/v1/forward/cohere",), "", CohereError),
    "google": Case(
        _google,
        published.GOOGLE,
        ("/v1/forward/https://generativelanguage.googleapis.com", "/v1/forward/google"),
        "/google",
        google_errors.APIError,
    ),
}


@dataclass(frozen=True, slots=True)
class Payer:
    """A customer of a test's own, and the token that its calls carry."""

    on: Running
    customer: str

    @property
    def token(self) -> str:
        """The API key of a client."""
        return self.on.token(customer_id=self.customer, meter_slug=METER)

    async def records(self) -> list[dict[str, Any]]:
        """What it was charged for, newest first."""
        return [found for found in await records(self.on) if found["customer_id"] == self.customer]

    async def charged(self, answers: Published, *, times: int = 1) -> None:
        """Fail unless it has so many records of what the provider stated, and no other."""
        found = await self.records()
        assert len(found) == times
        for record in found:
            usage = record["model_usage"]
            assert usage["input_tokens"] == answers.input_tokens
            assert usage["output_tokens"] == answers.output_tokens
            assert usage["reasoning_tokens"] == answers.reasoning_tokens
            assert usage["cache_read_tokens"] == answers.cache_read_tokens
            assert record["response_id"] == answers.ident
            assert record["endpoint"].startswith(f"POST https://{answers.host}/")
            assert "estimated" not in record["flags"]
            # 1000 for a million tokens.
            thousands, rest = divmod(usage["total_tokens"], 1000)
            assert record["charge"]["amount"] == f"{thousands}.{rest:03d}0000000"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on(
    tmp_path_factory: pytest.TempPathFactory, template_setup: Callable[[str], None]
) -> AsyncIterator[Running]:
    """One service for all, since each test has a customer of its own."""
    url = f"sqlite:///{tmp_path_factory.mktemp('clients') / 'lava.db'}"
    template_setup(url)
    async with running(url, hosts=HOSTS, provider_keys=KEYS) as service:
        await service.meter(METER, "1000")
        yield service
        await service.verified()


@pytest_asyncio.fixture(loop_scope="module")
async def payer(on: Running) -> Payer:
    on.provider.calls.clear()
    on.provider.fault = Fault()
    # A hold for the model's longest answer is large.
    return Payer(on, await on.customer("1000"))


@pytest.fixture(params=list(CASES.values()), ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def told(answer: Any) -> Any:  # noqa: ANN401 - models of the clients'
    """The answer without what HTTP said about it."""
    return answer.model_dump(exclude={"sdk_http_response"})


async def test_a_chat(payer: Payer, case: Case) -> None:
    on, answers = payer.on, case.answers
    on.provider.script("POST", answers.path, answers.scripted)
    async with case.opened(on.provider.base_url + case.straight, "own") as client:
        expected = await client.ask(answers.model)
    assert TEXT in str(expected)
    for path in case.paths:
        async with case.opened(on.http_url + path, payer.token) as client:
            assert told(await client.ask(answers.model)) == told(expected)
    for call in on.provider.calls:
        assert call.path.endswith(answers.path)
        assert payer.token not in str(call.headers)
    await payer.charged(answers, times=len(case.paths))


async def test_a_streamed_chat(payer: Payer, case: Case) -> None:
    on, answers = payer.on, case.answers
    on.provider.script("POST", answers.stream_path, answers.streamed)
    async with case.opened(on.provider.base_url + case.straight, "own") as client:
        expected = await client.stream(answers.model)
    async with case.opened(on.http_url + case.paths[0], payer.token) as client:
        made = await client.stream(answers.model)
    assert len(made) > len(published.WORDS)
    assert [told(item) for item in made] == [told(item) for item in expected]
    await payer.charged(answers)


async def test_a_stream_that_is_left_half_way_is_read_to_its_usage(
    payer: Payer, case: Case
) -> None:
    on, answers = payer.on, case.answers
    on.provider.script("POST", answers.stream_path, answers.streamed)
    on.provider.fault = Fault(chunk_delay_ms=20)
    async with case.opened(on.http_url + case.paths[0], payer.token) as client:
        await client.leave(answers.model)
    await payer.charged(answers)
    assert on.provider.calls[0].outcome is Outcome.ANSWERED


async def test_many_at_once(payer: Payer, case: Case) -> None:
    on, answers = payer.on, case.answers
    on.provider.script("POST", answers.path, answers.scripted)
    async with case.opened(on.http_url + case.paths[0], payer.token) as client:
        await asyncio.gather(*(client.ask(answers.model) for _ in range(4)))
    await payer.charged(answers, times=4)


async def test_out_of_credit_is_the_clients_status_error(on: Running, case: Case) -> None:
    on.provider.calls.clear()
    poor = Payer(on, await on.customer("0.0000000001"))
    async with case.opened(on.http_url + case.paths[0], poor.token) as client:
        with pytest.raises(case.refusal) as caught:
            await client.ask(case.answers.model)
    error: Any = caught.value
    assert 402 in (getattr(error, name, None) for name in ("status_code", "code"))
    assert "insufficient_credits" in str(error)
    assert not on.provider.calls


async def test_a_providers_refusal_is_the_clients_status_error(payer: Payer, case: Case) -> None:
    body = b'{"error":{"message":"no such model","code":404,"status":"NOT_FOUND"}}'
    refusal = Scripted(404, (("content-type", "application/json"),), (body,))
    payer.on.provider.script("POST", case.answers.path, refusal)
    async with case.opened(payer.on.http_url + case.paths[0], payer.token) as client:
        with pytest.raises(case.refusal) as caught:
            await client.ask(case.answers.model)
    assert "no such model" in str(caught.value)
    assert await payer.records() == []
